"""A mixture of two Gaussians on a line: images with a low loss and images with a high one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]
ROUNDS = 100
CLOSE = 1e-6
"""EM stops when the mean log-likelihood grows by less."""
NARROWEST = 1e-6
"""Least variance of a component, as a share of the squared range of the values."""


@dataclass(frozen=True)
class Mixture:
    """Two Gaussians, the one with the lower mean first; float64 tensors (2,) on the CPU."""

    means: Tensor
    variances: Tensor
    shares: Tensor

    def log_joint(self, values: Tensor) -> Tensor:
        """Log of share times density of each component at values (N,): (2, N)."""
        constants = self.shares.log() - 0.5 * (self.variances.log() + math.log(2 * math.pi))
        squares = (values - self.means[:, None]).square_()
        return squares.mul_((-0.5 / self.variances)[:, None]).add_(constants[:, None])


def fit_mixture(values: Tensor) -> Mixture | None:
    """Fit two Gaussians by EM (Dempster et al. 1977), starting from two means (Lloyd's algorithm).

    It runs on the CPU for values on any device, because each round checks the likelihood.

    Args:
        values: (N,) finite numbers.

    Returns:
        The mixture; None if the values don't form two groups: they are (nearly) equal, or one group
        became empty.

    Raises:
        ValueError: no value, or one that is not finite.
    """
    values = values.cpu().double()  # in this order: Apple's GPUs know no float64
    if not len(values) or not values.isfinite().all():
        not_finite = torch.nonzero(~values.isfinite()).flatten()
        problem = (
            f"value {int(not_finite[0])} is {float(values[not_finite[0]])}"
            if len(not_finite)
            else "there is none"
        )
        raise ValueError(f"a mixture is fitted to finite values, but {problem}")
    width = float(values.max() - values.min())
    if width < 1e-9 * max(1.0, float(values.abs().max())):
        return None
    array = values.numpy()  # a third of the time of tensors, where values are few
    return _expectation_maximisation(array, _two_means(array), NARROWEST * width**2)


def _expectation_maximisation(
    values: Array, upper: NDArray[np.bool_], floor: float
) -> Mixture | None:
    """EM from a division of values (N,) into two groups; variances stay above `floor`."""
    high, previous = upper.astype(values.dtype), -math.inf
    for _ in range(ROUNDS):
        counts = np.array([len(values) - high.sum(), high.sum()])
        if counts.min() < 1e-6:
            return None
        weighted = high @ values
        means = np.array([values.sum() - weighted, weighted]) / counts
        squares = np.square(values - means[0]), np.square(values - means[1])
        spread = high @ squares[1], squares[0].sum() - high @ squares[0]
        variances = np.maximum(np.array([spread[1], spread[0]]) / counts, floor)
        shares = counts / len(values)
        constants = np.log(shares) - 0.5 * np.log(2 * math.pi * variances)
        low_joint, high_joint = (
            constants[which] - (0.5 / variances[which]) * squares[which] for which in range(2)
        )
        difference = high_joint - low_joint
        power = np.exp(-np.abs(difference))  # of the less likely component by the other
        evidence = np.maximum(low_joint, high_joint) + np.log(1 + power)
        high, likelihood = np.where(difference > 0, 1, power) / (1 + power), float(evidence.mean())
        if likelihood - previous < CLOSE:
            break
        previous = likelihood
    order = np.argsort(means, kind="stable")
    return Mixture(*(torch.from_numpy(array[order]) for array in (means, variances, shares)))


def low_posterior(values: Tensor, mixture: Mixture | None) -> Tensor:
    """Posterior (N,) that values belong to the component with the lower mean.

    A value beyond one of the means gets that mean's posterior: the wider Gaussian wins in both
    tails, so a very low loss would count as a high one. Without two groups all values count as low.
    """
    if mixture is None:
        return torch.ones_like(values)
    low, high = mixture.means.tolist()
    joint = mixture.log_joint(values.cpu().double().clamp(low, high))
    return joint.softmax(dim=0)[0].to(values)


def _two_means(values: Array) -> NDArray[np.bool_]:
    """Which values (N,) are of the higher of two groups (Lloyd's algorithm from the extremes)."""
    low, high = values.min(), values.max()
    upper: NDArray[np.bool_] = values > (low + high) / 2
    for _ in range(ROUNDS):
        low, high = values[~upper].mean(), values[upper].mean()
        new_upper = values > (low + high) / 2
        if np.array_equal(new_upper, upper):
            break
        upper = new_upper
    return upper
