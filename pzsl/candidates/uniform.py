"""`uniform`: each wrong seen label is added with the same probability."""

from __future__ import annotations

import numpy as np

from pzsl.candidates.noise_input import Images, Mask
from pzsl.candidates.randomness import Stream, below, hashes, stream


def uniform(images: Images, rate: float, eta: float) -> Mask:
    """Add each wrong seen label with probability `rate`: |S| is 1 + rate (K - 1) on average.

    All rates use the same random numbers, so the set at a lower rate is a subset of that at a
    higher rate.

    Args:
        images: n images.
        rate: probability of a wrong label, in [0, 1].
        eta: not used (the true label is always a candidate).

    Returns:
        (n, K) mask. Source: Lv et al. 2020 (PRODEN), 'uniform flipping'.
    """
    mask = below(stream(images.keys, Stream.MEMBERSHIP), images.labels, rate)
    return images.mark_truth(mask)


def uniform_added(images: Images, rate: float, eta: float) -> Mask:
    """After `uniform`, add a random wrong label to images whose only candidate is the true label.

    Args:
        images: n images.
        rate: probability of a wrong label, in [0, 1].
        eta: not used (the true label is always a candidate).

    Returns:
        (n, K) mask with at least two labels per row (if K > 1). Source: released code of PRODEN (Lv
        et al. 2020) and VALEN (Xu et al. 2021).
    """
    mask = uniform(images, rate, eta)
    alone = np.flatnonzero(mask.sum(axis=1) == 1)
    if mask.shape[1] > 1:
        draws = hashes(stream(images.keys[alone], Stream.ADDED), images.labels)
        draws[np.arange(len(alone)), images.truth[alone]] = np.iinfo(np.uint64).max
        mask[alone, draws.argmin(axis=1)] = True
    return mask
