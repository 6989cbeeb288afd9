"""`lws`: the leveraged weighted loss (Wen et al., ICML 2021)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pzsl.errors import UsageError, nearest
from pzsl.losses.lws import (
    leveraged_weighted_loss,
    leveraged_weights,
    log_odds,
    logistic_loss,
    sigmoid_loss,
)
from pzsl.methods.core import AdaptedOptions, Problem
from pzsl.methods.partial_label.partial_method import Batch
from pzsl.methods.partial_label.rc import Rc

LOSSES: dict[str, Callable[[Tensor], Tensor]] = {"sigmoid": sigmoid_loss, "logistic": logistic_loss}
CENTRES: dict[str, Callable[[Tensor], Tensor]] = {
    "odds": log_odds,
    "mean": lambda logits: logits - logits.mean(dim=1, keepdim=True),
    "none": lambda logits: logits,
}


@dataclass(frozen=True)
class LwsOptions(AdaptedOptions):
    """Options of LWS.

    Attributes:
        beta: leverage of the labels outside the candidates, 1 or 2 in the paper.
        psi: the binary loss: `sigmoid`, or `logistic`, which on log-odds is the paper's variant
            with cross-entropy (and with beta = 0 is RC).
        centre: what g is, of the logits `100 cos`: their log-odds (`odds`), the logits less their
            mean over the seen classes (`mean`), or as they are (`none`).
    """

    beta: float = 1.0
    psi: str = "sigmoid"
    centre: str = "odds"


class Lws(Rc):
    """Binary losses on the candidates and, leveraged by beta, on all other labels.

    The sigmoid loss knows a fixed zero. A cosine head has none: its logits all lie far above 0,
    where the loss is flat and nothing would be learnt (`centre=none` stays at frozen CLIP). So g is
    the log-odds of a class against all others, and psi(g) is `1 - f`. Weights of candidates are
    stored as in RC. Those of other labels would take memory in classes times images: they come
    from the forward of the step instead, without gradient; in the first epoch they are uniform.
    """

    options: LwsOptions

    def __init__(self, problem: Problem, options: LwsOptions, generator: torch.Generator) -> None:
        for name, value, known in (
            ("psi", options.psi, LOSSES),
            ("centre", options.centre, CENTRES),
        ):
            if value not in known:
                raise UsageError(f"lws: unknown {name} '{value}'.{nearest(value, [*known])}")
        super().__init__(problem, options, generator)

    def partial_loss(self, batch: Batch) -> Tensor:
        """The leveraged weighted loss."""
        options, weights = self.options, self.weights.index_select(0, batch.entries.entry_index)
        candidates = batch.dense(torch.ones_like(weights))
        logits = batch.logits.detach()
        if self.epoch == 0:
            logits = torch.zeros_like(logits)
        weights = leveraged_weights(batch.dense(weights), logits, candidates)
        g = CENTRES[options.centre](batch.logits)
        return leveraged_weighted_loss(g, weights, candidates, options.beta, LOSSES[options.psi])
