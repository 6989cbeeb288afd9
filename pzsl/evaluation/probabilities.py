"""Calibrated probabilities: temperature scaling, calibration error, conformal prediction sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

BINS = 15
"""Equal-width bins of the expected calibration error (Guo et al. 2017)."""
COLDEST, HOTTEST = 0.05, 20.0
"""Range in which the temperature is searched."""
ROUNDS, PRECISION, LEAST_VARIANCE = 60, 1e-9, 1e-12
"""Newton's method: most steps, relative tolerance, and least variance that is divided by."""
CACHED = 1 << 16
"""Scores whose moments are computed at a time: half a megabyte, which stays in a core's cache."""
LEVELS = 200
"""A `Calibration` stores thresholds for error rates i/200."""


@dataclass(frozen=True)
class HeldOut:
    """Scores of held-out images, and label weights over their candidate classes.

    Attributes:
        scores: (n, C).
        rows: (m,) image of each weight, 0..n-1.
        columns: (m,) its class, a column of `scores`.
        weights: (m,) probability that the image is of that class; they sum to one per image.
    """

    scores: NDArray[np.floating]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    weights: NDArray[np.floating]


def expected_calibration_error(
    confidence: NDArray[np.floating], right: NDArray[np.bool_]
) -> float | None:
    """Mean gap between confidence and accuracy over 15 equal-width bins (Guo et al. 2017).

    Args:
        confidence: (n,) 0 to 1. right: (n,) whether the prediction is right.

    Returns:
        0 to 1; None without images.
    """
    if not len(confidence):
        return None
    gaps = np.bincount(_bins(confidence), right.astype(np.float64) - confidence, minlength=BINS)
    return float(np.abs(gaps).sum() / len(confidence))


def calibration_error_by_chance(confidence: NDArray[np.floating]) -> float | None:
    """The `expected_calibration_error` that a perfectly calibrated model has on average (ours).

    The metric is never negative, so sampling noise doesn't cancel out: the share of right
    predictions in a bin differs from the mean confidence even where each is right with its own
    probability p. The sum of a bin then has variance `sum p (1 - p)`, and a normal variable's mean
    absolute value is `sqrt(2 / pi)` standard deviations.

    Args:
        confidence: (n,) 0 to 1.

    Returns:
        0 to 1; None without images.
    """
    if not len(confidence):
        return None
    probability = np.asarray(confidence, np.float64)
    variances = np.bincount(_bins(confidence), probability * (1 - probability), minlength=BINS)
    return float(np.sqrt(2 / np.pi * variances.clip(min=0)).sum() / len(confidence))


def _bins(confidence: NDArray[np.floating]) -> NDArray[np.int64]:
    """The bin (n,) of each confidence."""
    return np.minimum((np.asarray(confidence) * BINS).astype(np.int64), BINS - 1)


def log_softmax(scores: NDArray[np.floating], temperature: float = 1.0) -> NDArray[np.float64]:
    """Log-softmax of scores (n, C) divided by a temperature, (n, C)."""
    scaled = scores.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    return np.asarray(scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True)))


