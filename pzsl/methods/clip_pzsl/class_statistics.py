"""What label weights make of the training images: prototypes, in closed form, and what they tell.

Semantic mining without training (ours): labels attend to their images by their label weights, and
weights to labels by the prototypes that all *other* images make.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pzsl.losses.ragged import row_softmax
from pzsl.methods.clip_pzsl.walk import (
    ColumnPowers,
    EntryLogits,
    RowFunction,
    column_powers,
    walk,
)
from pzsl.methods.core import BatchEntries, CandidateEntries, Problem
from pzsl.models.prototypes import (
    class_sums,
    leave_one_out_cosines,
    unseen_prototypes,
    whitening,
    within_covariance,
)

POWER = 0.4
"""Exponent of the power mean in `hubness`."""
SMALLEST = 1e-9
LIKENESS = 100.0
"""What the cosine of two labels is worth in `joined_hubness`: CLIP's usual logit scale."""


class WhitenedSpace(NamedTuple):
    """Where images are compared with prototypes: centred, and classes vary alike in all directions.

    Attributes:
        centre: (D,) mean image.
        metric: (D, D) what centred images are multiplied with.
    """

    centre: Tensor
    metric: Tensor

    def project(self, images: Tensor) -> Tensor:
        """Adapted images (n, D) as unit vectors (n, D) of the space."""
        return F.normalize((images - self.centre) @ self.metric, dim=-1)


class ClassStatistics(NamedTuple):
    """What each seen class has: (K, D) sums of projected images times their label weights, and (K,)
    sums of the label weights.
    """

    sums: Tensor
    counts: Tensor


def find_space(
    problem: Problem, support: CandidateEntries, weights: Tensor, images: RowFunction, whiten: bool
) -> WhitenedSpace:
    """Go through the training images, block by block, for their mean and the metric.

    Args:
        problem: the training problem. support: its entries. weights: (M,) their label weights.
        images: (B, D) of training rows, as the network has them.
        whiten: whether the covariance within the classes is evened out.
    """
    blocks, count = support.blocks(), len(support)
    centre = torch.stack([images(rows).sum(0) for rows in blocks]).sum(0) / count
    metric = torch.eye(len(centre), device=centre.device)
    if whiten:
        second = torch.zeros_like(metric)
        for rows in blocks:
            centred = images(rows) - centre
            second.addmm_(centred.T, centred)
        sums, counts = gather(problem, support, weights, lambda rows: images(rows) - centre)
        metric = whitening(within_covariance(second, sums, counts, count), count)
    return WhitenedSpace(centre, metric)


def gather(
    problem: Problem, support: CandidateEntries, weights: Tensor, projected: RowFunction
) -> ClassStatistics:
    """Sum up the images of each class, as `projected` has them; see `find_space` for the rest."""
    sums, counts = torch.zeros_like(problem.seen), problem.seen.new_zeros(len(problem.seen))
    for rows in support.blocks():
        entries = support.batch(rows, 0)
        share = entries.of(weights)
        class_sums(projected(rows), entries.labels, share, entries.rows.batch_row, sums)
        counts.index_add_(0, entries.labels, share)
    return ClassStatistics(sums, counts)


def all_prototypes(found: ClassStatistics, labels: Tensor, strength: float) -> Tensor:
    """Prototypes of all classes, seen first: (K + U, D).

    Args:
        found: of the seen classes. labels: (K + U, D) refined label embeddings.
        strength: length of an unseen label's prototype.
    """
    seen, prototypes = len(found.sums), F.normalize(found.sums, dim=-1)
    relative = (found.counts / found.counts.mean()).clamp(max=1.0)
    guessed = unseen_prototypes(prototypes, labels[:seen], labels[seen:], relative, strength)
    return torch.cat([prototypes, guessed])


def support_softmax(support: CandidateEntries, logits: Tensor) -> Tensor:
    """Label weights (M,): softmax of the entries' logits (M,) over the support of each image."""
    weights = torch.empty_like(logits)
    for rows in support.blocks():
        entries = support.batch(rows, 0)
        scores = entries.of(logits) + entries.log_mask
        entries.write(row_softmax(scores, entries.rows), weights)
    return weights


def leave_one_out_strength(problem: Problem, share: float) -> float:
    """What others' prototypes are worth in logits: of n images a class, n - 1 are left.

    With one image a class, wrong labels would have prototypes and the true one none.

    Args:
        problem: the training problem. share: of many images, in logit scales.
    """
    others = max(0.0, 1 - len(problem.seen) / len(problem.images))
    return share * problem.scale * others


def label_logits(
    support: CandidateEntries, logits: RowFunction, frozen: Tensor, seen: int, share: float
) -> Tensor:
    """Which seen label an image has, (M,): half by the network, which has met its own.

    Args:
        support: of N images. logits: (B, K + U) of rows, by the trained network.
        frozen: (M,) frozen CLIP's. seen: K. share: of the labels' hubness, which is taken off.
    """
    trained, powers = EntryLogits(support), ColumnPowers(POWER, seen)
    walk(support, logits, trained, powers)
    hub_logits = share * level(powers.log_sums)
    image_logits = trained.values.sub_(hub_logits.index_select(0, support.labels))
    return image_logits.lerp_(frozen, 0.5)


