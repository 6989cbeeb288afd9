"""Warnings about class lists that look wrong: one line for each kind; nothing is changed."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from pzsl.datasets.base import SPLITS, UNKNOWN, Dataset
from pzsl.datasets.names import normal_form
from pzsl.datasets.own import TEST_WORDS, TRAIN_WORDS
from pzsl.progress import counted

SHOWN = 3
"""Most classes that a warning lists."""
MISSING = (
    "nan",
    "none",
    "null",
    "na",
    "n/a",
    "#n/a",
    "?",
    "-",
    "unknown",
    "unlabelled",
    "unlabeled",
    "undefined",
    "n.a.",
    "--",
    "#value!",
    "#ref!",
    "#name?",
    "unbekannt",
)
"""Words, in normal form, that stand for a missing value."""
PARTS = (*map(normal_form, SPLITS), *TRAIN_WORDS, *TEST_WORDS)
"""Words, in normal form, for a part of a split."""
ODD = (
    (
        r"[+-]?\d+([.,]\d+)?$|\d{4}-\d\d-\d\d\b|(?i:n\d{8}|true|false)$",
        "are numbers or codes",
        "prompts of them tell the encoder nothing; write names in their place",
    ),
    (
        r"\d+[\s.-]+[^\W\d]",
        "begin with a number",
        "their prompts have it, too; leave it out",
    ),
    (
        r"(?i:an?|the|eine?|der|die|das)\s",
        "begin with an article",
        "templates have their own; leave it out",
    ),
    (
        r".*[^\d][:=( ]\s*[01]?[.,]\d+\)?$",
        "end in a fraction",
        "is it a score? Leave it out, so that each class has one name",
    ),
    (
        r"\w*[^\W\d_A-Z][A-Z]",
        "are written as one word",
        "an encoder reads it as one; separate the words by blanks",
    ),
)
"""Start of names that make bad prompts; what they are, what to do."""
SEPARATORS = re.compile(r"[|;,/&+:¦、，；｜]|\bor\b|\band\b|\boder\b|\bund\b")
BY_BARS = "Separate the names of a list by |."
FEW = 5
"""Fewer images may well have other candidates only."""
SHORT = 4
"""Shorter names are often one edit apart without a typing error: cat, bat."""


def class_warnings(data: Dataset) -> list[str]:
    """Warnings about classes that are probably not intended.

    Reported are: almost as many classes as images, or else classes that occur once; names one edit
    apart; numbers, codes, words for a missing value or a part of a split, or lists of names in
    place of names; names that prompts can't use as they are; labels that are never among the
    candidates; classes that are tested on without a training image, and no test image at all.
    """
    times = occurrences(data)
    lines = [*_odd_names(data.classes), _near_names(data.classes, times)]
    lines += [*name_doubts(data.classes), _untested(data), _untrained(data)]
    if data.candidates is not None:
        sets = data.candidates
        lines.append(labels_outside(data.labels, sets.offsets, sets.labels))
    if len(data.classes) > len(data.paths) / 2:
        lines.append(
            f"{len(data.classes)} classes for {len(data.paths)} images, such as "
            f"{_listed(data.classes)}: is each name one class, and not a list or a file name?"
        )
    else:
        once = [name for name, count in zip(data.classes, times, strict=True) if count == 1]
        if once:
            lines.append(f"{_classes(once)} once only ({_listed(once)}): misspelt, perhaps?")
    return [line for line in lines if line]


def name_doubts(classes: Sequence[str], remedy: str = BY_BARS) -> list[str]:
    """Warnings about names of classes that are probably none: lists, words for a missing value.

    Args:
        classes: their names. remedy: how to write a list of names.
    """
    lists = _names_that_are_lists(classes)
    lines = [f"{lists} {remedy}"] if lists else []
    for words, doubt in ((MISSING, "a value that is missing"), (PARTS, "a part of a split")):
        doubtful = [name for name in classes if normal_form(name) in words]
        if doubtful:
            lines.append(f"A class is called {_listed(doubtful)}: is it {doubt}?")
    return lines


def occurrences(data: Dataset) -> NDArray[np.int64]:
    """How often each class occurs as a label or a candidate, (C,)."""
    labelled = data.labels[data.labels != UNKNOWN]
    times = np.bincount(labelled, minlength=len(data.classes))
    if data.candidates is not None:
        times = times + np.bincount(data.candidates.labels, minlength=len(data.classes))
    return times.astype(np.int64)


def one_edit_apart(names: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of names that differ by one inserted, deleted, replaced or two swapped letters.

    Names that differ only in a digit (`zone 1`, `zone 2`) and very short names are ignored. The
    time grows with the total length of the names, not with the number of pairs.
    """
    names_by_key: dict[str, set[str]] = defaultdict(set)
    for name in names:
        form = normal_form(name)
        if len(form) >= SHORT:
            for key in (form, *(form[:i] + form[i + 1 :] for i in range(len(form)))):
                names_by_key[key].add(name)
    pairs = {pair for group in names_by_key.values() for pair in combinations(sorted(group), 2)}
    return sorted(pair for pair in pairs if _is_one_edit(*map(normal_form, pair)))


