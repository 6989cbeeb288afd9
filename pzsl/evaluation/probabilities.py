"""Whether probabilities mean what they say: temperature, calibration error, conformal sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

BINS = 15
"""Bins of equal width of the calibration error (Guo et al. 2017)."""
COLDEST, HOTTEST = 0.05, 20.0
"""Temperatures that are looked at."""
ROUNDS, PRECISION, LEAST_VARIANCE = 60, 1e-9, 1e-12
"""Most steps to the best temperature, how near is near enough, and what is divided by at least."""
LEVELS = 200
"""Error rates that a `Calibration` knows, 1/200 apart."""


@dataclass(frozen=True)
class HeldOut:
    """Scores of images that a model was not trained on, and what is believed of their classes.

    Attributes:
        scores: (n, C).
        rows: (m,) image of each belief, 0..n-1.
        columns: (m,) its class, a column of `scores`.
        weights: (m,) how likely the image is of that class; those of an image sum to one.
    """

    scores: NDArray[np.floating]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    weights: NDArray[np.floating]


def expected_calibration_error(
    confidence: NDArray[np.floating], right: NDArray[np.bool_]
) -> float | None:
    """How far confidences are from the share of right answers, on average (Guo et al. 2017).

    Args:
        confidence: (n,) 0 to 1. right: (n,) whether the answer is right.

    Returns:
        0 to 1, over 15 bins of equal width; None of no image.
    """
    if not len(confidence):
        return None
    place = np.minimum((np.asarray(confidence) * BINS).astype(np.int64), BINS - 1)
    gaps = np.bincount(place, right.astype(np.float64) - confidence, minlength=BINS)
    return float(np.abs(gaps).sum() / len(confidence))


def log_softmax(scores: NDArray[np.floating], temperature: float = 1.0) -> NDArray[np.float64]:
    """Logarithm of the probabilities of scores (n, C) at a temperature, (n, C)."""
    scaled = scores.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    return np.asarray(scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True)))


def fit_temperature(parts: Sequence[HeldOut]) -> float:
    """The temperature that makes what is believed of held-out images likeliest.

    The likelihood is concave in 1/T: Newton's method finds where its slope there, belief less
    expectation of the score, is zero. Guo et al. (2017) fit it to true labels; here an image counts
    for each class as much as it is believed to be of it, so that wrong labels don't make the model
    surer.

    Returns:
        0.05 to 20; 1 where nothing is held out.
    """
    if not parts:
        return 1.0
    believed, shifted = 0.0, []
    for part in parts:
        scores = part.scores.astype(np.float64)
        scores -= scores.max(axis=1, keepdims=True)
        believed += float(part.weights @ scores[part.rows, part.columns])
        shifted.append(scores)
    low, high = 1 / HOTTEST, 1 / COLDEST
    inverse = 1.0
    for _ in range(ROUNDS):
        expected, variance = np.sum([_moments(scores, inverse) for scores in shifted], axis=0)
        low, high = (inverse, high) if believed > expected else (low, inverse)
        step = inverse + (believed - expected) / max(variance, LEAST_VARIANCE)
        step = step if low < step < high else float(np.sqrt(low * high))
        settled = abs(step - inverse) <= PRECISION * inverse
        inverse = step
        if settled:
            break
    return 1 / inverse


def _moments(scores: NDArray[np.float64], inverse: float) -> tuple[float, float]:
    """Expectation and variance of scores (n, C), none above 0, summed over the images."""
    powers = np.exp(inverse * scores)
    powers /= powers.sum(axis=1, keepdims=True)
    mean = np.einsum("nc,nc->n", powers, scores)
    powers *= scores
    squares = np.einsum("nc,nc->n", powers, scores)
    return float(mean.sum()), float((squares - mean**2).sum())


@dataclass(frozen=True)
class Calibration:
    """What makes probabilities of scores.

    Attributes:
        temperature: that scores are divided by before the softmax.
        thresholds: (201,) at place i, the least probability that a class of a set may have where
            the true one may be missed by i/200 of the images (split conformal, Sadinle et al.
            2019); empty where nothing was held out.
        coverage: (201,) at place i, the share of held-out images whose set held the class at that
            error rate, by thresholds from the other half of them.
        images: how many were held out.
    """

    temperature: float = 1.0
    thresholds: tuple[float, ...] = ()
    coverage: tuple[float, ...] = ()
    images: int = 0

    def threshold(self, error_rate: float) -> float:
        """The least probability of a class in a set at an error rate of 0 to below 1."""
        return self.thresholds[level_of(error_rate)]


class Checked(NamedTuple):
    """Probabilities of images whose class is known.

    Attributes:
        confidence: (n,) that of the likeliest class.
        right: (n,) whether that is the true one.
        covered: (n,) whether the set at an error rate of 5 % holds the true one.
    """

    confidence: NDArray[np.float64]
    right: NDArray[np.bool_]
    covered: NDArray[np.bool_]


def check_probabilities(
    scores: NDArray[np.floating], labels: NDArray[np.int64], calibration: Calibration
) -> Checked:
    """What probabilities say of images.

    Args:
        scores: (n, C). labels: (n,) columns of it, -1 where unknown: such images are left out.
        calibration: of the scores.
    """
    scores, labels = scores[labels >= 0], labels[labels >= 0]
    shares = np.exp(log_softmax(scores, calibration.temperature))
    best, own = shares.max(axis=1), shares[np.arange(len(labels)), labels]
    least = calibration.threshold(0.05) if calibration.thresholds else 1.0
    right = shares.argmax(axis=1) == labels
    return Checked(best, right, right | (own >= least))


def probability_metrics(parts: Sequence[Checked], calibration: Calibration) -> dict[str, Any]:
    """`expected_calibration_error`, 0 to 1, and `coverage` at an error rate of 5 %, in percent."""
    names = "expected_calibration_error", "coverage"
    if not sum(len(part.right) for part in parts):
        return dict.fromkeys(names)
    confidence, right, covered = (np.concatenate(each) for each in zip(*parts, strict=True))
    share = 100 * float(covered.mean()) if calibration.thresholds else None
    return dict(zip(names, (expected_calibration_error(confidence, right), share), strict=True))


def level_of(error_rate: float) -> int:
    """The place of the largest level that is no higher than an error rate."""
    return int(error_rate * LEVELS + 1e-9)


def calibration_of(parts: Sequence[HeldOut]) -> Calibration:
    """Temperature and conformal thresholds from held-out images."""
    parts = [part for part in parts if len(part.scores)]
    if not parts:
        return Calibration()
    temperature = fit_temperature(parts)
    probability, weight, image, count = [], [], [], 0
    for part in parts:
        found = np.exp(log_softmax(part.scores, temperature))
        probability.append(found[part.rows, part.columns])
        weight.append(part.weights)
        image.append(part.rows + count)
        count += len(part.scores)
    values = np.concatenate(probability), np.concatenate(weight), np.concatenate(image)
    thresholds, coverage = _thresholds(*values[:2], count), _coverage(*values)
    return Calibration(temperature, tuple(thresholds.tolist()), tuple(coverage.tolist()), count)


def _thresholds(
    probability: NDArray[np.floating], weight: NDArray[np.floating], images: int
) -> NDArray[np.float64]:
    """At each level, the probability below which at most that share of the images lies.

    Of n images the level loses one place in n + 1, as the image to come counts as well.
    """
    order = np.argsort(probability, kind="stable")
    if not len(order):
        return np.zeros(LEVELS + 1)
    below = np.concatenate([[0.0], np.cumsum(weight[order])])[:-1]
    allowed = np.arange(LEVELS + 1) / LEVELS * (images + 1) - 1
    place = np.searchsorted(below, allowed, side="right") - 1
    found = probability[order][np.maximum(place, 0)]
    return np.where(place < 0, 0.0, np.floor(found * 1e6) / 1e6)


def _coverage(
    probability: NDArray[np.floating], weight: NDArray[np.floating], image: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Share covered at each level: every second image by the others' thresholds, both ways."""
    covered = np.zeros(LEVELS + 1)
    for half in (0, 1):
        own, other = image % 2 == half, image % 2 != half
        limits = _thresholds(probability[other], weight[other], len(np.unique(image[other])))
        order = np.argsort(probability[own], kind="stable")
        below = np.concatenate([[0.0], np.cumsum(weight[own][order])])
        missed = below[np.searchsorted(probability[own][order], limits, side="left")]
        covered += below[-1] - missed
    return np.round(covered / len(np.unique(image)), 4)
