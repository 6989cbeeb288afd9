"""Evidence for each label of a training image that ignores its own candidates (ours)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pzsl.methods.clip_pzsl.class_statistics import WhitenedSpace, find_space, gather, hubness
from pzsl.methods.clip_pzsl.walk import RowFunction, cache_rows
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
    without_part = [_prototypes_without(part, method, whiten) for part in range(PARTS)]

    def logits(rows: Tensor) -> Tensor:
        return (trained(rows) - hub_logits).lerp(frozen_logits(rows), 0.5)

    def of_others(rows: Tensor) -> Tensor:
        cosines = hub_logits.new_empty(len(rows), len(hub_logits))
        for part, (space, prototypes) in enumerate(without_part):
            place = torch.nonzero(rows % PARTS == part).flatten()
            images = problem.embeddings(rows.index_select(0, place))
            cosines.index_copy_(0, place, space.project(images) @ prototypes.T)
        return cosines.mul_(strength)

    return LabelEvidence(logits, of_others)


def _prototypes_without(part: int, method: AdaptedMethod, whiten: bool) -> Prototypes:
    """Prototypes and space of the frozen images of all parts but one.

    To leave an image out of its prototype is not enough. The metric makes each image resemble the
    class that it was counted in, so that few wrong labels would go unnoticed.
    """
    problem, candidates = method.problem, method.candidates
    all_rows = torch.arange(len(candidates), device=method.weights.device)
    rows = all_rows[all_rows % PARTS != part] if len(all_rows) > 1 else all_rows
    index, _ = candidates.entries(rows)
    offsets = F.pad(candidates.sizes.index_select(0, rows).cumsum(0), (1, 0))
    others = CandidateEntries(offsets, candidates.labels[index], candidates.log_mask[index])
    weights = method.weights.detach().index_select(0, index)

    def images(some: Tensor) -> Tensor:
        return problem.embeddings(rows.index_select(0, some))

    space = find_space(problem, others, weights, images, whiten)
    sums = gather(problem, others, weights, lambda some: space.project(images(some))).sums
    return Prototypes(space, F.normalize(sums, dim=-1))
