"""Few-shot labels: a few images get their true label as the only candidate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pzsl.candidates.ragged import CandidateSets
from pzsl.candidates.randomness import Stream, hashes, image_keys, stream


def choose_labelled(
    truth: NDArray[np.int64], ids: Sequence[str], count: int, seed: int
) -> NDArray[np.bool_]:
    """Choose the images that get their true label: `count` per class, or all if there are fewer.

    Every image has a random number that follows from (seed, image id) alone; the images with the
    smallest numbers of their class are chosen. So a larger `count` includes the images of a
    smaller one.

    Args:
        truth: (N,) true class ids; -1 (unknown) is never chosen.
        ids: (N,) image ids. count: labels per class. seed: of the draw.

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
    """Replace the candidates of each labelled image by its true label.

    Args:
        sets: N candidate sets. truth: (N,) true class ids. labelled: (N,) mask.
    """
    sizes = np.where(labelled, 1, sets.sizes())
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    labels = np.empty(offsets[-1], dtype=np.int32)
    labels[offsets[:-1][labelled]] = truth[labelled]
    labels[~np.repeat(labelled, sizes)] = sets.labels[~labelled[sets.rows()]]
    return CandidateSets(offsets, labels)
