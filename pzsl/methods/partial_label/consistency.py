"""Shared by methods that learn from several views of an image at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pzsl.methods.core import AdaptedOptions, Problem, Views, within
from pzsl.methods.partial_label.partial_method import Batch, PartialMethod


@dataclass(frozen=True)
class ConsistencyOptions(AdaptedOptions):
    """Options of methods whose views should agree.

    Attributes:
        noise: mean length of the noise that is added to a unit feature for a strong view, if none
            is cached.
        mask: share of that view's coordinates that is set to zero.
    """

    noise: float = within(0.25, 0)
    mask: float = within(0.02, 0, 1, below=True)


class ConsistencyMethod(PartialMethod):
    """The image's own embedding, and strong views of it.

    Label weights are the normalised geometric mean of the views' predictions within the candidates:
    the softmax over the candidates of their mean logits.
    """

    options: ConsistencyOptions

    def __init__(
        self, problem: Problem, options: ConsistencyOptions, generator: torch.Generator
    ) -> None:
        super().__init__(problem, options, generator)
        self.views = Views(problem, 0.0, options.noise, options.mask)

    def strong_views(self, batch: Batch) -> tuple[list[Tensor], list[Tensor]]:
        """Two strong views of a batch, (B, D) each, and their logits (B, K)."""
        pair = self.views.pair("strong", batch.rows, self.generator)
        return pair, list(self.view_logits(torch.cat(pair)).chunk(2))

    def agree_on(self, batch: Batch, logits: list[Tensor]) -> None:
        """Remember the views' mean logits: the label weights follow them after the step."""
        mean = torch.stack([view_logits.detach() for view_logits in logits]).mean(dim=0)
        self.last = batch._replace(logits=mean)

    def describe(self) -> dict[str, Any]:
        """Where the strong views are from."""
        cached = len(self.views.columns["strong"]) > 0
        return {"views": "cached" if cached else "features"}
