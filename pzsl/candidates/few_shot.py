"""A few true labels given by hand: their images have no other candidate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pzsl.candidates.ragged import CandidateSets
from pzsl.candidates.randomness import Stream, hashes, image_keys, stream


def choose_labelled(
    truth: NDArray[np.int64], ids: Sequence[str], count: int, seed: int
) -> NDArray[np.bool_]:
    """Which images get their true label: `count` of each class, all where it has fewer.

    Every image has a number that follows from (seed, image id) alone; those with the least numbers
    of their class are chosen. So a larger `count` keeps the images of a smaller one.

    Args:
        truth: (N,) true class ids; -1 (unknown) is never chosen.
        ids: (N,) image ids. count: labels a class. seed: of the draw.

    Returns:
        (N,) mask.
    """
    keys = stream(image_keys(ids, seed), Stream.FEW_SHOT)
    numbers = hashes(keys, np.zeros(1, dtype=np.int64))[:, 0]
    order = np.lexsort((numbers, truth))
    ordered = truth[order]
    rank = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    chosen = np.zeros(len(truth), dtype=np.bool_)
    chosen[order] = (rank < count) & (ordered >= 0)
    return chosen


def give_labels(
    sets: CandidateSets, truth: NDArray[np.int64], labelled: NDArray[np.bool_]
) -> CandidateSets:
    """Candidate sets in which each labelled image has its true label and no other.

    Args:
        sets: N candidate sets. truth: (N,) true class ids. labelled: (N,) mask.
    """
    sizes = np.where(labelled, 1, sets.sizes())
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    labels = np.empty(offsets[-1], dtype=np.int32)
    labels[offsets[:-1][labelled]] = truth[labelled]
    labels[~np.repeat(labelled, sizes)] = sets.labels[~labelled[sets.rows()]]
    return CandidateSets(offsets, labels)
