"""Evidence for each label of a training image that ignores its own candidates (ours)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pzsl.methods.clip_pzsl.class_statistics import WhitenedSpace, find_space, gather, hubness
from pzsl.methods.clip_pzsl.training_pass import RowFunction, cache_rows
from pzsl.methods.core import AdaptedMethod, CandidateEntries, LabelEvidence

PARTS = 10
"""Each image is compared with prototypes from the other nine parts of the images."""


class Prototypes(NamedTuple):
    """Unit prototypes (K, D) of the seen classes, in a space of their own."""

    space: WhitenedSpace
    prototypes: Tensor


def evidence_of(
    method: AdaptedMethod,
    labels: Tensor,
    frozen_logits: RowFunction,
    strength: float,
    hub_share: float,
    whiten: bool,
) -> LabelEvidence:
    """Logits for all seen labels, of which none knows the image's own candidates but for training.

    The label weights themselves cover only the candidates and at most 32 labels outside.

    Args:
        method: trained.
        labels: (K, D) refined embeddings of the seen labels.
        frozen_logits: of training rows (B,) by frozen CLIP: (B, K).
        strength: weight of the cosine with a prototype in the logits.
        hub_share: share of the labels' hubness to subtract.
        whiten: whether to whiten within classes.
    """
    problem, candidates = method.problem, method.candidates
    adapted = cache_rows(candidates, lambda rows: method.image_adapter(problem.embeddings(rows)))
    trained = cache_rows(candidates, lambda rows: method.logits(adapted(rows), labels))
    hub_logits = hub_share * hubness(candidates, trained)
    part_of = _parts(method)
    all_others = (torch.nonzero(part_of != part).flatten() for part in range(PARTS))
    without = [_prototypes_of(others, method, whiten) for others in all_others]

    def logits(rows: Tensor) -> Tensor:
        return (trained(rows) - hub_logits).lerp(frozen_logits(rows), 0.5)

    def of_others(rows: Tensor) -> Tensor:
        cosines = hub_logits.new_empty(len(rows), len(hub_logits))
        for part, (space, prototypes) in enumerate(without):
            place = torch.nonzero(part_of.index_select(0, rows) == part).flatten()
            images = problem.embeddings(rows.index_select(0, place))
            cosines.index_copy_(0, place, space.project(images) @ prototypes.T)
        return cosines.mul_(strength)

    return LabelEvidence(logits, of_others)


def _parts(method: AdaptedMethod) -> Tensor:
    """The part (N,) of each image; the images of a label are spread evenly over all parts.

    By its row alone, a part might be just the images of one class, where classes take turns.
    """
    order = torch.argsort(method.candidates.heaviest(method.weights.detach()), stable=True)
    part_of = torch.empty_like(order)
    part_of[order] = torch.arange(len(order), device=order.device) % PARTS
    return part_of


def _prototypes_of(rows: Tensor, method: AdaptedMethod, whiten: bool) -> Prototypes:
    """Prototypes and space of the frozen images of training rows (n,), of all if n is 0.

    To leave an image out of its prototype is not enough. The metric makes each image resemble the
    class that it was counted in, so that few wrong labels would go unnoticed.
    """
    problem, candidates = method.problem, method.candidates
    if not len(rows):
        rows = torch.arange(len(candidates), device=rows.device)
    index, _ = candidates.entries(rows)
    offsets = F.pad(candidates.sizes.index_select(0, rows).cumsum(0), (1, 0))
    others = CandidateEntries(offsets, candidates.labels[index], candidates.log_mask[index])
    weights = method.weights.detach().index_select(0, index)

    def images(some: Tensor) -> Tensor:
        return problem.embeddings(rows.index_select(0, some))

    space = find_space(problem, others, weights, images, whiten)
    sums = gather(problem, others, weights, lambda some: space.project(images(some))).sums
    return Prototypes(space, F.normalize(sums, dim=-1))
