"""Paired differences over seeds: mean, 95 % interval, paired t-test and signed-rank test."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

Values = Mapping[int, float]
"""Seed -> value of a metric."""

LEVEL = 0.95
DIGITS = 9
"""Decimals of a difference. Equal accuracies, summed in another order, differ in the last bits, and
by the same in each seed that would be significant."""
WILCOXON_SEEDS = 6
"""With fewer differences a two-sided signed-rank test can't reach 5 %: its least p is 2 / 2**n."""


class Difference(NamedTuple):
    """The paired difference of two systems, first minus second, in the metric's unit.

    Attributes:
        n: number of common seeds.
        mean: of the differences.
        low, high: 95 % interval of the mean by Student's t with n - 1 degrees of freedom; None
            for one seed.
        p: of the two-sided paired t-test; None for one seed.
        wilcoxon: p of the two-sided Wilcoxon signed-rank test; None if not requested, or if fewer
            than `WILCOXON_SEEDS` differences are nonzero.
    """

    n: int
    mean: float
    low: float | None
    high: float | None
    p: float | None
    wilcoxon: float | None

    @property
    def verdict(self) -> str | None:
        """`win`, `loss` or `tie` (the interval contains zero); None for one seed."""
        if self.low is None or self.high is None:
            return None
        return "win" if self.low > 0 else "loss" if self.high < 0 else "tie"


def paired_difference(
    first: Values, second: Values, signed_ranks: bool = False
) -> Difference | None:
    """Compare two systems on their common seeds.

    Args:
        first, second: a value for each seed.
        signed_ranks: also run the Wilcoxon signed-rank test, which takes ten times as long.

    Returns:
        The difference first minus second; None without common seeds.
    """
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        return None
    differences = [round(first[seed] - second[seed], DIGITS) for seed in seeds]
    mean = statistics.fmean(differences)
    if len(differences) < 2:
        return Difference(1, mean, None, None, None, None)
    low, high, p = _student(mean, statistics.stdev(differences), len(differences))
    ranked = _wilcoxon(differences) if signed_ranks else None
    return Difference(len(differences), mean, low, high, p, ranked)


def mean_ranks(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean rank of each system over settings; 1 is the highest score, ties share a rank.

    Args:
        scores: the score of every system in each setting; all with the same systems.
    """
    from scipy.stats import rankdata

    ranks: dict[str, list[float]] = {}
    for setting in scores:
        for name, rank in zip(setting, rankdata([-v for v in setting.values()]), strict=True):
            ranks.setdefault(name, []).append(float(rank))
    return {name: statistics.fmean(values) for name, values in ranks.items()}


def _student(mean: float, deviation: float, n: int) -> tuple[float, float, float]:
    """Interval and two-sided p of the mean of n differences, by Student's t."""
    from scipy.special import stdtr, stdtrit

    error = deviation / math.sqrt(n)
    if error == 0:
        return mean, mean, 0.0 if mean else 1.0
    half = float(stdtrit(n - 1, (1 + LEVEL) / 2)) * error
    return mean - half, mean + half, 2 * float(stdtr(n - 1, -abs(mean) / error))


def _wilcoxon(differences: Sequence[float]) -> float | None:
    if sum(value != 0 for value in differences) < WILCOXON_SEEDS:
        return None
    from scipy.stats import wilcoxon

    return float(wilcoxon(differences).pvalue)
