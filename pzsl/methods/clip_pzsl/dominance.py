"""Training sets in which one class, or a few, have most of the images (ours).

The mean image is then nearly that of such a class, whose centred images point anywhere; and a mean
over images says what attracts the images of that class. So classes count alike there, not images.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pzsl.losses.ragged import add_groups, row_sum
from pzsl.methods.clip_pzsl.training_pass import (
    ColumnPowers,
    EntryLogits,
    RowFunction,
    candidates_softmax,
    walk,
)
from pzsl.methods.core import CandidateEntries

SOME, MOST = 0.25, 0.4
"""Excess of the largest class's share over an equal one, as a part of the largest possible, above
which classes begin to count alike, and above which they do."""
MANY, FEW = 0.3, 0.2
"""Likewise the share of the classes that have images, `(sum n)^2 / (K sum n^2)`, below which they
begin, and below which they do. Long tails stay clear of both: with 20 classes or more, the largest
of which has a hundred times the images of the smallest, these are below 0.2 and above 0.4."""


def class_counts(candidates: CandidateEntries, weights: Tensor, classes: int) -> Tensor:
    """Sums (K,) of the label weights (M,) of each class."""
    counts = weights.new_zeros(classes)
    for rows in candidates.blocks():
        entries = candidates.batch(rows, 0)
        counts = add_groups(counts, entries.labels, entries.of(weights))
    return counts


def dominance(counts: Tensor) -> float:
    """How far classes rather than images should count alike, given the classes' sizes (K,): 0 to 1.

    0 where no class is much larger than an equal share and most have images, or of a single class.
    """
    if len(counts) < 2:
        return 0.0
    shares, equal = counts.detach() / counts.detach().sum(), 1 / len(counts)
    excess = (float(shares.max()) - equal) / (1 - equal)
    with_images = equal / float(shares.square().sum())
    extent = max((excess - SOME) / (MOST - SOME), (MANY - with_images) / (MANY - FEW))
    return min(1.0, max(0.0, extent))


def class_centre(sums: Tensor, counts: Tensor) -> Tensor:
    """Mean (D,) of the class means, from sums (K, D); classes below the mean size count less."""
    means = sums / counts.clamp_min(1e-9)[:, None]
    relative = (counts / counts.mean()).clamp(max=1.0)
    return relative @ means / relative.sum()


def image_weights(candidates: CandidateEntries, weights: Tensor, classes: int) -> Tensor | None:
    """Weights (N,) of images with which classes count alike, at most 1; None if images should.

    Args:
        candidates: of N images. weights: (M,) label weights. classes: K.
    """
    counts = class_counts(candidates, weights, classes)
    extent = dominance(counts)
    if not extent:
        return None
    inverse = 1 / counts.clamp_min(1.0)
    parts = []
    for rows in candidates.blocks():
        entries = candidates.batch(rows, 0)
        share = entries.of(weights) * inverse.index_select(0, entries.labels)
        parts.append(row_sum(share, entries.rows))
    image_shares = torch.cat(parts)
    return (image_shares / image_shares.max()).pow_(extent)


def entry_logits_and_sums(
    candidates: CandidateEntries, logits: RowFunction, power: float, labels: int | None = None
) -> tuple[Tensor, Tensor]:
    """Logits of the entries, and how much each label attracts images.

    Args:
        candidates: of N images.
        logits: of training rows (B,) over C labels or more, seen first.
        power: factor of the logits.
        labels: C; None for all.

    Returns:
        (M,) logits, and (C,) `log sum_i v_i exp(power * logits_ic)` with v_i = 1, or with
        `image_weights`.
    """
    entry_logits, powers = EntryLogits(candidates), ColumnPowers(candidates, power, labels)
    walk(candidates, logits, entry_logits, powers)
    log_sums = powers.log_sums
    shares = candidates_softmax(candidates, entry_logits.values)
    weights = image_weights(candidates, shares, len(log_sums))
    if weights is None:
        return entry_logits.values, log_sums
    weighted = ColumnPowers(candidates, power, labels, weights)
    walk(candidates, logits, weighted)
    return entry_logits.values, weighted.log_sums
