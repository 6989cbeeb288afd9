"""`lws`: the leveraged weighted loss (Wen et al., ICML 2021)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pzsl.losses.lws import (
    leveraged_weighted_loss,
    leveraged_weights,
    log_odds,
    logistic_loss,
    sigmoid_loss,
)
from pzsl.methods.core import AdaptedOptions, one_of, within
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
    """Options of LWS; preset `paper` has the published raw logits and first weights.

    On a cosine head those logits all lie far above 0: it hardly moves from frozen CLIP.

    Attributes:
        beta: leverage of the labels outside the candidates, 1 or 2 in the paper.
        psi: the binary loss: `sigmoid`, or `logistic`, which on log-odds is the paper's variant
            with cross-entropy (and with beta = 0 is RC).
        centre: what g is, of the logits `100 cos`: their log-odds (`odds`), the logits less their
            mean over the seen classes (`mean`), or as they are (`none`).
        first_weights: in the first epoch they sum to one inside and outside each set (`sets`), or
            all are 1/K (`classes`), as in the released code.
    """

    beta: float = within(1.0, 0)
    psi: str = one_of("sigmoid", [*LOSSES])
    centre: str = one_of("odds", [*CENTRES])
    first_weights: str = one_of("sets", ("sets", "classes"))


class Lws(Rc):
    """Binary losses on the candidates and, leveraged by beta, on all other labels.

    The sigmoid loss assumes logits around 0. Those of a cosine head all lie far above, where the
    loss is flat and nothing would be learnt (`centre=none` stays at frozen CLIP). So g is the
    log-odds of a class against all others, and psi(g) is `1 - f`. Weights of candidates are stored
    as in RC. Those of other labels would take memory in classes times images: they come
    from the forward of the step instead, without gradient; in the first epoch they are uniform.
    """

    options: LwsOptions

    def partial_loss(self, batch: Batch) -> Tensor:
        """The leveraged weighted loss."""
        options, weights = self.options, self.weights.index_select(0, batch.entries.entry_index)
        candidates = batch.dense(torch.ones_like(weights))
        logits = batch.logits.detach()
        if self.epoch == 0:
            logits = torch.zeros_like(logits)
        weights = leveraged_weights(batch.dense(weights), logits, candidates)
        if self.epoch == 0 and options.first_weights == "classes":
            weights = torch.full_like(weights, 1 / weights.shape[1])
        g = CENTRES[options.centre](batch.logits)
        return leveraged_weighted_loss(g, weights, candidates, options.beta, LOSSES[options.psi])
