"""Co-pseudo-labelling: which candidate sets the two networks trust, and their pseudo-labels."""

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
from pzsl.models.gaussian_mixture import fit_mixture, low_posterior

HISTORY = 5
"""Epochs over which an image's loss is averaged."""
TRUSTED = 0.5
"""An image with a larger posterior of a low loss keeps its candidates: it is in P."""

Predict = Callable[[Tensor], Tensor]
"""Maps training rows (B,) to probabilities over the seen classes (B, K)."""
Candidates = Callable[[Tensor], Tensor]
"""Maps training rows (B,) to a mask (B, K), 1 for a candidate."""


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
        inside: for each network, its aligned predictions at the beginning of the epoch, restricted
            to the candidates, (M,) in the order of their entries; (0,) if they are not needed.

    Args:
        prior: (K,) share of each class.
        align: whether the distribution of predictions is aligned with the prior.
        sure: (N,) bool, images whose label was given by hand: they are always in P.
        co: each network gets its pseudo-labels with the help of the other; else alone.
        temperature: of the sharpening.
        once: align only the predictions at the beginning of an epoch.
        restricted: whose prediction is restricted to the candidates, `own` or `other`.
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

    def update_trust(
        self,
        epoch: int,
        number: int,
        predict: Predict,
        candidates: Candidates,
        blocks: list[Tensor],
    ) -> None:
        """Update one network's mean prediction, losses and trust in one pass over all images.

        The losses are those of predictions aligned by the previous epoch's mean.

        Args:
            epoch: the one that begins, from 0.
            number: of the network, 0 or 1.
            predict: its predictions.
            candidates: mask of the candidates of training rows.
            blocks: all training rows, in blocks (B,).

        Raises:
            UserError: a loss is not finite.
        """
        losses, inside, total = [], [], torch.zeros_like(self.prior)
        for rows in blocks:
            f, is_candidate = predict(rows), candidates(rows)
            total += f.sum(dim=0)
            aligned = self.aligned(number, f)
            losses.append(candidate_loss(aligned, is_candidate))
            if self.once:
                inside.append(restrict(aligned, is_candidate)[is_candidate > 0])
        self.inside[number] = torch.cat([*inside, self.prior.new_zeros(0)])
        self.ratio[number] = self.prior * len(self.sure) / total.clamp_min(1e-8)
        self.losses[number, epoch % HISTORY] = scale_to_unit(torch.cat(losses))
        average = self.losses[number, : epoch + 1].mean(dim=0)
        try:
            trust = low_posterior(average, fit_mixture(average))
        except ValueError as error:
            raise UserError(
                f"co-reg: no mixture fits the losses at epoch {epoch} ({error}): "
                "lower the learning rate (--set lr=1e-4)."
            ) from None
        self.trust[number] = trust.masked_fill(self.sure, 1.0)

    def aligned(self, number: int, f: Tensor) -> Tensor:
        """A network's predictions (n, K), their distribution aligned with the prior."""
        return align_distribution(f, self.ratio[number]) if self.align else f

    def pseudo_labels_for(
        self, number: int, rows: Tensor, f: Sequence[Tensor], inside: Sequence[Tensor]
    ) -> PseudoLabels:
        """Pseudo-labels for one network.

        In P they are `w p + (1 - w) f'`, with the trust w of the other network, one network's
        prediction p restricted to the candidates, and the remaining network's f'; `restricted`
        says whose p is. In U they are the mean of both predictions. Then they are sharpened.

        Args:
            number: of the network that learns, 0 or 1.
            rows: (B,) training rows.
            f: predictions (B, K) of both networks, means over weak views.
            inside: predictions (B, K) of both networks, restricted to the candidates.
        """
        other = 1 - number if self.co else number
        w = self.trust[other, rows][:, None]
        own_is_restricted = self.restricted == "own"
        restricted, unrestricted = (number, other) if own_is_restricted else (other, number)
        refined = w * inside[restricted] + (1 - w) * f[unrestricted]
        targets = torch.where(w > TRUSTED, refined, (f[number] + f[other]) / 2)
        partial = (w[:, 0] > TRUSTED).to(targets.dtype)
        return PseudoLabels(sharpen(targets, self.temperature), partial)

    def label_weights(
        self, rows: Tensor, f: Sequence[Tensor], candidates: Tensor, entries: Rows
    ) -> Tensor:
        """Label weights by both networks together, also of labels outside the candidates.

        Args:
            rows: (B,) training rows.
            f: aligned predictions (m,) of both networks for the entries of the batch.
            candidates: (m,) bool, which entries are candidates.
            entries: the image of each entry.

        Returns:
            (m,) `w p + (1 - w) f`, with p the mean prediction f restricted to the candidates; the
            weights of an image sum to one.
        """
        w, mean = self.trust[:, rows].mean(dim=0), (f[0] + f[1]).div_(2).clamp_min_(LEAST)
        inside = mean * candidates
        restricted_factor = entries.spread(w / row_sum(inside, entries))
        unrestricted_factor = entries.spread((1 - w) / row_sum(mean, entries))
        return inside.mul_(restricted_factor).addcmul_(mean, unrestricted_factor)

    def describe(self) -> dict[str, float]:
        """Share of the images in P at the end, in percent."""
        share = (self.trust > TRUSTED).to(self.prior.dtype).mean()
        return {"partial_set": round(100 * float(share), 2)}
