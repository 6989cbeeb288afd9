"""`cc`: the classifier-consistent method (Feng et al., NeurIPS 2020)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from pzsl.losses.cc import classifier_consistent_losses
from pzsl.methods.core import AdaptedOptions
from pzsl.methods.partial_label.partial_method import Batch, PartialMethod


class Cc(PartialMethod):
    """The probability of the candidate set as a whole; no label weights take part.

    The softmax over the candidates is stored as label weights for the record and for calibration.
    """

    row_wise: ClassVar[bool] = True
    options: AdaptedOptions

    def partial_loss(self, batch: Batch) -> Tensor:
        """`- log sum_{j in S} f_j`."""
        return classifier_consistent_losses(batch.logits, batch.entries.rows)
