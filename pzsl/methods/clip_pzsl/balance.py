"""Label weights that agree with the sizes of the classes, by entropic transport (ours).

Similar to SoLar (Wang et al. 2022) and to the distribution alignment of Co-Reg: classes that frozen
CLIP predicts too often attract images of other classes, which then lack them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pzsl.losses.ragged import Rows, add_groups, row_sum
from pzsl.methods.core import CandidateEntries

ROUNDS = 20
"""Rounds of Sinkhorn's algorithm."""
CONFIDENT = 0.5
"""A larger label weight counts as one image of the class when class sizes are compared."""
FEWEST = 0.05
"""Lower bound on the size of a class, relative to the mean."""
SOFT = 0.95
"""Exponent of the classes' factors; at 1 the sizes would be met exactly."""
NEGLIGIBLE = 1e-4
"""Smaller label weights are left as they are."""
SMALLEST = 1e-9


def class_sizes(labels: Tensor, weights: Tensor, classes: int, images: int) -> Tensor:
    """Estimated number of images of each class: between equal sizes and sums of label weights.

    If the numbers of confidently labelled images vary between classes no more than by chance (the
    variance of the counts is at most their mean, as for Poisson counts), equal sizes are assumed.
    If they vary twice as much, the sums of the label weights are kept, and nothing is moved.

    Args:
        labels, weights: (m,) the class of each entry, and its label weight.
        classes: K.
        images: N.

    Returns:
        (K,), summing to N.
    """
    counts = torch.bincount(labels[weights > CONFIDENT], minlength=classes).to(weights)
    spread = counts.var(correction=0) / counts.mean().clamp_min(SMALLEST)
    trust = (spread - 1).clamp(0, 1)
    sums = add_groups(torch.zeros_like(counts), labels, weights)
    mean = sums.mean()
    sizes = (mean + trust * (sums - mean)).clamp_min(FEWEST * mean)
    return sizes * (images / sizes.sum())


def balanced_weights(candidates: CandidateEntries, weights: Tensor, classes: int) -> Tensor:
    """Label weights `w u v` whose sums over images approach the classes' sizes (Sinkhorn 1967).

    Args:
        candidates: of N images.
        weights: (M,) their label weights.
        classes: K.

    Returns:
        (M,) label weights; each image's sum to one.
    """
    heavy = torch.nonzero(weights > NEGLIGIBLE).flatten()
    rows = _rows_of(candidates, heavy)
    labels, heavy_weights = candidates.labels[heavy].long(), weights[heavy]
    sizes = class_sizes(labels, heavy_weights, classes, len(candidates))
    factors = torch.ones_like(sizes)
    for _ in range(ROUNDS):
        mass = row_sum(heavy_weights * factors[labels], rows)
        share = heavy_weights / rows.spread(mass.clamp_min_(SMALLEST))
        class_mass = add_groups(torch.zeros_like(sizes), labels, share)
        factors = (sizes / class_mass.clamp_min(SMALLEST)).pow(SOFT)
    balanced = weights.index_copy(0, heavy, heavy_weights.mul_(factors[labels]))
    for block in candidates.blocks():
        entries = candidates.batch(block, 0)
        values = entries.of(balanced)
        mass = row_sum(values, entries.rows).clamp_min_(SMALLEST)
        entries.write(values / entries.rows.spread(mass), balanced)
    return balanced


def _rows_of(candidates: CandidateEntries, entries: Tensor) -> Rows:
    """The images of some entries (m,), ascending; an image may have none."""
    offsets = torch.searchsorted(entries, candidates.offsets)
    image = torch.repeat_interleave(offsets.diff(), output_size=len(entries))
    return Rows(image, offsets, entries)
