"""`rc`: the risk-consistent method (Feng et al., NeurIPS 2020)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from pzsl.methods.core import AdaptedOptions
from pzsl.methods.partial_label.partial_method import PartialMethod


class Rc(PartialMethod):
    """Weighted cross-entropy like PRODEN's, with weights from a forward pass after the step."""

    row_wise: ClassVar[bool] = True
    options: AdaptedOptions

    def after_step(self, rows: Tensor) -> None:
        """Set label weights to the softmax over the candidates, by the network as updated."""
        self.follow(self.seen_logits(rows)[0])
