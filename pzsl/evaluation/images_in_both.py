"""Find pictures that are trained on and tested on, under two names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

BLOCK = 4096
"""Images at a time."""
TESTED = ("test_seen", "test_unseen")
DECIMALS = 3
"""Equal pictures differ by far less, whatever batch they were encoded in; others by far more."""


class Embedded(Protocol):
    """The part of a cache that this file reads."""

    @property
    def splits(self) -> NDArray[np.str_]: ...  # noqa: D102
    @property
    def images(self) -> NDArray[np.float32]: ...  # noqa: D102
    @property
    def paths(self) -> tuple[str, ...]: ...  # noqa: D102


def images_in_both(cache: Embedded) -> str | None:
    """One line where test images have the embedding of a training image; else None (ours).

    A copy of a picture, unlike a link to it, has a path of its own: its embedding gives it away.

    Args:
        cache: all its images are read once.
    """
    training = cache.splits == "trainval"
    first: dict[int, int] = {}
    for row, key in _keys(cache, np.flatnonzero(training)):
        first.setdefault(key, row)
    test = np.flatnonzero(np.isin(cache.splits, TESTED))
    pairs = [(first[key], row) for row, key in _keys(cache, test) if key in first]
    if not pairs:
        return None
    one, other = (cache.paths[row] for row in pairs[0])
    return (
        f"{len(pairs):,} of {len(test):,} test images have the embedding of a training image, such "
        f"as '{other}' that of '{one}': if these are copies of one picture, keep one of them, as "
        "what is trained on can't be tested on."
    )


def _keys(cache: Embedded, rows: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Each row with a hash of its rounded embedding; the sum makes -0 a 0."""
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        rounded = np.round(np.asarray(cache.images[block], dtype=np.float32), DECIMALS) + 0.0
        yield from zip(block.tolist(), (hash(row.tobytes()) for row in rounded), strict=True)
