"""One of the two networks of Co-Reg: adapters, a classifier, a projection, a momentum copy."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pzsl.methods.core import AdaptedOptions, Problem
from pzsl.models.adapter import LowRankAdapter
from pzsl.models.frozen import frozen_copy
from pzsl.models.unit import unit


class CoNetwork(nn.Module):
    """Adapted images, scored against label embeddings or by a linear head, and projected.

    Untrained it is zero-shot CLIP with either head: the linear one starts as the label embeddings.

    Args:
        problem: gives label embeddings and the logit scale. options: of the adapters.
        linear: a linear head, for seen classes only, in place of label embeddings.
        projection: (d, D) first projection, the same for both networks, so that their projected
            vectors can share prototypes from the start.
        generator: draws the adapters.
    """

    key_projection: Tensor
    centre: Tensor
    """(D,) mean training image, which is found before training."""

    def __init__(
        self,
        problem: Problem,
        options: AdaptedOptions,
        linear: bool,
        projection: Tensor,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        dim = problem.images.shape[1]
        self.scale, self.seen = problem.scale, len(problem.seen)
        self.frozen_labels = torch.cat([problem.seen, problem.unseen])
        self.centre = torch.zeros_like(problem.seen[0])
        self.image_adapter: nn.Module = nn.Identity()
        self.label_adapter: nn.Module = nn.Identity()
        if options.image_adapter:
            self.image_adapter = LowRankAdapter(dim, options.rank, generator)
        if options.label_adapter and not linear:
            self.label_adapter = LowRankAdapter(dim, options.rank, generator)
        self.linear = nn.Parameter(problem.seen.clone()) if linear else None
        self.projection = nn.Parameter(projection.clone())
        self.key_adapter = frozen_copy(self.image_adapter)
        self.register_buffer("key_projection", projection.clone())
        self.to(problem.images.device)

    def labels(self, count: int | None = None) -> Tensor:
        """What images are scored against, the first `count`: (K + U, D), (K, D) if linear."""
        if self.linear is not None:
            return self.linear[:count]
        refined: Tensor = self.label_adapter(self.frozen_labels[:count])
        return refined

    def logits(self, adapted: Tensor, labels: Tensor) -> Tensor:
        """`s x'.e` of adapted images (n, D) and labels (c, D): (n, c)."""
        return self.scale * adapted @ labels.T

    def scores(self, images: Tensor) -> Tensor:
        """Logits of images (n, D) for all classes, seen first."""
        return self.logits(self.image_adapter(images), self.labels())

    def probabilities(self, images: Tensor) -> Tensor:
        """Softmax over the seen classes, (n, K)."""
        return self.logits(self.image_adapter(images), self.labels(self.seen)).softmax(dim=1)

    def project(self, adapted: Tensor) -> Tensor:
        """Adapted images (n, D), less the mean training image, as unit vectors (n, d)."""
        return unit((adapted - self.centre) @ self.projection.T)

    def keys(self, images: Tensor) -> Tensor:
        """Images (n, D) as the momentum copy projects them: unit vectors (n, d)."""
        adapted = self.key_adapter(images)
        return F.normalize((adapted - self.centre) @ self.key_projection.T, dim=-1)

    def follow(self, momentum: float) -> None:
        """Move the momentum copy: `k <- m k + (1 - m) q`."""
        trained = self.image_adapter.parameters()
        for copied, parameter in zip(self.key_adapter.buffers(), trained, strict=True):
            copied.lerp_(parameter, 1 - momentum)
        self.key_projection.lerp_(self.projection, 1 - momentum)
