"""`noisy`: uniform sets, some of which lack the true label."""

from __future__ import annotations

import numpy as np

from pzsl.candidates.noise_input import Images, Mask
from pzsl.candidates.randomness import Stream, hashes, stream, uniforms
from pzsl.candidates.uniform import uniform


def noisy(images: Images, rate: float, eta: float) -> Mask:
    """After `uniform`, replace the true label by a random non-candidate with probability `eta`.

    An image whose candidates are all seen labels keeps them. The size of a set never changes.

    Args:
        images: n images.
        rate: probability of a wrong label, in [0, 1].
        eta: probability that the true label is replaced, in [0, 1).

    Returns:
        (n, K) mask. Source: noisy partial labels as in Lian et al. 2022 (IRNet) and Xu et al. 2023
        (ALIM), whose generator Wang et al. 2025 (Co-Reg) use, too.
    """
    mask = uniform(images, rate, eta)
    coin = uniforms(stream(images.keys, Stream.SWAP), np.zeros(1, np.int64))[:, 0] < eta
    rows = np.flatnonzero(coin & ~mask.all(axis=1))
    draws = hashes(stream(images.keys[rows], Stream.REPLACEMENT), images.labels)
    draws[mask[rows]] = np.iinfo(np.uint64).max
    mask[rows, images.truth[rows]] = False
    mask[rows, draws.argmin(axis=1)] = True
    return mask
