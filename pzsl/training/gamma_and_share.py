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
NEARLY_HARD = 0.002
"""Likewise for the standard error of H: nearly hard decisions, as at test time."""
POINTS = 400
"""Values of gamma to try, from the smallest margin to the largest."""
H_UNIT = 0.01
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
        shares: those tried, ascending; gains are measured from the first.
        scale: CLIP's logit scale, the unit of the smoothing.
        images: n, the mean number of training images of a seen class.
        cautious: whether to shrink towards frozen CLIP where the gain is uncertain.

    Returns:
        The choice; the first share and gamma 0 if no image of seen or of unseen classes is held
        out.
    """
    summaries = [Summary.join(of_share) for of_share in zip(*folds, strict=True)]
    if not summaries or not _has_both_sides(summaries[0]):
        return Choice(shares[0], 0.0)
    best = np.array([_best(summary, scale) for summary in summaries])
    expected = 1 / (1 + 1 / images)
    evidence = best[:, 1] / H_UNIT - (np.array(shares) - expected) ** 2 / (2 * PRIOR**2)
    weight = np.exp(evidence - evidence.max())
    weight /= weight.sum()
    unseen = len(np.unique(summaries[0].label[~summaries[0].is_seen]))
    share = weight @ np.array(shares)
    gamma = weight @ best[:, 0] * unseen / (unseen + FEW_CLASSES)
    if len(shares) == 1 or not cautious or _is_closed_set(summaries[0]):
        return Choice(float(share), float(gamma))
    shrinkage = _shrinkage(summaries, shares, share, gamma, scale)
    return Choice(float(shrinkage * share), float(shrinkage * gamma) + 0.0)  # no -0.0


def gamma_at(
    share: float, folds: Sequence[Sequence[Summary]], shares: Sequence[float], scale: float
) -> float:
    """The gamma that is best at a share of the trained scores, between those at `shares`.

    Args:
        share: of the trained scores.
        folds, shares, scale: as in `choose`.
    """
    gammas = [
        choose([[of_share[index]] for of_share in folds], [tried], scale, cautious=False).gamma
        for index, tried in enumerate(shares)
    ]
    return float(np.interp(share, shares, gammas))


def _is_closed_set(summary: Summary) -> bool:
    """Whether no class is unseen."""
    return bool(np.isneginf(summary.unseen_score).all())


def _has_both_sides(summary: Summary) -> bool:
    """Whether images of seen classes are held out and, in an open set, of unseen ones, too."""
    return bool(summary.is_seen.any() and (_is_closed_set(summary) or not summary.is_seen.all()))


def _best(summary: Summary, scale: float) -> tuple[float, float]:
    """The gamma of the highest H, and that H; gamma 0 where no class is unseen."""
    margin = summary.seen_score - summary.unseen_score
    lowest, highest = (0, 0) if _is_closed_set(summary) else (margin.min(), margin.max())
    grid = np.linspace(lowest, highest, POINTS)
    harmonic = _harmonic(*_sides(summary, grid, SMOOTH * scale))
    return grid[harmonic.argmax()], harmonic.max()


def _sides(summary: Summary, grid: Values, width: float) -> tuple[Values, Values | None]:
    """Smoothed S and U at each gamma (G,), U None where no class is unseen: those of `_hits`."""
    image_weights, margin, sides = _image_weights(summary), _margin(summary), []
    for side, sign in ((summary.is_seen, 1), (~summary.is_seen, -1)):
        chosen = side & (image_weights > 0)
        sums = _sigmoid_sums(sign * grid, sign * margin[chosen], image_weights[chosen], width)
        sides.append(sums)
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


def _shrinkage(
    summaries: Sequence[Summary], shares: Sequence[float], share: float, gamma: float, scale: float
) -> float:
    """Shrinkage factor of share and gamma: `1 - (error / gain)^2`, at least 0."""
    interpolated = []
    for width in (SMOOTH, NEARLY_HARD):
        frozen = _hits(summaries[0], np.zeros(1), scale, width)
        per_share = [_hits(summary, np.array([gamma]), scale, width) for summary in summaries]
        gains = np.array([_gain(hits, frozen) for hits in per_share])
        interpolated.append([np.interp(share, shares, values) for values in gains.T])
    (smooth_gain, _), (_, hard_error) = interpolated
    gain, error = float(smooth_gain), float(hard_error)
    return max(0.0, 1 - (error / gain) ** 2) if gain > 0 else 0.0


def _hits(summary: Summary, grid: Values, scale: float, width: float = SMOOTH) -> Hits:
    """Sum up images classified right on their side, weighted by how surely they are on it."""
    seen, image_weights = summary.is_seen, _image_weights(summary)
    margin = _margin(summary)
    groups, group = np.unique(2 * summary.label + seen, return_inverse=True)
    is_right = image_weights > 0
    order = np.flatnonzero(is_right)[np.argsort(group[is_right], kind="stable")]
    values = np.zeros((len(grid), len(groups)))
    for chunk in np.split(order, range(BLOCK, len(order), BLOCK)):
        steps = (grid[:, None] - margin[chunk]) / (width * scale)
        on_seen_side = 1 / (1 + np.exp(np.clip(steps, -60, 60)))
        on_own_side = np.where(seen[chunk], on_seen_side, 1 - on_seen_side)
        present, starts = np.unique(group[chunk], return_index=True)
        values[:, present] += np.add.reduceat(on_own_side * image_weights[chunk], starts, axis=1)
    return Hits(values, groups % 2 == 1)


def _image_weights(summary: Summary) -> Values:
    """The weight (n,) of each image in S or U, 0 where the best class of its side is wrong."""
    seen = summary.is_seen
    best_class = np.where(seen, summary.seen_class, summary.unseen_class)
    image_weights: Values = (best_class == summary.label).astype(np.float64)
    for side in (seen, ~seen):
        image_weights[side] *= class_weights(summary.label[side])
    return image_weights


def _margin(summary: Summary) -> Values:
    """(n,) by how much the best seen class is ahead of the best unseen one."""
    margin: Values = (summary.seen_score - summary.unseen_score).astype(np.float64)
    return margin


def _harmonic(s: Values, u: Values | None) -> Values:
    """H (G,) of S and U (G,); S where no class is unseen."""
    return s if u is None else np.asarray(2 * s * u / (s + u + TINY))


def _gain(hits: Hits, frozen: Hits) -> tuple[float, float]:
    """Gain in H over `frozen`, both at a single gamma, and its standard error.

    The error is that of H to first order, `dH = 2 (U^2 dS + S^2 dU) / (S + U)^2`, midway between
    both; S and U are means over classes.
    """
    change = hits.values[0] - frozen.values[0]
    s, u = (
        (trained_sum + frozen_sum)[0] / 2
        for trained_sum, frozen_sum in zip(hits.sides(), frozen.sides(), strict=True)
    )
    total = (s + u) ** 2 + TINY
    variance = (2 * u**2 / total) ** 2 * _variance(change[hits.seen])
    variance += (2 * s**2 / total) ** 2 * _variance(change[~hits.seen])
    return float((hits.harmonic() - frozen.harmonic())[0]), float(np.sqrt(variance))


def _variance(contributions: Values) -> float:
    """Variance of a mean over C classes, to which each adds its contribution, (C,)."""
    classes = len(contributions)
    return float(contributions.var(ddof=1) * classes if classes > 1 else contributions[0] ** 2)
