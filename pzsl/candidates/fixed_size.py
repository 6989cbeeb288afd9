"""`fixed-size`: the truth and a fixed number of wrong labels."""

from __future__ import annotations

import numpy as np

from pzsl.candidates.noise_input import Images, Mask
from pzsl.candidates.randomness import Stream, hashes, stream


def fixed_size(images: Images, rate: float, eta: float) -> Mask:
    """The true label and `rate` wrong seen labels, drawn without replacement.

    Args:
        images: n images.
        rate: the number of wrong labels, a whole number from 0 to K - 1.
        eta: not used (the true label is always a candidate).

    Returns:
        (n, K) mask.
    """
    count = int(rate)
    draws = hashes(stream(images.keys, Stream.MEMBERSHIP), images.labels)
    draws[np.arange(len(draws)), images.truth] = np.iinfo(np.uint64).max
    mask = np.zeros(draws.shape, dtype=np.bool_)
    if count:
        smallest = np.argpartition(draws, count - 1, axis=1)[:, :count]
        np.put_along_axis(mask, smallest, True, axis=1)
    return images.mark_truth(mask)
