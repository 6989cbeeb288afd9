"""The split of a table: as written, or drawn at random if the table has none."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from pzsl.datasets.base import SPLITS
from pzsl.datasets.names import normal_form
from pzsl.datasets.own.folder import draw_share
from pzsl.datasets.own.rows import Row
from pzsl.files import digest
from pzsl.progress import counted, say

TRAIN_WORDS = ("train", "training", "val", "valid", "validation", "dev")
TEST_WORDS = ("test", "testing", "eval", "evaluation")


def translate_splits(rows: Sequence[Row], unseen: Collection[str]) -> list[Row]:
    """Translate the splits of the rows into `SPLITS`; unknown words are left as they are.

    `train` and `val` become trainval. `test` becomes test_unseen for unseen classes and for those
    without a training image, and test_seen for all others.
    """
    split_of_word = {normal_form(name): name for name in SPLITS} | dict.fromkeys(
        TRAIN_WORDS, "trainval"
    )
    words = [split_of_word.get(normal_form(row.split), row.split) for row in rows]
    trained = {
        name
        for row, word in zip(rows, words, strict=True)
        if word == "trainval"
        for name in (row.label, *row.candidates)
    }
    return [
        row._replace(
            split=("test_seen" if row.label in trained - {*unseen} else "test_unseen")
            if normal_form(word) in TEST_WORDS
            else word
        )
        for row, word in zip(rows, words, strict=True)
    ]


def say_inferred(
    where: str, rows: Sequence[Row], translated: Sequence[Row], marked: Collection[str]
) -> None:
    """Say which classes became unseen because `test` has them and training hasn't.

    Args:
        where: the table, for the message.
        rows: as written. translated: see `translate_splits`.
        marked: names of the classes that are unseen by the user's word.
    """
    hidden = {
        row.label
        for row, after in zip(rows, translated, strict=True)
        if after.split == "test_unseen" and normal_form(row.split) in TEST_WORDS and row.label
    }
    if hidden := hidden - {*marked}:
        say(f"{where}: unseen, as only 'test' has them: {some_classes(sorted(hidden))}.")


def some_classes(names: Sequence[str]) -> str:
    """How many classes, with the first of their names."""
    first = f" ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if names else ""
    return f"{counted(len(names), 'class', 'classes')}{first}"


def draw_splits(
    rows: Sequence[Row], unseen: Collection[str], share: float, test: float, seed: int
) -> list[Row]:
    """Draw a split, which depends only on the seed, class names and paths, as for folders.

    Args:
        rows: labels and candidates of images.
        unseen: names of the unseen classes; if empty, they are drawn among the classes that are
            candidates only of images labelled with them.
        share: share of the classes to make unseen.
        test: share of each seen class's labelled images to test on.
        seed: of both draws.
    """
    hidden = {*unseen} or _draw_unseen(rows, share, seed)
    of_class: dict[str, list[str]] = {}
    for row in rows:
        if row.label and row.label not in hidden:
            of_class.setdefault(row.label, []).append(row.path)
    tested = {path for paths in of_class.values() for path in draw_share(paths, test, seed)}
    return [
        row._replace(
            split="test_unseen"
            if row.label in hidden
            else ("test_seen" if row.path in tested else "trainval")
        )
        for row in rows
    ]


def _draw_unseen(rows: Sequence[Row], share: float, seed: int) -> set[str]:
    labels = {row.label for row in rows if row.label}
    needed = {name for row in rows for name in row.candidates if name != row.label}
    if not share or not labels:
        return set()
    free = sorted(labels - needed, key=lambda name: digest(str(seed), name))
    return set(free[: min(max(1, round(share * len(labels))), len(labels | needed) - 1)])
