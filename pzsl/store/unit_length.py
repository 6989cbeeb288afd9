"""Check in chunks whether embeddings are unit vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pzsl.store.hdf5 import release

TOLERANCE = 1e-2
"""Largest deviation of an embedding's length from one; rounding to half floats causes 3e-4."""
CHUNK = 4096
"""Rows per chunk: a few megabytes, so that no pass needs memory for the whole array."""


def lengths(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """Euclidean lengths over the last axis, in float32; NaN and infinite values propagate.

    Args:
        vectors: (..., D).

    Returns:
        (...,) lengths.
    """
    vectors = np.asarray(vectors, dtype=np.float32)
    return np.asarray(np.sqrt(np.einsum("...d,...d->...", vectors, vectors)))


def not_unit(features: NDArray[Any], tolerance: float = TOLERANCE) -> NDArray[np.int64]:
    """Rows with a vector that is not finite or not of length one.

    Args:
        features: (N, D) or (N, K, D); read in chunks.
        tolerance: largest deviation of a length from one.

    Returns:
        (n,) these rows, ascending.
    """
    wrong = []
    for start in range(0, len(features), CHUNK):
        with np.errstate(over="ignore", invalid="ignore"):
            near = np.abs(lengths(features[start : start + CHUNK]) - 1) <= tolerance
        wrong.append(start + np.flatnonzero(~near.reshape(len(near), -1).all(axis=1)))
        release(features)
    return np.concatenate([np.empty(0, np.int64), *wrong])