def _is_one_edit(first: str, second: str) -> bool:
    short, long = sorted((first, second), key=len)
    start = 0
    while start < len(short) and short[start] == long[start]:
        start += 1
    short_rest, long_rest = short[start:], long[start:]
    if any(letter.isdigit() for letter in (short_rest[:1] + long_rest[:1])):
        return False
    if len(short) < len(long):
        return short_rest == long_rest[1:]
    swapped = short_rest[:2] == long_rest[:2][::-1] and short_rest[2:] == long_rest[2:]
    return short_rest[1:] == long_rest[1:] or swapped


def _near_names(classes: Sequence[str], times: NDArray[np.int64]) -> str | None:
    pairs = one_edit_apart(classes)
    if not pairs:
        return None
    count = dict(zip(classes, times.tolist(), strict=True))
    named = ", ".join(
        f"'{a}' ({count[a]} times) and '{b}' ({count[b]} times)" for a, b in pairs[:SHOWN]
    )
    remaining = f", and {len(pairs) - SHOWN} pairs more" if len(pairs) > SHOWN else ""
    return f"Class names one letter apart are classes of their own: {named}{remaining}. Misspelt?"


def _odd_names(classes: Sequence[str]) -> list[str]:
    """Warnings where most names are of a kind that makes bad prompts."""
    lines = []
    for start, what, remedy in ODD:
        odd = [name for name in classes if re.match(start, name)]
        if len(odd) > len(classes) / 2:
            lines.append(
                f"{len(odd)} of {len(classes)} class names {what} ({_listed(odd)}): {remedy}."
            )
    return lines


def _names_that_are_lists(classes: Sequence[str]) -> str | None:
    """Names of several parts, each of which is another name or a part of one: `heron; magpie`."""
    parts = {
        name: [part for part in map(normal_form, SEPARATORS.split(name)) if part]
        for name in classes
    }
    times = Counter(part for several in parts.values() for part in set(several))
    forms = set(map(normal_form, classes))
    lists = [
        name
        for name, several in parts.items()
        if (len(several) > 1 and all(times[part] > 1 for part in several))
        or (len(words := normal_form(name).split()) > 1 and forms.issuperset(words))
    ]
    if not lists:
        return None
    return (
        f"{len(lists)} class names are made of other classes' names, or of parts of them "
        f"({_listed(lists)}): are they lists?"
    )


def _untested(data: Dataset) -> str | None:
    """A warning if there are labels, but no image to test on, unless a drawn split has no share."""
    if (data.labels == UNKNOWN).all() or (data.splits != "trainval").any():
        return None
    if dict(data.origin).get("test") in ("0", "0.0"):  # --test-share 0, to have all checked
        return None
    return (
        f"All {len(data.paths)} images are for training (val is, too) and none for testing, so "
        "that no accuracy can be measured: put some into the split 'test'."
    )


def _untrained(data: Dataset) -> str | None:
    """A warning about seen classes with test images, of which no training image can be."""
    training = data.splits == "trainval"
    trained = set(data.labels[training])
    if data.candidates is not None:
        sizes = np.diff(data.candidates.offsets)
        trained |= set(data.candidates.labels[np.repeat(training, sizes)])
    rows = sorted(set(data.labels[data.splits == "test_seen"]) - trained - {UNKNOWN})
    if not rows:
        return None
    return (
        f"No training image of {counted(len(rows), 'seen class', 'seen classes')} with test images "
        f"({_listed([data.classes[row] for row in rows])}): put some into the split 'trainval', or "
        "make unseen classes of them."
    )


def labels_outside(
    labels: NDArray[np.int64], offsets: NDArray[np.int64], candidates: NDArray[np.int32]
) -> str | None:
    """A warning if not one labelled training image has its label among its candidates.

    Args:
        labels: (N,) -1 where unknown.
        offsets: (N + 1,) start of each image in `candidates`, and the end.
        candidates: (M,) class ids.
    """
    sizes = np.diff(offsets)
    known = (labels != UNKNOWN) & (sizes > 0)
    if known.sum() < FEW or (candidates == np.repeat(labels, sizes)).any():
        return None
    return (
        f"Not one of {known.sum()} training images has its label among its candidates: are both "
        "columns written alike?"
    )


def _classes(names: Sequence[str]) -> str:
    return f"{len(names)} class{'es occur' if len(names) > 1 else ' occurs'}"


def _listed(names: Sequence[str]) -> str:
    remaining = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(f"'{name}'" for name in names[:SHOWN]) + remaining