def fit_temperature(parts: Sequence[HeldOut], coldest: float = COLDEST) -> float:
    """The temperature that maximises the likelihood of the held-out images' label weights.

    The log-likelihood is concave in 1/T, and its slope is the weighted score of the labels minus
    the expected score; Newton's method finds its zero. Guo et al. (2017) fit the temperature to
    true labels. Here each image counts for its candidate classes by their weights (ours), so that
    wrong labels don't make the model overconfident.

    Returns:
        `coldest` to 20; 1 if nothing is held out.
    """
    if not parts:
        return 1.0
    believed, shifted = 0.0, []
    for part in parts:
        scores = part.scores.astype(np.float64)
        scores -= scores.max(axis=1, keepdims=True)
        believed += float(part.weights @ scores[part.rows, part.columns])
        shifted.append(scores)
    low, high = 1 / HOTTEST, 1 / coldest
    inverse = min(1.0, high)
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
    """Mean and variance of scores (n, C) under their softmax, summed over the images.

    Args:
        scores: (n, C), none above 0. inverse: 1 / temperature.
    """
    mean, squares = np.empty(len(scores)), np.empty(len(scores))
    step = max(1, CACHED // max(1, scores.shape[1]))
    for start in range(0, len(scores), step):
        block = slice(start, start + step)
        powers = np.exp(inverse * scores[block])
        powers /= powers.sum(axis=1, keepdims=True)
        mean[block] = np.einsum("nc,nc->n", powers, scores[block])
        powers *= scores[block]
        squares[block] = np.einsum("nc,nc->n", powers, scores[block])
    return float(mean.sum()), float((squares - mean**2).sum())


@dataclass(frozen=True)
class Calibration:
    """Turns scores into probabilities and prediction sets.

    Attributes:
        temperature: scores are divided by it before the softmax.
        thresholds: (201,) entry i is the least probability of a class in the prediction set at an
            error rate of i/200 (split conformal, Sadinle et al. 2019); empty if nothing was held
            out.
        coverage: (201,) entry i is the share of held-out images whose set contains their class at
            that error rate, with thresholds from the other half of the held-out images.
        images: number of held-out images.
        added: what takes its place once classes are added to a run without unseen ones; else None.
    """

    temperature: float = 1.0
    thresholds: tuple[float, ...] = ()
    coverage: tuple[float, ...] = ()
    images: int = 0
    added: AddedClasses | None = None

    def threshold(self, error_rate: float) -> float:
        """The least probability of a class in a prediction set; 0 <= error_rate < 1."""
        return self.thresholds[level_of(error_rate)]


@dataclass(frozen=True)
class AddedClasses:
    """How a run without unseen classes scores once classes are added by their names.

    Attributes:
        gamma: subtracted from the scores of seen classes (calibrated stacking).
        probabilities: their calibration, on images of held-out classes, too.
    """

    gamma: float
    probabilities: Calibration


class Checked(NamedTuple):
    """Predictions on images whose class is known.

    Attributes:
        confidence: (n,) probability of the likeliest class.
        right: (n,) whether the likeliest class is the true one.
        covered: (n,) whether the prediction set at an error rate of 5 % contains the true class.
    """

    confidence: NDArray[np.float64]
    right: NDArray[np.bool_]
    covered: NDArray[np.bool_]


def check_probabilities(
    scores: NDArray[np.floating], labels: NDArray[np.int64], calibration: Calibration
) -> Checked:
    """Compare calibrated probabilities with the true classes.

    Args:
        scores: (n, C). labels: (n,) columns of `scores`; images with -1 (unknown) are left out.
        calibration: for these scores.
    """
    scores, labels = scores[labels >= 0], labels[labels >= 0]
    shares = np.exp(log_softmax(scores, calibration.temperature))
    best, true_class = shares.max(axis=1), shares[np.arange(len(labels)), labels]
    least = calibration.threshold(0.05) if calibration.thresholds else 1.0
    right = shares.argmax(axis=1) == labels
    return Checked(best, right, right | (true_class >= least))


def probability_metrics(parts: Sequence[Checked], calibration: Calibration) -> dict[str, Any]:
    """Calibration error (0 to 1) and coverage of the sets at an error rate of 5 % (percent)."""
    names = "expected_calibration_error", "calibration_error_by_chance", "coverage"
    if not sum(len(part.right) for part in parts):
        return dict.fromkeys(names)
    confidence, right, covered = (np.concatenate(column) for column in zip(*parts, strict=True))
    share = 100 * float(covered.mean()) if calibration.thresholds else None
    errors = expected_calibration_error(confidence, right), calibration_error_by_chance(confidence)
    return dict(zip(names, (*errors, share), strict=True))


def level_of(error_rate: float) -> int:
    """The largest i with i/200 <= error_rate."""
    return int(error_rate * LEVELS + 1e-9)


def calibration_of(parts: Sequence[HeldOut], coldest: float = COLDEST) -> Calibration:
    """Temperature, at least `coldest`, and conformal thresholds from held-out images."""
    parts = [part for part in parts if len(part.scores)]
    if not parts:
        return Calibration()
    temperature = fit_temperature(parts, coldest)
    probability, weight, image, count = [], [], [], 0
    for part in parts:
        probabilities = np.exp(log_softmax(part.scores, temperature))
        probability.append(probabilities[part.rows, part.columns])
        weight.append(part.weights)
        image.append(part.rows + count)
        count += len(part.scores)
    order = np.argsort(np.concatenate(probability), kind="stable")
    ascending, weights, images = (
        np.concatenate(column)[order] for column in (probability, weight, image)
    )
    thresholds = _thresholds(ascending, weights, count)
    coverage = _coverage(ascending, weights, images)
    return Calibration(temperature, tuple(thresholds.tolist()), tuple(coverage.tolist()), count)


def _thresholds(
    probability: NDArray[np.floating], weight: NDArray[np.floating], images: int
) -> NDArray[np.float64]:
    """For each error rate, the probability below which at most that share of the images lies.

    Split conformal counts the new image as well: of n images, rank i/200 * (n + 1) - 1 is taken.

    Args:
        probability: (m,) ascending. weight: (m,) of each. images: n.
    """
    if not len(probability):
        return np.zeros(LEVELS + 1)
    below = np.concatenate([[0.0], np.cumsum(weight)])[:-1]
    allowed = np.arange(LEVELS + 1) / LEVELS * (images + 1) - 1
    place = np.searchsorted(below, allowed, side="right") - 1
    limits = probability[np.maximum(place, 0)]
    return np.where(place < 0, 0.0, np.floor(limits * 1e6) / 1e6)


def _coverage(
    probability: NDArray[np.floating], weight: NDArray[np.floating], image: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Coverage at each error rate, by two-fold cross-validation over even and odd images.

    Args:
        probability: (m,) ascending. weight, image: (m,) of each.
    """
    covered = np.zeros(LEVELS + 1)
    for half in (0, 1):
        tested, calibrating = image % 2 == half, image % 2 != half
        limits = _thresholds(
            probability[calibrating], weight[calibrating], _distinct(image[calibrating])
        )
        below = np.concatenate([[0.0], np.cumsum(weight[tested])])
        missed = below[np.searchsorted(probability[tested], limits, side="left")]
        covered += below[-1] - missed
    return np.round(covered / _distinct(image), 4)


def _distinct(image: NDArray[np.integer]) -> int:
    """How many different images there are; counting takes a fraction of the time of sorting."""
    return int(np.count_nonzero(np.bincount(image)))
