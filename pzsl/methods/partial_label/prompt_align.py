"""`prompt-align`: the mixed posterior of two prompts (Zhang et al. 2024, arXiv 2407.07638)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pzsl.losses.partial import partial_zero_shot_losses
from pzsl.losses.ragged import Rows, row_sum
from pzsl.methods.core import AdaptedOptions, within
from pzsl.methods.partial_label.partial_method import Batch, PartialMethod

SMALLEST = 1e-12


@dataclass(frozen=True)
class PromptAlignOptions(AdaptedOptions):
    """Options of prompt alignment.

    Attributes:
        mixing: share of the handcrafted prompt, which is frozen CLIP's, in the mixed posterior.
    """

    mixing: float = within(0.5, 0, 1)


class PromptAlign(PartialMethod):
    """A partial-label loss, and one that aligns the output with a posterior of two prompts.

    The target of an image mixes two posteriors over its candidates: that of the handcrafted prompt
    (frozen CLIP) and that of the learnable one, without gradient. Both losses weigh the same in
    each batch. No prompt can be learnt on cached embeddings: the shared label adapter takes its
    place, and applies to unseen classes as well. The partial-label loss is PRODEN's.
    """

    options: PromptAlignOptions

    def partial_loss(self, batch: Batch) -> Tensor:
        """PRODEN's loss and the alignment with the mixed posterior, (B,)."""
        losses = super().partial_loss(batch)
        frozen = self.problem.scale * self.problem.cosines(batch.rows)
        rows = batch.entries.rows
        target = mixed_posterior(frozen, batch.logits.detach(), self.options.mixing, rows)
        alignment = partial_zero_shot_losses(batch.logits, target, rows)
        return losses + alignment * balance(losses, alignment)


def mixed_posterior(handcrafted: Tensor, learnable: Tensor, mixing: float, rows: Rows) -> Tensor:
    """Two posteriors mixed, then restricted to the candidates (Zhang et al. 2024, section 3).

    Args:
        handcrafted, learnable: (B, K) logits. mixing: share of the first.
        rows: where the candidates lie in (B, K).

    Returns:
        (m,) of the candidates; each image's sum to one.
    """
    mixed = rows.take(torch.lerp(learnable.softmax(1), handcrafted.softmax(1), mixing))
    mixed = mixed.clamp_min(SMALLEST)
    return mixed / rows.spread(row_sum(mixed, rows))


def balance(losses: Tensor, alignment: Tensor) -> Tensor:
    """Scalar factor that makes the mean of `alignment` (B,) equal to that of `losses` (B,)."""
    return losses.detach().mean() / alignment.detach().mean().clamp_min(SMALLEST)
