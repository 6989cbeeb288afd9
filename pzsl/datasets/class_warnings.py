"""Warnings about class lists that look wrong: one line for each kind; nothing is changed."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from pzsl.datasets.base import UNKNOWN, Dataset
from pzsl.datasets.names import normal_form

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
)
"""Words, in normal form, that stand for a missing value."""
SEPARATORS = re.compile(r"[|;,/&+]|\bor\b|\band\b|\boder\b|\bund\b")
FEW = 5
"""Fewer images may well have other candidates only."""
SHORT = 4
"""Shorter names are often one edit apart without a typing error: cat, bat."""


def class_warnings(data: Dataset) -> list[str]:
    """Warnings about classes that are probably not intended.

    Reported are: almost as many classes as images, or else classes that occur once; names one edit
    apart; numbers, words for a missing value, or lists of names in place of names; labels that are
    never among the candidates.
    """
    times = occurrences(data)
    missing = [name for name in data.classes if normal_form(name) in MISSING]
    lines = [_number_names(data.classes), _near_names(data.classes, times)]
    lines.append(_names_that_are_lists(data.classes))
    if data.candidates is not None:
        sets = data.candidates
        lines.append(labels_outside(data.labels, sets.offsets, sets.labels))
    if missing:
        lines.append(f"A class is called {_listed(missing)}: is it a value that is missing?")
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


def _number_names(classes: Sequence[str]) -> str | None:
    numbers = [name for name in classes if normal_form(name).lstrip("-").isdecimal()]
    if len(numbers) <= len(classes) / 2:
        return None
    return (
        f"{len(numbers)} of {len(classes)} class names are numbers ({_listed(numbers)}): prompts "
        "of them tell the encoder nothing; write names in their place."
    )


def _names_that_are_lists(classes: Sequence[str]) -> str | None:
    """Names whose parts are names of other classes, such as `heron; magpie`."""
    forms = {normal_form(name) for name in classes}
    lists = [name for name in classes if _is_list(name, forms)]
    if not lists:
        return None
    return (
        f"{len(lists)} class names are made of the names of other classes ({_listed(lists)}): are "
        "they lists? Separate the names of a list by |."
    )


def _is_list(name: str, forms: set[str]) -> bool:
    parts = [normal_form(part) for part in SEPARATORS.split(name)]
    return len(parts) > 1 and all(part in forms for part in parts)


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
