"""Choose gamma, and the share of the trained scores, on held-out images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pzsl.evaluation import Summary
from pzsl.evaluation.accuracy import class_weights

SMOOTH = 0.03
"""Width, in logit scales, of the sigmoid that smooths H before it is maximised: held-out images are
few, and the unsmoothed maximum would fit their noise."""
SHARP = 0.002
"""The same for the standard error of H: nearly hard decisions, as at test time."""
POINTS = 400
"""Values of gamma to try, from the smallest margin to the largest."""
NEARLY = 0.01
"""Difference in H (0 to 1) at which one share gets e times the weight of another."""
PRIOR = 0.22
"""Standard deviation of the prior over shares."""
FEW_CLASSES = 4
"""Number of held-out classes at which gamma is shrunk to half."""
BLOCK = 4096
CACHED = 256
"""Images whose sigmoids at all gammas are computed together: they stay in a core's cache."""
TINY = 1e-12

Values = NDArray[np.float64]


class Choice(NamedTuple):
    """What the folds choose: the share of the trained scores, and gamma."""

    share: float
    gamma: float


class Hits(NamedTuple):
    """What each class contributes to S or U, at each gamma.

    Attributes:
        values: (G, C) contributions; they sum over the seen classes to S, over the others to U, in
            0..1.
        seen: (C,) whether a class is seen; a class that is held out in one fold and seen in others
            occurs twice.
    """

    values: Values
    seen: NDArray[np.bool_]

    def sides(self) -> tuple[Values, Values]:
        """S and U at each gamma, (G,) each."""
        return self.values[:, self.seen].sum(1), self.values[:, ~self.seen].sum(1)

    def harmonic(self) -> Values:
        """H at each gamma, (G,); S where no class is unseen."""
        s, u = self.sides()
        return _harmonic(s, None if self.seen.all() else u)


def choose(
    folds: Sequence[Sequence[Summary]],
    shares: Sequence[float],
    scale: float,
    images: float = math.inf,
    cautious: bool = True,
) -> Choice:
    """Choose the share of the trained scores and gamma on held-out images (ours).

    For each share, find the gamma of the highest class-balanced, smoothed H. Average shares and
    gammas with weights that grow with H and with closeness to the expected share `n / (n + 1)`,
    which counts each image of a class as much as its name. Then shrink gamma towards 0 by
    `C / (C + 4)`, with C held-out classes.

    A cautious method then shrinks both towards frozen CLIP by `1 - (error / gain)^2`, with the
    gain in H over frozen CLIP and its standard error (James and Stein 1961, positive part): a gain
    within its standard error counts as none. The error is that of means over classes, for nearly
    hard decisions.

    Without unseen classes S stands for H, gamma is 0, and no method is cautious: the classes to
    come are those that were trained on, with more images than in a fold.

    Args:
        folds: per fold, a summary of its held-out images at each of `shares`.
        shares: gains are measured from the first.
        scale: CLIP's logit scale, the unit of the smoothing.
        images: n, the mean number of training images of a seen class.
        cautious: whether a gain that is not sure counts for less.

    Returns:
        The choice; the first share and gamma 0 if nothing is held out, or nothing of one side.
    """
    joined = [Summary.join(parts) for parts in zip(*folds, strict=True)]
    if not joined or not _enough(joined[0]):
        return Choice(shares[0], 0.0)
    best = np.array([_best(summary, scale) for summary in joined])
    expected = 1 / (1 + 1 / images)
    evidence = best[:, 1] / NEARLY - (np.array(shares) - expected) ** 2 / (2 * PRIOR**2)
    weight = np.exp(evidence - evidence.max())
    weight /= weight.sum()
    held_out = len(np.unique(joined[0].label[~joined[0].is_seen]))
    share = weight @ np.array(shares)
    gamma = weight @ best[:, 0] * held_out / (held_out + FEW_CLASSES)
    if len(shares) == 1 or not cautious or _closed(joined[0]):
        return Choice(float(share), float(gamma))
    sure = _sureness(joined, shares, share, gamma, scale)
    return Choice(float(sure * share), float(sure * gamma) + 0.0)  # no -0.0


def _closed(summary: Summary) -> bool:
    """Whether there are no unseen classes."""
    return bool(np.isneginf(summary.unseen_score).all())


def _enough(summary: Summary) -> bool:
    """Whether images of seen classes are held out and, if there are unseen classes, of these."""
    return bool(summary.is_seen.any() and (_closed(summary) or not summary.is_seen.all()))


def _best(summary: Summary, scale: float) -> tuple[float, float]:
    """The gamma of the highest H, and that H; gamma 0 where no class is unseen."""
    margin = summary.seen_score - summary.unseen_score
    lowest, highest = (0, 0) if _closed(summary) else (margin.min(), margin.max())
    grid = np.linspace(lowest, highest, POINTS)
    harmonic = _harmonic(*_sides(summary, grid, SMOOTH * scale))
    return grid[harmonic.argmax()], harmonic.max()


