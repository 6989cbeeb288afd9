"""Prototypes of classes in closed form, and hubness.

Semantic mining without training (ours): prototypes are sums of images weighted by label weights.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pzsl.losses.ragged import add_groups
from pzsl.methods.clip_pzsl.dominance import (
    class_centre,
    class_counts,
    dominance,
    entry_logits_and_sums,
)
from pzsl.methods.clip_pzsl.training_pass import (
    BlockRows,
    RowFunction,
    column_powers,
    walk,
)
from pzsl.methods.core import BatchEntries, CandidateEntries, Problem
from pzsl.models.prototypes import (
    class_sums,
    unseen_prototypes,
    whitening,
    within_covariance,
)

POWER = 0.4
"""Exponent of the power mean in `hubness`."""
SMALLEST = 1e-9
"""Lower bound of sums of weights, to keep quotients and logarithms finite."""
LABEL_SCALE = 100.0
"""Scale of the cosines between labels in `added_hubness`: CLIP's usual logit scale."""


class WhitenedSpace(NamedTuple):
    """The space in which images are compared with prototypes: centred, and whitened within classes.

    Attributes:
        centre: (D,) mean image, or mean of the classes' mean images.
        metric: (D, D) matrix that multiplies centred images.
    """

    centre: Tensor
    metric: Tensor

    def project(self, images: Tensor) -> Tensor:
        """Adapted images (n, D) as unit vectors (n, D) of the space."""
        return F.normalize((images - self.centre) @ self.metric, dim=-1)


class ClassStatistics(NamedTuple):
    """Sums of projected images times label weights (K, D), and sums of label weights (K,)."""

    sums: Tensor
    counts: Tensor


def find_space(
    problem: Problem,
    candidates: CandidateEntries,
    weights: Tensor,
    images: RowFunction,
    whiten: bool,
) -> WhitenedSpace:
    """Compute the mean and the metric of the training images, block by block.

    If few classes have most of the images, the mean is that of the class means.

    Args:
        problem: the training problem.
        candidates: its entries.
        weights: (M,) their label weights.
        images: adapted images (B, D) of training rows.
        whiten: whether to whiten within classes.
    """
    blocks, count = candidates.blocks(), len(candidates)
    centre = torch.stack([images(rows).sum(0) for rows in blocks]).sum(0) / count
    if extent := dominance(class_counts(candidates, weights, len(problem.seen))):
        centre = centre.lerp(class_centre(*gather(problem, candidates, weights, images)), extent)
    metric = torch.eye(len(centre), device=centre.device)
    if whiten:
        second = torch.zeros_like(metric)
        for rows in blocks:
            centred = images(rows) - centre
            second.addmm_(centred.T, centred)
        sums, counts = gather(problem, candidates, weights, lambda rows: images(rows) - centre)
        metric = whitening(within_covariance(second, sums, counts, count), count)
    return WhitenedSpace(centre, metric)


def gather(
    problem: Problem, candidates: CandidateEntries, weights: Tensor, projected: RowFunction
) -> ClassStatistics:
    """Sum up the `projected` images of each class; other arguments as in `find_space`."""
    sums, counts = torch.zeros_like(problem.seen), problem.seen.new_zeros(len(problem.seen))
    for rows in candidates.blocks():
        entries = candidates.batch(rows, 0)
        share = entries.of(weights)
        class_sums(projected(rows), entries.labels, share, entries.rows.batch_row, sums)
        counts = add_groups(counts, entries.labels, share)
    return ClassStatistics(sums, counts)


def all_prototypes(statistics: ClassStatistics, labels: Tensor, strength: float) -> Tensor:
    """Prototypes of all classes, seen first: (K + U, D).

    Args:
        statistics: of the seen classes.
        labels: (K + U, D) refined label embeddings.
        strength: length of an unseen label's prototype.
    """
    seen, prototypes = len(statistics.sums), F.normalize(statistics.sums, dim=-1)
    relative = (statistics.counts / statistics.counts.mean()).clamp(max=1.0)
    unseen = unseen_prototypes(prototypes, labels[:seen], labels[seen:], relative, strength)
    return torch.cat([prototypes, unseen])


