"""Co-pseudo-labelling: which candidate sets two networks believe, and what they make of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pzsl.errors import UserError
from pzsl.losses.co_reg import align_distribution, candidate_loss, restrict, scale_to_unit, sharpen
from pzsl.models.mixture import fit_mixture, low_posterior

HISTORY = 5
"""Epochs over which an image's loss is averaged."""
TRUSTED = 0.5
"""An image with a larger posterior of a low loss keeps its candidates: it is in P."""

Predict = Callable[[Tensor], Tensor]
"""Training rows (B,) to probabilities over the seen classes (B, K)."""
Candidates = Callable[[Tensor], Tensor]
"""Training rows (B,) to a mask (B, K), 1 for a candidate."""


class PseudoLabels(NamedTuple):
    """What one network learns from in a batch.

    Attributes:
        targets: (B, K) sharpened pseudo-labels.
        partial: (B,), 1 for the images of P, 0 for those of U.
    """

    targets: Tensor
    partial: Tensor

    @property
    def labels(self) -> Tensor:
        """(B,) the likeliest class."""
        return self.targets.argmax(dim=1)


class CoPseudoLabels(nn.Module):
    """What two networks know of the candidate sets; all of it is state for the checkpoint.

    Buffers:
        losses: (2, 5, N) each network's scaled loss on each image in the last epochs.
        trust: (2, N) posterior of a low loss, by each network.
        ratio: (2, K) what aligns each network's mean prediction with the prior.

    Args:
        prior: (K,) share of each class. align: whether predictions are aligned with it.
        sure: (N,) bool, images whose label was given by hand: they are always in P.
        co: each network is served by the other; else by itself.
        temperature: of the sharpening.
    """

    losses: Tensor
    trust: Tensor
    ratio: Tensor

    def __init__(
        self, prior: Tensor, align: bool, sure: Tensor, co: bool, temperature: float
    ) -> None:
        super().__init__()
        self.prior, self.align, self.sure = prior, align, sure
        self.co, self.temperature = co, temperature
        count = len(sure)
        self.register_buffer("losses", prior.new_zeros(2, HISTORY, count))
        self.register_buffer("trust", prior.new_ones(2, count))
        self.register_buffer("ratio", prior.new_ones(2, len(prior)))

    def observe(
        self, epoch: int, which: int, predict: Predict, candidates: Candidates, blocks: list[Tensor]
    ) -> None:
        """Look at all images with one network: its mean prediction, its losses, its trust.

        The losses are of predictions that are aligned by the mean of the epoch before: one pass.

        Args:
            epoch: the one that begins. which: network, 0 or 1. predict: its predictions.
            candidates: of training rows. blocks: all training rows.

        Raises:
            UserError: a loss is not finite.
        """
        found, total = [], torch.zeros_like(self.prior)
        for rows in blocks:
            f = predict(rows)
            total += f.sum(dim=0)
            found.append(candidate_loss(self.aligned(which, f), candidates(rows)))
        self.ratio[which] = self.prior * len(self.sure) / total.clamp_min(1e-8)
        self.losses[which, epoch % HISTORY] = scale_to_unit(torch.cat(found))
        average = self.losses[which, : epoch + 1].mean(dim=0)
        try:
            trust = low_posterior(average, fit_mixture(average))
        except ValueError as error:
            raise UserError(
                f"co-reg: the losses at epoch {epoch} can't be told apart ({error}): "
                "lower the learning rate (--set lr=1e-4)."
            ) from None
        self.trust[which] = trust.masked_fill(self.sure, 1.0)

    def aligned(self, which: int, f: Tensor) -> Tensor:
        """A network's predictions (n, K), their distribution aligned with the prior."""
        return align_distribution(f, self.ratio[which]) if self.align else f

    def serve(
        self, which: int, rows: Tensor, f: Sequence[Tensor], candidates: Tensor
    ) -> PseudoLabels:
        """Pseudo-labels for one network.

        In P, `w p + (1 - w) f'` with p the network's own predictions within the candidates, w and
        f' of the other network; in U, the mean of both. Then they are sharpened.

        Args:
            which: the network that learns. rows: (B,) training rows.
            f: of both networks, aligned predictions (B, K), means over weak views.
            candidates: (B, K) mask.
        """
        other = 1 - which if self.co else which
        w = self.trust[other, rows][:, None]
        kept = w * restrict(f[which], candidates) + (1 - w) * f[other]
        targets = torch.where(w > TRUSTED, kept, (f[which] + f[other]) / 2)
        partial = (w[:, 0] > TRUSTED).to(targets.dtype)
        return PseudoLabels(sharpen(targets, self.temperature), partial)

    def label_weights(
        self, rows: Tensor, f: Sequence[Tensor], candidates: Tensor, support: Tensor
    ) -> Tensor:
        """The best guess of both networks together, over a support beyond the candidates.

        Args:
            rows: (B,). f: of both networks, aligned predictions (B, K).
            candidates: (B, K) mask. support: (B, K) mask of labels that may carry weight.

        Returns:
            (B, K) `w p + (1 - w) f`, rows summing to one.
        """
        w, mean = self.trust[:, rows].mean(dim=0)[:, None], (f[0] + f[1]) / 2
        return w * restrict(mean, candidates) + (1 - w) * restrict(mean, support)

    def describe(self) -> dict[str, float]:
        """Share of the images in P at the end, in percent."""
        share = (self.trust > TRUSTED).to(self.prior.dtype).mean()
        return {"partial_set": round(100 * float(share), 2)}
