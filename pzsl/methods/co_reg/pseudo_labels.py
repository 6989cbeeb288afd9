"""Co-pseudo-labelling: which candidate sets two networks trust, and the pseudo-labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pzsl.errors import UserError
from pzsl.losses.co_reg import (
    LEAST,
    align_distribution,
    candidate_loss,
    restrict,
    scale_to_unit,
    sharpen,
)
from pzsl.losses.ragged import Rows, row_sum
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
    """The trust of two networks in the candidate sets; all buffers are checkpointed.

    Buffers:
        losses: (2, 5, N) each network's scaled loss on each image in the last epochs.
        trust: (2, N) posterior of a low loss, by each network.
        ratio: (2, K) what aligns each network's mean prediction with the prior.

    Attributes:
        inside: each network's aligned predictions at the beginning of the epoch within the
            candidates, (M,) in the order of their entries; (0,) where they are not needed.

    Args:
        prior: (K,) share of each class. align: whether predictions are aligned with it.
        once: only those with which an epoch begins are.
        restricted: whose prediction is restricted to the candidates, `own` or `other`.
        sure: (N,) bool, images whose label was given by hand: they are always in P.
        co: each network is served by the other; else by itself.
        temperature: of the sharpening.
    """

    losses: Tensor
    trust: Tensor
    ratio: Tensor

    def __init__(
        self,
        prior: Tensor,
        align: bool,
        sure: Tensor,
        co: bool,
        temperature: float,
        once: bool = False,
        restricted: str = "own",
    ) -> None:
        super().__init__()
        self.prior, self.align, self.sure = prior, align, sure
        self.co, self.temperature, self.once, self.restricted = co, temperature, once, restricted
        self.inside = [prior.new_zeros(0), prior.new_zeros(0)]
        count = len(sure)
        self.register_buffer("losses", prior.new_zeros(2, HISTORY, count))
        self.register_buffer("trust", prior.new_ones(2, count))
        self.register_buffer("ratio", prior.new_ones(2, len(prior)))

    def observe(
        self,
        epoch: int,
        number: int,
        predict: Predict,
        candidates: Candidates,
        blocks: list[Tensor],
    ) -> None:
        """Update one network's mean prediction, losses and trust in one pass over all images.

        The losses are of predictions aligned by the previous epoch's mean.

        Args:
            epoch: the one that begins. number: of the network, 0 or 1. predict: its predictions.
            candidates: of training rows. blocks: all training rows.

        Raises:
            UserError: a loss is not finite.
        """
        losses, inside, total = [], [], torch.zeros_like(self.prior)
        for rows in blocks:
            f, members = predict(rows), candidates(rows)
            total += f.sum(dim=0)
            aligned = self.aligned(number, f)
            losses.append(candidate_loss(aligned, members))
            if self.once:
                inside.append(restrict(aligned, members)[members > 0])
        self.inside[number] = torch.cat([*inside, self.prior.new_zeros(0)])
        self.ratio[number] = self.prior * len(self.sure) / total.clamp_min(1e-8)
        self.losses[number, epoch % HISTORY] = scale_to_unit(torch.cat(losses))
        average = self.losses[number, : epoch + 1].mean(dim=0)
        try:
            trust = low_posterior(average, fit_mixture(average))
        except ValueError as error:
            raise UserError(
                f"co-reg: the losses at epoch {epoch} can't be told apart ({error}): "
                "lower the learning rate (--set lr=1e-4)."
            ) from None
        self.trust[number] = trust.masked_fill(self.sure, 1.0)

    def aligned(self, number: int, f: Tensor) -> Tensor:
        """A network's predictions (n, K), their distribution aligned with the prior."""
        return align_distribution(f, self.ratio[number]) if self.align else f

    def serve(
        self, number: int, rows: Tensor, f: Sequence[Tensor], inside: Sequence[Tensor]
    ) -> PseudoLabels:
        """Pseudo-labels for one network.

        In P, `w p + (1 - w) f'` with w of the other network, p one network's predictions within
        the candidates and f' the other one's; in U, the mean of both. Then they are sharpened.
        `restricted` says whose p is.

        Args:
            number: of the network that learns, 0 or 1. rows: (B,) training rows.
            f: of both networks, predictions (B, K), means over weak views.
            inside: of both networks, predictions (B, K) within the candidates.
        """
        other = 1 - number if self.co else number
        w = self.trust[other, rows][:, None]
        narrow, wide = (number, other) if self.restricted == "own" else (other, number)
        refined = w * inside[narrow] + (1 - w) * f[wide]
        targets = torch.where(w > TRUSTED, refined, (f[number] + f[other]) / 2)
        partial = (w[:, 0] > TRUSTED).to(targets.dtype)
        return PseudoLabels(sharpen(targets, self.temperature), partial)

    def label_weights(
        self, rows: Tensor, f: Sequence[Tensor], candidates: Tensor, entries: Rows
    ) -> Tensor:
        """The best guess of both networks together, over a support beyond the candidates.

        Args:
            rows: (B,). f: of both networks, aligned predictions (m,) of the labels that may carry
                weight. candidates: (m,) bool, which of them are candidates.
            entries: how they lie in the rows.

        Returns:
            (m,) `w p + (1 - w) f`, the weights of an image summing to one.
        """
        w, mean = self.trust[:, rows].mean(dim=0), (f[0] + f[1]).div_(2).clamp_min_(LEAST)
        inside = mean * candidates
        narrow = entries.spread(w / row_sum(inside, entries))
        wide = entries.spread((1 - w) / row_sum(mean, entries))
        return inside.mul_(narrow).addcmul_(mean, wide)

    def describe(self) -> dict[str, float]:
        """Share of the images in P at the end, in percent."""
        share = (self.trust > TRUSTED).to(self.prior.dtype).mean()
        return {"partial_set": round(100 * float(share), 2)}
