"""MixUp of images and pseudo-labels (Zhang et al., ICLR 2018)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pzsl.methods.co_reg.options import CoRegOptions
from pzsl.methods.core import mixing_shares


class Mixing(NamedTuple):
    """How the images of a batch are mixed.

    Attributes:
        share: (B, 1) weight of the image itself, at least a half.
        order: (B,) the other image that is mixed in.
    """

    share: Tensor
    order: Tensor

    def mix(self, values: Tensor) -> Tensor:
        """Values (B, ...) of the images, mixed."""
        return self.share * values + (1 - self.share) * values[self.order]


def draw_mixing(
    options: CoRegOptions, count: int, generator: torch.Generator, device: torch.device
) -> list[Mixing] | list[None]:
    """A mixing of `count` images for each of the two networks; None for both without MixUp.

    Shares follow Beta(alpha, alpha), one for each image or one for all, as `mixup_share` says.
    """
    if not options.mixup:
        return [None, None]
    draws = []
    for _ in range(2):
        share_count = count if options.mixup_share == "image" else 1
        share = mixing_shares(share_count, options.mixup_alpha, generator)[:, 0].expand(count)
        draws += [share, torch.randperm(count, generator=generator).float()]
    on_device = torch.stack(draws).to(device)  # at once: each copy makes a GPU wait
    return [Mixing(on_device[row][:, None], on_device[row + 1].long()) for row in (0, 2)]
