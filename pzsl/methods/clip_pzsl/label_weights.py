"""Label weights: how much each candidate of an image counts.

They follow from the logits of the image and, in closed form (ours), from prototypes that are made
of all *other* images: an image's own weights would only confirm themselves.
"""

from __future__ import annotations

from torch import Tensor

from pzsl.losses.ragged import entry_products, row_softmax
from pzsl.methods.clip_pzsl.class_statistics import (
    POWER,
    WhitenedSpace,
    centred_hubness,
    find_space,
    gather,
)
from pzsl.methods.clip_pzsl.dominance import dominance, entry_logits_and_sums
from pzsl.methods.clip_pzsl.training_pass import RowFunction, cache_rows, candidates_softmax
from pzsl.methods.core import CandidateEntries, Problem
from pzsl.models.prototypes import leave_one_out_cosines


def leave_one_out_strength(problem: Problem, share: float) -> float:
    """Weight of leave-one-out prototypes in logits, times `(n - 1) / n` for n images per class.

    With one image per class, only wrong labels would have prototypes.

    Args:
        problem: the training problem.
        share: the weight with many images, in logit scales.
    """
    remaining = max(0.0, 1 - len(problem.seen) / len(problem.images))
    return share * problem.scale * remaining


def initial_weights(
    problem: Problem, candidates: CandidateEntries, frozen: Tensor, strength: float, whiten: bool
) -> tuple[Tensor, WhitenedSpace]:
    """Label weights (M,) before training, and the space in which frozen images are compared.

    Args:
        problem, candidates: the training problem and its entries.
        frozen: (M,) logits that read the sets.
        strength: weight of the cosine with a prototype in the logits.
        whiten: whether to whiten the space within classes.
    """
    weights = candidates_softmax(candidates, frozen)
    space = find_space(problem, candidates, weights, problem.embeddings, whiten)
    projected = project_frozen(problem, candidates, space)
    parts = problem, candidates, weights, projected
    return leave_one_out_weights(*parts, frozen, strength), space


def project_frozen(
    problem: Problem, candidates: CandidateEntries, space: WhitenedSpace
) -> RowFunction:
    """Unit vectors (B, D) of training rows in a space, from frozen images."""
    return cache_rows(candidates, lambda rows: space.project(problem.embeddings(rows)))


def is_due(epoch: int, epochs: int, updates: int) -> bool:
    """Whether one of so many updates, evenly spaced between the epochs, is before this one."""
    return epoch > 0 and epoch in {epochs * n // (updates + 1) for n in range(1, updates + 1)}


def label_logits(
    candidates: CandidateEntries,
    logits: RowFunction,
    seen: int,
    share: float,
    frozen: Tensor | None = None,
) -> Tensor:
    """Logits of the entries (M,): the network's less hubness, or their mean with those before.

    After training those before have half the weight because the network was trained on the image's
    own candidates.

    Args:
        candidates: of N images.
        logits: of training rows (B,) over K labels or more, seen first: (B, C), by the network.
        seen: K.
        share: of the labels' hubness to subtract.
        frozen: (M,) logits that read the sets before training: frozen CLIP's, or with other images.
    """
    trained, log_sums = entry_logits_and_sums(candidates, logits, POWER, seen)
    hub_logits = share * centred_hubness(log_sums)
    for rows in candidates.blocks():
        entries = candidates.batch(rows, 0)
        image_logits = entries.of(trained) - hub_logits.index_select(0, entries.labels)
        if frozen is not None:
            image_logits.lerp_(entries.of(frozen), 0.5)
        entries.write(image_logits, trained)
    return trained


def leave_one_out_weights(
    problem: Problem,
    candidates: CandidateEntries,
    weights: Tensor,
    projected: RowFunction,
    logits: Tensor,
    strength: float,
) -> Tensor:
    """Label weights from logits and from prototypes made of all other images.

    Where few classes have most of the images, the prototype of a class counts `n / (n + 1)` with n
    other images: those of classes without images are made of images of all kinds.

    Args:
        problem, candidates: the training problem and its entries.
        weights: (M,) the label weights before.
        projected: (B, D) unit vectors of training rows, in the space of the prototypes.
        logits: (M,) of the entries.
        strength: weight of the cosine with a prototype in the logits.

    Returns:
        (M,) label weights.
    """
    (sums, counts), updated = gather(problem, candidates, weights, projected), weights.clone()
    squares, extent = sums.square().sum(1), dominance(counts)
    for rows in candidates.blocks():
        entries = candidates.batch(rows, len(problem.seen))
        products = entry_products(projected(rows), sums, entries.labels, entries.rows)
        entry_weights = entries.of(weights)
        cosines = leave_one_out_cosines(
            products, squares.index_select(0, entries.labels), entry_weights
        )
        if extent:
            others = (counts.index_select(0, entries.labels) - entry_weights).clamp_min_(0)
            cosines.mul_(1 - extent / (others + 1))
        scores = cosines.mul_(strength).add_(entries.of(logits)).add_(entries.log_mask)
        entries.write(row_softmax(scores, entries.rows), updated)
    return updated
