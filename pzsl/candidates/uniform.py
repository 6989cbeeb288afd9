"""`uniform`: each wrong seen label joins with the same probability."""

from __future__ import annotations

import numpy as np

from pzsl.candidates.images import Images, Mask
from pzsl.candidates.randomness import Stream, hashes, stream, uniforms


def uniform(images: Images, rate: float, eta: float) -> Mask:
    """Each wrong seen label joins with probability `rate`: |S| is 1 + rate (K - 1) on average.

    The same numbers serve every rate, so the set at a lower rate lies inside that at a higher.

    Args:
        images: n images.
        rate: probability of a wrong label, in [0, 1].
        eta: not used (the truth stays inside).

    Returns:
        (n, K) mask. Source: Lv et al. 2020 (PRODEN), 'uniform flipping'.
    """
    drawn = uniforms(stream(images.keys, Stream.MEMBERSHIP), images.labels) < rate
    return images.mark_truth(drawn)


def uniform_added(images: Images, rate: float, eta: float) -> Mask:
    """After `uniform`, an image whose truth is alone gets one random wrong label.

    Args:
        images: n images.
        rate: probability of a wrong label, in [0, 1].
        eta: not used (the truth stays inside).

    Returns:
        (n, K) mask, two labels or more in a row where there are two. Source: as in the released
        code of PRODEN (Lv et al. 2020) and VALEN (Xu et al. 2021).
    """
    mask = uniform(images, rate, eta)
    alone = np.flatnonzero(mask.sum(axis=1) == 1)
    if mask.shape[1] > 1:
        draws = hashes(stream(images.keys[alone], Stream.ADDED), images.labels)
        draws[np.arange(len(alone)), images.truth[alone]] = np.iinfo(np.uint64).max
        mask[alone, draws.argmin(axis=1)] = True
    return mask
