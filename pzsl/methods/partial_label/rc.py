"""`rc`: the risk-consistent method (Feng et al., NeurIPS 2020)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from pzsl.methods.core import AdaptedOptions
from pzsl.methods.partial_label.partial_method import PartialMethod


class Rc(PartialMethod):
    """Weighted cross-entropy like PRODEN's, but weights come from a forward after the step."""

    row_wise: ClassVar[bool] = True
    options: AdaptedOptions

    def after_step(self, rows: Tensor) -> None:
        """Label weights: the softmax over the candidates, from the network as it is now."""
        self.follow(self.seen_logits(rows)[0])