def leave_one_out_weights(
    problem: Problem,
    support: CandidateEntries,
    weights: Tensor,
    projected: RowFunction,
    logits: Tensor,
    strength: float,
) -> Tensor:
    """Label weights by logits and by the prototypes that all other images make.

    Args:
        problem, support: the training problem and its entries.
        weights: (M,) the label weights before.
        projected: (B, D) unit vectors of training rows, in the space of the prototypes.
        logits: (M,) of the entries.
        strength: what the cosine with a prototype is worth in logits.

    Returns:
        (M,) label weights.
    """
    sums, updated = gather(problem, support, weights, projected).sums, torch.empty_like(weights)
    squares = sums.square().sum(1)
    for rows in support.blocks():
        entries = support.batch(rows, len(problem.seen))
        near = entries.rows.take(projected(rows) @ sums.T)
        entry_weights = entries.of(weights)
        cosines = leave_one_out_cosines(
            near, squares.index_select(0, entries.labels), entry_weights
        )
        scores = cosines.mul_(strength).add_(entries.of(logits)).add_(entries.log_mask)
        entries.write(row_softmax(scores, entries.rows), updated)
    return updated


def hubness(support: CandidateEntries, logits: RowFunction) -> Tensor:
    """How much each label draws images, whatever they show (ours, after Smith et al. 2017).

    A label's share in a softmax over *images*, which is what CLIP's other half was trained on, has
    the sum of `exp logits` over all images as its denominator. Here it is a power mean.

    Args:
        support: of the training images.
        logits: of training rows (B,) over C labels: (B, C).

    Returns:
        (C,) log of the mean, less its mean over the labels.
    """
    powers = ColumnPowers(POWER)
    walk(support, logits, powers)
    return level(powers.log_sums)


def balanced_hubness(support: CandidateEntries, logits: RowFunction, weights: Tensor) -> Tensor:
    """`hubness` where a class's own images count as one C-th of all, however many there are.

    Else seen labels would draw more than unseen ones, and more so the fewer classes there are:
    gamma could not be chosen on folds.

    Args:
        support: of the N training images.
        logits: of training rows (B,) over C labels, seen first: (B, C).
        weights: (M,) label weights: whose image it is.
    """
    sums = OwnAndOthers(weights)
    walk(support, logits, sums)
    mass = sums.mass
    own_power = torch.stack(sums.own).logsumexp(dim=0) - mass.clamp_min(SMALLEST).log()
    others = torch.stack(sums.others).logsumexp(dim=0) - (len(support) - mass).clamp_min(1).log()
    return level(torch.logaddexp(others, own_power - math.log(len(own_power))))


class OwnAndOthers:
    """Reads, block by block, log sums (C,) of powers over a class's own images and over others'.

    Args:
        weights: (M,) label weights: how much an image is a class's own; `mass` (C,) are their sums.
    """

    def __init__(self, weights: Tensor) -> None:
        self.weights, self.mass = weights, weights.new_zeros(())
        self.own: list[Tensor] = []
        self.others: list[Tensor] = []

    def read(self, entries: BatchEntries, logits: Tensor) -> None:
        """Add up the powers of each column on either side."""
        share, zeros = entries.of(self.weights), logits.new_zeros(logits.shape[1])
        self.mass = self.mass + zeros.index_add(0, entries.labels, share)
        top, powers = column_powers(logits, POWER)
        whole = entries.rows.take(powers)
        own_sums = zeros.index_add_(0, entries.labels, whole * share)
        powers.view(-1)[entries.rows.cells] = whole * (1 - share).clamp_min(SMALLEST)
        self.own.append(own_sums.log_().add_(top))
        self.others.append(powers.sum(dim=0).log_().add_(top))


def joined_hubness(logits: Tensor, labels: Tensor, known: Tensor) -> Tensor:
    """Hubness of classes that join when the training images are gone (ours).

    The hubness of class means is too low. By how much is known of the old classes; a new one
    follows those that its label resembles, and has what its twin has.

    Args:
        logits: (K, C) of the means of the seen classes over all labels, the new ones last.
        labels: (C, D) refined label embeddings. known: (C - new,) hubness of the old classes.

    Returns:
        (new,) of the new classes.
    """
    of_means, old = (POWER * logits).logsumexp(dim=0) / POWER, len(known)
    alike = (LIKENESS * labels[old:] @ labels[:old].T).softmax(dim=1)
    return of_means[old:] + alike @ (known - of_means[:old])


def level(log_sums: Tensor) -> Tensor:
    """Hubness (C,) of the log sums of the powers of each label, (C,)."""
    return (log_sums - log_sums.mean()) / POWER
