"""`crdpll`: consistency regularisation (Wu et al., ICML 2022)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pzsl.losses.consistency import divergences, outside_losses
from pzsl.methods.core import within
from pzsl.methods.partial_label.consistency import ConsistencyMethod, ConsistencyOptions
from pzsl.methods.partial_label.partial_method import Batch


@dataclass(frozen=True)
class CrdpllOptions(ConsistencyOptions):
    """Options of CRDPLL.

    Attributes:
        consistency: largest weight of the consistency loss.
        ramp_up: share of the epochs in which it grows from 0, a half as published.
    """

    consistency: float = within(1.0, 0)
    ramp_up: float = within(0.5, 0, 1)


class Crdpll(ConsistencyMethod):
    """Labels outside the candidates are pushed down; three views should agree on those inside."""

    options: CrdpllOptions

    @property
    def ramp(self) -> float:
        """Weight of the consistency loss, which grows linearly."""
        grown = self.progress / self.options.ramp_up if self.options.ramp_up else 1.0
        return self.options.consistency * min(1.0, grown)

    def partial_loss(self, batch: Batch) -> Tensor:
        """`- sum_{j not in S} log(1 - f_j)` of the image; KL of the label weights on each view."""
        weights = self.weights.index_select(0, batch.entries.entry_index)
        candidates = batch.dense(torch.ones_like(weights))
        logits = [batch.logits, *self.strong_views(batch)[1]]
        disagreements = torch.stack(
            [divergences(view_logits, weights, batch.entries.rows) for view_logits in logits]
        )
        self.agree_on(batch, logits)
        return outside_losses(batch.logits, candidates) + self.ramp * disagreements.sum(dim=0)
