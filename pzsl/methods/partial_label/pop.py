"""`pop`: progressive purification (Xu et al., ICML 2023)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from pzsl.losses.pop import purify
from pzsl.losses.ragged import add_groups
from pzsl.methods.core import OUTSIDE, AdaptedOptions, Problem, counting, within
from pzsl.methods.partial_label.partial_method import PartialMethod

LARGEST_THETA = 0.4


@dataclass(frozen=True)
class PopOptions(AdaptedOptions):
    """Options of POP. The paper trains for 500 epochs and warms up for 20; here it is a share.

    Preset `paper` has the released schedule, in shares of the epochs. Its theta hardly grows: by
    1.001, and only where a purification removed next to nothing.

    Attributes:
        warm_up: share of the epochs before the first purification.
        purifications: how many there are, evenly spread over the other epochs.
        theta: a candidate below this share of the likeliest one is removed at the first.
        growth: factor of theta from one purification to the next, up to 0.4.
        steady: theta grows only where a purification removes less than this share of all pairs of
            an image and a seen class; at 1 it always grows.
    """

    warm_up: float = within(0.2, 0, 1)
    purifications: int = counting(4)
    theta: float = within(1e-3, 0, 1)
    growth: float = within(2.0, 0, above=True)
    steady: float = within(1.0, 0, 1)


class Pop(PartialMethod):
    """PRODEN on candidate sets that lose their unlikely labels as training goes on."""

    row_wise: ClassVar[bool] = True
    entry_state: ClassVar[tuple[str, ...]] = ("weights", "log_mask", "sums")
    run_state: ClassVar[tuple[str, ...]] = ("theta",)
    options: PopOptions
    log_mask: Tensor
    sums: Tensor
    theta: Tensor

    def __init__(self, problem: Problem, options: PopOptions, generator: torch.Generator) -> None:
        super().__init__(problem, options, generator)
        self.register_buffer("log_mask", self.candidates.log_mask.clone())
        self.register_buffer("sums", torch.zeros_like(self.weights))
        self.register_buffer("theta", self.weights.new_tensor(options.theta))
        self.candidates = replace(
            self.candidates, log_mask=self.log_mask
        )  # shared: filled in place

    def begin_epoch(self, epoch: int, generator: torch.Generator) -> None:
        """Purify the candidate sets in the epochs that are due."""
        super().begin_epoch(epoch, generator)
        first_epoch = max(1, round(self.options.warm_up * self.epochs))
        interval = max(1, (self.epochs - first_epoch) // max(1, self.options.purifications))
        if epoch >= first_epoch and (epoch - first_epoch) % interval == 0:
            self._purify()

    @property
    def stackable(self) -> bool:
        """Not if theta depends on what is removed, as it then differs from run to run."""
        return super().stackable and self.options.steady == 1

    def _purify(self) -> None:
        images = len(self.candidates)
        rows = torch.repeat_interleave(self.candidates.sizes)
        stay = purify(self.sums, rows, images, self.theta.item())
        remaining = self.sums * stay
        total = add_groups(remaining.new_zeros(images), rows, remaining)
        self.weights.copy_(remaining / total.index_select(0, rows))
        removed = (~stay & (self.log_mask > OUTSIDE / 2)).sum()
        self.log_mask.masked_fill_(~stay, OUTSIDE)
        self.sums.zero_()
        pairs = len(self.candidates) * len(self.problem.seen)
        grows = (removed < self.options.steady * pairs) | (self.options.steady == 1)
        grown = (self.theta * self.options.growth).clamp(max=LARGEST_THETA)
        self.theta.copy_(torch.where(grows, grown, self.theta))

    def after_step(self, rows: Tensor) -> None:
        """Update label weights as PRODEN does, over the remaining candidates, and add them up."""
        super().after_step(rows)
        entries = self.last.entries.entry_index
        sums = self.sums.index_select(0, entries) + self.weights.index_select(0, entries)
        self.sums.index_copy_(0, entries, sums)  # each image occurs once in a batch
