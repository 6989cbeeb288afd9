"""The split of a table: as it is written, or drawn where the table tells none."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from pzsl.datasets.base import SPLITS
from pzsl.datasets.names import normal_form
from pzsl.datasets.own.folder import draw_share
from pzsl.datasets.own.rows import Row
from pzsl.files import digest

TRAIN = ("train", "training", "val", "valid", "validation", "dev")
TEST = ("test", "testing", "eval", "evaluation")


def written_splits(rows: Sequence[Row], unseen: Collection[str]) -> list[Row]:
    """The rows with splits in our own words; what isn't known stays as it is.

    `train` and `val` are trainval; `test` is test_unseen for classes that no other row is trained
    on, or that are among the unseen ones, and test_seen for the rest.
    """
    own = {normal_form(name): name for name in SPLITS} | dict.fromkeys(TRAIN, "trainval")
    words = [own.get(normal_form(row.split), row.split) for row in rows]
    trained = {
        name
        for row, word in zip(rows, words, strict=True)
        if word == "trainval"
        for name in (row.label, *row.candidates)
    }
    return [
        row._replace(
            split=("test_seen" if row.label in trained - {*unseen} else "test_unseen")
            if normal_form(word) in TEST
            else word
        )
        for row, word in zip(rows, words, strict=True)
    ]


def drawn_splits(
    rows: Sequence[Row], unseen: Collection[str], share: float, test: float, seed: int
) -> list[Row]:
    """The rows with a split that follows from the seed, names and paths alone, as for folders.

    Args:
        rows: labels and candidates of images.
        unseen: names of the unseen classes; where none is given they are drawn among the classes
            that are no candidate of another class's image, or of one without a label.
        share: of the classes, that becomes unseen.
        test: share of each other class's labelled images that is tested on.
        seed: of both.
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