def _sides(summary: Summary, grid: Values, width: float) -> tuple[Values, Values | None]:
    """Smoothed S and U at each gamma (G,), U None where no class is unseen: those of `_hits`."""
    right, margin, sides = _right(summary), _margin(summary), []
    for side, sign in ((summary.is_seen, 1), (~summary.is_seen, -1)):
        chosen = side & (right > 0)
        sides.append(_sigmoid_sums(sign * grid, sign * margin[chosen], right[chosen], width))
    return sides[0], None if summary.is_seen.all() else sides[1]


def _sigmoid_sums(grid: Values, margin: Values, weights: Values, width: float) -> Values:
    """`sum_i weights_i sigmoid((margin_i - gamma) / width)` at each gamma of a grid, (G,)."""
    sums = np.zeros(len(grid))
    for start in range(0, len(margin), CACHED):
        chunk = slice(start, start + CACHED)
        steps = np.subtract.outer(grid, margin[chunk])
        steps /= width
        np.exp(np.clip(steps, -60, 60, out=steps), out=steps)
        steps += 1
        sums += np.divide(weights[chunk], steps, out=steps).sum(axis=1)
    return sums


def _sureness(
    joined: Sequence[Summary], shares: Sequence[float], share: float, gamma: float, scale: float
) -> float:
    """Shrinkage factor of share and gamma: `1 - (error / gain)^2`, at least 0."""
    interpolated = []
    for width in (SMOOTH, SHARP):
        before = _hits(joined[0], np.zeros(1), scale, width)
        after = [_hits(summary, np.array([gamma]), scale, width) for summary in joined]
        gains = np.array([_gain(hits, before) for hits in after])
        interpolated.append([np.interp(share, shares, values) for values in gains.T])
    gain, error = float(interpolated[0][0]), float(interpolated[1][1])
    return max(0.0, 1 - (error / gain) ** 2) if gain > 0 else 0.0


def _hits(summary: Summary, grid: Values, scale: float, width: float = SMOOTH) -> Hits:
    """Sum up held-out images of the right class, each weighted by how surely it is on its side."""
    seen, right, margin = summary.is_seen, _right(summary), _margin(summary)
    groups, group = np.unique(2 * summary.label + seen, return_inverse=True)
    order = np.flatnonzero(right)[np.argsort(group[right > 0], kind="stable")]
    values = np.zeros((len(grid), len(groups)))
    for chunk in np.split(order, range(BLOCK, len(order), BLOCK)):
        steps = (grid[:, None] - margin[chunk]) / (width * scale)
        below = 1 / (1 + np.exp(np.clip(steps, -60, 60)))
        share = np.where(seen[chunk], below, 1 - below) * right[chunk]
        present, starts = np.unique(group[chunk], return_index=True)
        values[:, present] += np.add.reduceat(share, starts, axis=1)
    return Hits(values, groups % 2 == 1)


def _right(summary: Summary) -> Values:
    """The weight (n,) of each image in S or U, 0 where the best class of its side is wrong."""
    seen = summary.is_seen
    best_class = np.where(seen, summary.seen_class, summary.unseen_class)
    right: Values = (best_class == summary.label).astype(np.float64)
    for side in (seen, ~seen):
        right[side] *= class_weights(summary.label[side])
    return right


def _margin(summary: Summary) -> Values:
    """(n,) by how much the best seen class is ahead of the best unseen one."""
    margin: Values = (summary.seen_score - summary.unseen_score).astype(np.float64)
    return margin


def _harmonic(s: Values, u: Values | None) -> Values:
    """H (G,) of S and U (G,); S where no class is unseen."""
    return s if u is None else np.asarray(2 * s * u / (s + u + TINY))


def _gain(hits: Hits, before: Hits) -> tuple[float, float]:
    """Gain in H over `before`, both at a single gamma, and its standard error.

    The error is that of H to first order, `dH = 2 (U^2 dS + S^2 dU) / (S + U)^2`, at the middle
    between both, S and U being means over classes.
    """
    change = hits.values[0] - before.values[0]
    s, u = (
        (after_sum + before_sum)[0] / 2
        for after_sum, before_sum in zip(hits.sides(), before.sides(), strict=True)
    )
    total = (s + u) ** 2 + TINY
    variance = (2 * u**2 / total) ** 2 * _variance(change[hits.seen])
    variance += (2 * s**2 / total) ** 2 * _variance(change[~hits.seen])
    return float((hits.harmonic() - before.harmonic())[0]), float(np.sqrt(variance))


def _variance(parts: Values) -> float:
    """Variance of a mean over C classes, from its parts (C,)."""
    classes = len(parts)
    return float(parts.var(ddof=1) * classes if classes > 1 else parts[0] ** 2)
