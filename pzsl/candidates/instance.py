"""`instance`: labels that a model finds similar to the image are added more often."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pzsl.candidates.noise_input import Images, Mask
from pzsl.candidates.randomness import Stream, stream, uniforms

_FLOOR = 1e-300
"""Least similarity, so that a label whose probability underflowed to 0 can still be added."""


def instance(images: Images, rate: float, eta: float) -> Mask:
    """Add wrong labels in proportion to their similarity with the image.

    A wrong label j is added with probability min(1, s r_j), r_j = p_j / max over wrong k of p_k.
    The scale s of each image is chosen so that the mean of these probabilities is `rate`.
    (Dividing by the maximum cancels against s, so the code leaves it out.)

    Args:
        images: n images with `similarities`.
        rate: mean probability of a wrong label, in [0, 1].
        eta: not used (the true label is always a candidate).

    Returns:
        (n, K) mask. Source: Xu et al. 2021, 'Instance-dependent partial label learning', section
        5.1; the scale is ours.
    """
    return _draw_sets(images, join_probabilities(_similarities(images), rate))


def instance_published(images: Images, rate: float, eta: float) -> Mask:
    """Like `instance`, but as in the released code: clipped at 1 without rescaling.

    A wrong label j is added with probability min(1, rate p_j / mean p), with the mean over all K
    labels, the true one counting 0. Because of the clipping, sets are far smaller than `rate` says
    if the model is confident.

    Args:
        images: n images with `similarities`.
        rate: mean probability before clipping, in [0, 1].
        eta: not used (the true label is always a candidate).

    Returns:
        (n, K) mask. Source: released code of VALEN (Xu et al. 2021), which ABLE, POP and PaPi use.
    """
    similar = _similarities(images)
    mean = np.maximum(similar.mean(axis=1, keepdims=True), _FLOOR)
    return _draw_sets(images, np.minimum(rate * similar / mean, 1.0))


def _similarities(images: Images) -> NDArray[np.float64]:
    """(n, K) the model's probabilities of the labels, positive, and 0 for the true label."""
    assert images.similarities is not None
    similar = np.maximum(images.similarities.astype(np.float64), _FLOOR)
    similar[np.arange(len(similar)), images.truth] = 0.0
    return similar


def _draw_sets(images: Images, probabilities: NDArray[np.float64]) -> Mask:
    """Draw each label with its probability (n, K), and add the true label."""
    numbers = uniforms(stream(images.keys, Stream.MEMBERSHIP), images.labels)
    return images.mark_truth(numbers < probabilities)


def join_probabilities(similar: NDArray[np.float64], rate: float) -> NDArray[np.float64]:
    """min(1, s p) with s chosen per row so that the mean over the wrong labels is `rate`.

    Solved exactly: if the m largest of a row are clipped, s = (rate (K - 1) - m) / (sum of the
    others); the right m is the smallest for which no other is clipped.

    Args:
        similar: (n, K) in any unit, 0 for the true label and positive for the others.
        rate: the mean over the K - 1 wrong labels, in [0, 1].

    Returns:
        (n, K) probabilities.
    """
    wrong = similar.shape[1] - 1
    if wrong == 0 or rate == 1.0:
        return np.full(similar.shape, rate)
    falling = -np.sort(-similar, axis=1)[:, :wrong]
    tails = np.cumsum(falling[:, ::-1], axis=1)[:, ::-1]
    scales = np.maximum(rate * wrong - np.arange(wrong), 0.0) / tails
    clipped = np.argmax(scales * falling <= 1.0, axis=1)
    scale = np.take_along_axis(scales, clipped[:, None], axis=1)
    return np.minimum(scale * similar, 1.0)
