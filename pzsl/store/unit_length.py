"""Lengths of embeddings, looked at in chunks: is each a unit vector?"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pzsl.store.hdf5 import release

TOLERANCE = 1e-2
"""How far the length of an embedding may be from one: half floats reach 3e-4."""
CHUNK = 4096
"""Rows looked at together: a few megabytes, so that no pass needs memory for the whole array."""


def lengths(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """Euclidean lengths over the last axis, in float32; NaN and infinite numbers come through.

    Args:
        vectors: (..., D).

    Returns:
        (...,) lengths.
    """
    vectors = np.asarray(vectors, dtype=np.float32)
    return np.asarray(np.sqrt(np.einsum("...d,...d->...", vectors, vectors)))


def not_unit(features: NDArray[Any]) -> NDArray[np.int64]:
    """Rows with a vector that isn't of length one (within `TOLERANCE`) or not finite; chunked.

    Args:
        features: (N, D) or (N, K, D).

    Returns:
        (n,) the rows at fault, ascending.
    """
    wrong = []
    for start in range(0, len(features), CHUNK):
        with np.errstate(over="ignore", invalid="ignore"):
            near = np.abs(lengths(features[start : start + CHUNK]) - 1) <= TOLERANCE
        wrong.append(start + np.flatnonzero(~near.reshape(len(near), -1).all(axis=1)))
        release(features)
    return np.concatenate([np.empty(0, np.int64), *wrong])
