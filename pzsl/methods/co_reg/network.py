"""One of the two networks of Co-Reg: adapters, a classifier, a projection, a momentum copy."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pzsl.losses.partial import alignment
from pzsl.methods.core import AdaptedOptions, Problem
from pzsl.models.adapted_cosines import adapted_logits
from pzsl.models.adapter import LowRankAdapter
from pzsl.models.frozen_copy import frozen_copy
from pzsl.models.projected_images import project_adapted


class CoNetwork(nn.Module):
    """Adapted images, scored against label embeddings or by a linear head, and projected.

    Untrained, it is zero-shot CLIP with either head: the linear one starts as label embeddings.

    Args:
        problem: label embeddings and logit scale are taken from it.
        options: of the adapters.
        linear: use a linear head, for seen classes only, instead of label embeddings.
        projection: (d, D) first projection, the same for both networks, so that their projected
            vectors can share prototypes from the start.
        generator: draws the adapters.
    """

    key_projection: Tensor
    centre: Tensor
    """(D,) mean training image, computed before training."""

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

    def scores(self, images: Tensor) -> Tensor:
        """Logits of images (n, D) for all classes, seen first: (n, K + U), or (n, K) if linear."""
        labels: Tensor = self.label_adapter(self.frozen_labels)
        if self.linear is not None:
            labels = self.linear
        adapted: Tensor = self.image_adapter(images)
        return self.scale * adapted @ labels.T

    def classify(self, images: Tensor, frozen: Tensor) -> tuple[Tensor, Tensor]:
        """Logits `s x'.e` of adapted images x' and refined labels e, and how far both have moved.

        Args:
            images: (n, D) unit vectors.
            frozen: (n, K) their cosines with the frozen seen labels, computed once for both
                networks; each network adds low-rank terms, see `adapted_logits`.

        Returns:
            (n, K) logits, and the mean `1 - cos` of adapted with frozen images, plus that of
            labels unless the head is linear.
        """
        if self.linear is None:
            adapters: tuple[nn.Module, nn.Module] = (self.image_adapter, self.label_adapter)
            return adapted_logits(images, self.frozen_labels, frozen, *adapters, self.scale)
        adapted = self.image_adapter(images)
        return self.scale * adapted @ self.linear.T, alignment(adapted, images)

    def probabilities(self, images: Tensor, frozen: Tensor) -> Tensor:
        """Softmax over the seen classes, (n, K); arguments as in `classify`."""
        return self.classify(images, frozen)[0].softmax(dim=1)

    def project(self, images: Tensor) -> Tensor:
        """Images (n, D), adapted, less the mean training image, as unit vectors (n, d)."""
        return project_adapted(images, self.image_adapter, self.projection, self.centre)

    def keys(self, images: Tensor) -> Tensor:
        """Images (n, D), adapted and projected by the momentum copy: unit vectors (n, d)."""
        return project_adapted(images, self.key_adapter, self.key_projection, self.centre)

    def follow(self, momentum: float) -> None:
        """Move the momentum copy: `k <- m k + (1 - m) q`."""
        parameters = self.image_adapter.parameters()
        for copy, parameter in zip(self.key_adapter.buffers(), parameters, strict=True):
            copy.lerp_(parameter, 1 - momentum)
        self.key_projection.lerp_(self.projection, 1 - momentum)
