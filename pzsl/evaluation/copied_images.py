"""Find pictures that occur under two names, and that contradict each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pzsl.evaluation.encoder_fit import LabelledImages, allowed_classes
from pzsl.progress import counted

BLOCK = 4096
"""Images at a time."""
TESTED = ("test_seen", "test_unseen")
DECIMALS = 3
"""Equal pictures differ by far less, whatever batch they were encoded in; others by far more."""
Pairs = Sequence[tuple[int, int]]


class Embedded(LabelledImages, Protocol):
    """The part of a cache that this file reads."""

    @property
    def paths(self) -> tuple[str, ...]: ...  # noqa: D102


def copied_images(cache: Embedded) -> list[str]:
    """Lines on images with the embedding of a training image (ours).

    Reported are test images, and training images that have no class in common. A copy of a picture,
    unlike a link to it, has a path of its own: its embedding gives it away.

    Args:
        cache: all its images are read once.
    """
    first: dict[int, int] = {}
    unlike = []
    for row, key in _keys(cache, np.flatnonzero(cache.splits == "trainval")):
        other = first.setdefault(key, row)
        if other != row and _contradict(cache, other, row):
            unlike.append((other, row))
    test = np.flatnonzero(np.isin(cache.splits, TESTED))
    tested = [(first[key], row) for row, key in _keys(cache, test) if key in first]
    return [*_unlike(cache, unlike), *_tested(cache, tested, len(test))]


def _unlike(cache: Embedded, pairs: Pairs) -> list[str]:
    if not pairs:
        return []
    one, other = (cache.paths[row] for row in pairs[0])
    return [
        f"{counted(len(pairs), 'training image')} with the embedding of another one, but no class "
        f"in common with it, such as '{other}' and '{one}': if these are copies of one picture, "
        "keep the one that is right."
    ]


def _tested(cache: Embedded, pairs: Pairs, count: int) -> list[str]:
    if not pairs:
        return []
    one, other = (cache.paths[row] for row in pairs[0])
    return [
        f"{len(pairs):,} of {count:,} test images have the embedding of a training image, such "
        f"as '{other}' that of '{one}': if these are copies of one picture, keep one of them, as "
        "what is trained on can't be tested on."
    ]


def _contradict(cache: Embedded, one: int, other: int) -> bool:
    """Whether two images have labels or candidates, but none in common."""
    classes, others = (set(allowed_classes(row, cache).tolist()) for row in (one, other))
    return bool(classes and others) and classes.isdisjoint(others)


def _keys(cache: Embedded, rows: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Each row with a hash of its rounded embedding; the sum makes -0 a 0."""
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        rounded = np.round(np.asarray(cache.images[block], dtype=np.float32), DECIMALS) + 0.0
        yield from zip(block.tolist(), (hash(row.tobytes()) for row in rounded), strict=True)
