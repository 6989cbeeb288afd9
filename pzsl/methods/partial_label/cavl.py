"""`cavl`: class activation value learning (Zhang et al., ICLR 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from pzsl.losses.cavl import class_activation_values
from pzsl.methods.core import AdaptedOptions, within
from pzsl.methods.partial_label.partial_method import Batch, PartialMethod


@dataclass(frozen=True)
class CavlOptions(AdaptedOptions):
    """Options of CAVL.

    Attributes:
        warm_up: share of the epochs with uniform weights.
    """

    warm_up: float = within(0.1, 0, 1)


class Cavl(PartialMethod):
    """After a warm-up with uniform weights, all weight is on the largest class activation value.

    The raw logits are those of the cosine head as they are, `100 cos`. There (some 10 to 40 for a
    CLIP) `|g - 1| g` grows with g, so CAVL picks the candidate with the largest logit: it is hard
    self-training. Cosines without the scale lie below 1/2, where the same holds.
    """

    row_wise: ClassVar[bool] = True
    options: CavlOptions

    def partial_loss(self, batch: Batch) -> Tensor:
        """Cross-entropy of the picked label; of all candidates alike in the warm-up."""
        if self.progress >= self.options.warm_up:
            values = class_activation_values(batch.logits.detach())
            entry_index = batch.entries.entry_index
            chosen = entry_index[batch.best(values)]
            self.weights.index_fill_(0, entry_index, 0.0).index_fill_(0, chosen, 1.0)
        return super().partial_loss(batch)

    def after_step(self, rows: Tensor) -> None:
        """Do nothing: the label weights are set before the loss."""
