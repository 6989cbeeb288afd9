"""`able`: ambiguity-induced contrastive learning (Xia et al., IJCAI 2022)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pzsl.losses.contrastive import ambiguity_positives, contrastive_loss
from pzsl.methods.core import one_of, within
from pzsl.methods.partial_label.contrastive import ContrastiveMethod, ContrastiveOptions
from pzsl.methods.partial_label.partial_method import Batch


@dataclass(frozen=True)
class AbleOptions(ContrastiveOptions):
    """Options of ABLE; preset `paper` shares the positives' weights as the released code does.

    Attributes:
        contrast: weight of the contrastive loss, one as published.
        shared: the weight of a candidate is shared among all `vectors` predicted that but the
            anchor, as the paper has it, or among the `images` of each view, as the code has it:
            there an anchor's positives weigh nearly twice as much.
    """

    contrast: float = within(1.0, 0)
    shared: str = one_of("vectors", ("vectors", "images"))


class Able(ContrastiveMethod):
    """PRODEN plus a contrastive loss whose positives share the ambiguity of the candidates."""

    options: AbleOptions

    def partial_loss(self, batch: Batch) -> Tensor:
        """Weighted cross-entropy, and contrast among both views of the batch."""
        views = [self.problem.embeddings(batch.rows), self.augmented(batch.rows)]
        vectors = self.project(torch.cat(views))
        weights = batch.dense(self.weights.index_select(0, batch.entries.entry_index))
        predicted, shared = self.predicted(batch), self.options.shared
        positives = ambiguity_positives(vectors, weights, predicted, 2, shared)
        contrast = contrastive_loss(vectors, vectors, positives, self.options.temperature)
        return super().partial_loss(batch) + self.options.contrast * contrast
