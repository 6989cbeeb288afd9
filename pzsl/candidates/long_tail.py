"""Long-tailed training sets: class frequencies that fall off exponentially."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pzsl.candidates.randomness import Stream, hashes, image_keys, stream

_ONE = np.zeros(1, dtype=np.int64)


def choose_long_tail(
    truth: NDArray[np.int64], ids: Sequence[str], imbalance: float, seed: int
) -> NDArray[np.bool_]:
    """Choose the images to keep, so that the numbers of images per class fall off exponentially.

    Of K classes, the one of rank r = 0..K-1 keeps the share `imbalance^(-r / (K - 1))` of its
    images, rounded down, at least one. Ranks follow from (seed, class id), and the kept images from
    (seed, image id), not from the order of the rows. A larger imbalance keeps a subset of what a
    smaller one keeps.

    Args:
        truth: (N,) true class ids, all known.
        ids: (N,) unique image ids.
        imbalance: ratio of the shares that the most and the least frequent class keep, at least 1.
        seed: of the ranks and of the images.

    Returns:
        (N,) mask. Source: the exponential profile of Cui et al. 2019 and Cao et al. 2019 (LDAM), as
        in SoLar (Wang et al. 2022) and RECORDS (Hong et al. 2023), where ranks are class numbers.
    """
    classes, counts = np.unique(truth, return_counts=True)
    names = image_keys([f"class {label}" for label in classes], seed)
    ranks = _numbers(names, Stream.TAIL_CLASS).argsort(kind="stable").argsort(kind="stable")
    shares = imbalance ** (-ranks / max(len(classes) - 1, 1))
    quota = np.maximum(np.floor(counts * shares + 1e-9), 1).astype(np.int64)
    column = np.searchsorted(classes, truth)
    order = np.lexsort((_numbers(image_keys(ids, seed), Stream.TAIL_IMAGE), column))
    ordered = column[order]
    place = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    chosen = np.zeros(len(truth), dtype=np.bool_)
    chosen[order] = place < quota[ordered]
    return chosen


def _numbers(keys: NDArray[np.uint64], purpose: Stream) -> NDArray[np.uint64]:
    """One random number per key (n,), for a purpose."""
    return hashes(stream(keys, purpose), _ONE)[:, 0]
