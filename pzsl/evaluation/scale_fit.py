"""Whether a logit scale suits embeddings: how likely the labels of images are at it (ours)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

IMAGES, COSINES = 1024, 1 << 22
"""Most images, and most cosines of images and classes, that are looked at."""
WRONG = np.array([0.0, 0.01, 0.03, 0.1, 0.2, 0.3, 0.4, 0.5])
"""Shares of images whose set has nothing to do with them."""
LARGER = 4.0 ** np.arange(1, 4)
"""Multiples of a scale that are compared with it. A smaller one is likelier wherever an encoder
knows the images badly, which says nothing of the scale."""
GAIN, TOTAL_GAIN = 0.1, 30.0
"""By how much a larger scale raises the log-likelihood if the given one is wrong: on average, and
in total. CLIP's own scale on four real sets, with and without noise in its embeddings: 0.03."""


def sample_size(images: int, classes: int) -> int:
    """How many of so many images are enough, among so many classes."""
    return min(images, IMAGES, max(1, COSINES // max(1, classes)))


def log_likelihoods(
    cosines: NDArray[Any], is_candidate: NDArray[np.bool_], scales: NDArray[Any]
) -> NDArray[np.float64]:
    """Log-likelihood of candidate sets at each scale, at the likeliest share of `WRONG`: (S,).

    Args:
        cosines: (n, C) of images and classes. is_candidate: (n, C). scales: (S,).
    """
    by_chance = is_candidate.mean(axis=1)[:, None] * WRONG
    shifted = cosines - cosines.max(axis=1, keepdims=True, initial=-1.0)
    likelihoods = []
    for scale in scales.tolist():
        odds = np.exp(scale * shifted)
        mass = (odds * is_candidate).sum(axis=1) / odds.sum(axis=1)
        mixed = mass[:, None] * (1 - WRONG) + by_chance
        likelihoods.append(np.log(np.maximum(mixed, 1e-30)).sum(axis=0).max())
    return np.array(likelihoods)


def scale_doubt(
    cosines: NDArray[Any], is_candidate: NDArray[np.bool_], scale: float, remedy: str
) -> str | None:
    """One line where a logit scale is too small by far for the labels; else None.

    Args:
        cosines: (n, C) of images with label embeddings.
        is_candidate: (n, C), the label or the candidates of each image.
        scale: of the embeddings.
        remedy: what to do, a sentence.
    """
    telling = is_candidate.any(axis=1) & ~is_candidate.all(axis=1)
    if not telling.any():
        return None
    scales = scale * np.append(1.0, LARGER)
    likelihoods = log_likelihoods(cosines[telling], is_candidate[telling], scales)
    best = int(likelihoods.argmax())
    if likelihoods[best] - likelihoods[0] <= max(GAIN * telling.sum(), TOTAL_GAIN):
        return None
    return (
        f"The logit scale {scale:.4g} is too small for these embeddings: at {scales[best]:.4g} the "
        "labels of the training images are far likelier. Label weights, the estimated noise and "
        f"probabilities depend on it. {remedy}"
    )