def hubness(candidates: CandidateEntries, logits: RowFunction) -> Tensor:
    """How much each label attracts images, whatever they show (ours, after Smith et al. 2017).

    A label's softmax over *images*, which the other half of CLIP's loss trains, has the sum of
    `exp logits` over all images as its denominator. Here it is replaced by a power mean.

    Args:
        candidates: of the training images.
        logits: of training rows (B,) over C labels: (B, C).

    Returns:
        (C,) log of the mean, less its mean over the labels.
    """
    return centred_hubness(entry_logits_and_sums(candidates, logits, POWER)[1])


def balanced_hubness(candidates: CandidateEntries, logits: RowFunction, weights: Tensor) -> Tensor:
    """`hubness` in which a class's own images count as one C-th of all, whatever their number.

    Otherwise seen labels would attract more than unseen ones, the more so the fewer classes there
    are, and gamma could not be chosen on folds.

    Args:
        candidates: of the N training images.
        logits: of training rows (B,) over C labels, seen first: (B, C).
        weights: (M,) label weights: to what share an image is a class's own.
    """
    sums = OwnAndOthers(candidates, weights)
    walk(candidates, logits, sums)
    mass = sums.mass
    own_power = sums.own_sums.rows.logsumexp(dim=0) - mass.clamp_min(SMALLEST).log()
    other_power = (
        sums.other_sums.rows.logsumexp(dim=0) - (len(candidates) - mass).clamp_min(1).log()
    )
    return centred_hubness(torch.logaddexp(other_power, own_power - math.log(len(own_power))))


class OwnAndOthers:
    """Reads, block by block, log sums (C,) of powers over a class's own images and over others'.

    Args:
        candidates: of the N training images.
        weights: (M,) label weights: how much an image is a class's own; `mass` (C,) are their sums.
    """

    def __init__(self, candidates: CandidateEntries, weights: Tensor) -> None:
        self.weights, self.mass = weights, weights.new_zeros(())
        self.own_sums, self.other_sums = BlockRows(candidates), BlockRows(candidates)

    def read(self, entries: BatchEntries, logits: Tensor) -> None:
        """Sum the powers of each column over own and over other images."""
        share, zeros = entries.of(self.weights), logits.new_zeros(logits.shape[1])
        self.mass = self.mass + add_groups(zeros, entries.labels, share)
        top, powers = column_powers(logits, POWER)
        entry_powers = entries.rows.take(powers)
        own_sums = add_groups(zeros, entries.labels, entry_powers * share)
        powers.view(-1)[entries.rows.cells] = entry_powers * (1 - share).clamp_min(SMALLEST)
        self.own_sums.append(own_sums.log_().add_(top))
        self.other_sums.append(powers.sum(dim=0).log_().add_(top))


def added_hubness(logits: Tensor, labels: Tensor, old_hubness: Tensor) -> Tensor:
    """Hubness of classes that are added without the training images (ours).

    The hubness computed from class means is too low. The error is known for the old classes; a new
    class gets the error of the old classes that its label resembles.

    Args:
        logits: (K, C) of the means of the seen classes over all labels, the new ones last.
        labels: (C, D) refined label embeddings.
        old_hubness: (C - new,) of the old classes.

    Returns:
        (new,) of the new classes.
    """
    of_means, first_new = (POWER * logits).logsumexp(dim=0) / POWER, len(old_hubness)
    attention = (LABEL_SCALE * labels[first_new:] @ labels[:first_new].T).softmax(dim=1)
    return of_means[first_new:] + attention @ (old_hubness - of_means[:first_new])


def centred_hubness(log_sums: Tensor) -> Tensor:
    """Hubness (C,), centred over the labels, from the log sum (C,) of each label's powers."""
    return (log_sums - log_sums.mean()) / POWER
