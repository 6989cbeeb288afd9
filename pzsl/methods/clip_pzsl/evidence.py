"""Evidence for each label of a training image that ignores its own candidates (ours)."""

from __future__ import annotations

from torch import Tensor

from pzsl.methods.clip_pzsl.class_statistics import WhitenedSpace, gather, hubness
from pzsl.methods.clip_pzsl.walk import RowFunction, cache_rows
from pzsl.methods.core import AdaptedMethod, LabelEvidence
from pzsl.models.prototypes import leave_one_out_cosines


def evidence_of(
    method: AdaptedMethod,
    labels: Tensor,
    frozen_logits: RowFunction,
    space: WhitenedSpace,
    strength: float,
    hub_share: float,
) -> LabelEvidence:
    """The logits behind a trained method's last label weights, for all seen labels.

    The label weights themselves cover only the candidates and at most 32 labels outside.

    Args:
        method: trained.
        labels: (K, D) refined embeddings of the seen labels.
        frozen_logits: of training rows (B,) by frozen CLIP: (B, K).
        space: of the prototypes.
        strength: weight of the cosine with a prototype in the logits.
        hub_share: share of the labels' hubness to subtract.
    """
    problem, candidates, weights = method.problem, method.candidates, method.weights
    adapted = cache_rows(candidates, lambda rows: method.image_adapter(problem.embeddings(rows)))
    projected = cache_rows(candidates, lambda rows: space.project(adapted(rows)))
    trained = cache_rows(candidates, lambda rows: method.logits(adapted(rows), labels))
    hub_logits = hub_share * hubness(candidates, trained)
    sums = gather(problem, candidates, weights, projected).sums
    squares = sums.square().sum(1)

    def logits(rows: Tensor) -> Tensor:
        return (trained(rows) - hub_logits).lerp(frozen_logits(rows), 0.5)

    def of_others(rows: Tensor) -> Tensor:
        products = projected(rows) @ sums.T
        entries = candidates.batch(rows, len(sums))
        own_weights = entries.rows.put(entries.of(weights), products)
        return leave_one_out_cosines(products, squares, own_weights).mul_(strength)

    return LabelEvidence(logits, of_others)
