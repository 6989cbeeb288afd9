"""Shared by contrastive methods: a second view of each image, and a projection head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pzsl.methods.core import AdaptedOptions, Problem, counting, perturb, within
from pzsl.methods.partial_label.partial_method import Batch, PartialMethod
from pzsl.models.projected_images import project_adapted


@dataclass(frozen=True)
class ContrastiveOptions(AdaptedOptions):
    """Options of contrastive methods.

    Attributes:
        contrast: weight of the contrastive loss.
        temperature: temperature of its softmax.
        dimension: dimension of the projected vectors.
        noise: mean length of the noise that is added to a unit feature for a second view.
        mask: share of that view's coordinates that is set to zero.
    """

    contrast: float = within(0.5, 0)
    temperature: float = within(0.07, 0, above=True)
    dimension: int = counting(128, 1, 1 << 16)
    noise: float = within(0.5, 0)
    mask: float = within(0.1, 0, 1, below=True)


class ContrastiveMethod(PartialMethod):
    """Two views of an image: its embedding, and an augmented one.

    The augmented view is one of the cached views, drawn at random, where the cache has views; else
    the embedding itself with noise and masked coordinates. The projection head is linear, as
    the features come from a trained encoder.
    """

    options: ContrastiveOptions

    def __init__(
        self, problem: Problem, options: ContrastiveOptions, generator: torch.Generator
    ) -> None:
        super().__init__(problem, options, generator)
        dim = problem.images.shape[1]
        initial = torch.randn(options.dimension, dim, generator=generator) / dim**0.5
        self.head = nn.Parameter(initial.to(problem.images.device))

    def augmented(self, rows: Tensor) -> Tensor:
        """A second view of training rows (B,): unit vectors (B, D)."""
        views = self.problem.views
        if views is not None:
            choice = torch.randint(views.shape[1], (len(rows),), generator=self.generator)
            return views[rows, choice.to(rows.device)]
        return perturb(
            self.problem.embeddings(rows), self.options.noise, self.options.mask, self.generator
        )

    def project(self, images: Tensor) -> Tensor:
        """Frozen or augmented images (n, D), adapted and projected: unit vectors (n, d)."""
        return project_adapted(images, self.image_adapter, self.head)

    def predicted(self, batch: Batch) -> Tensor:
        """The likeliest candidate of each image of a batch, (B,)."""
        return batch.entries.labels[batch.best(batch.logits.detach())]

    def describe(self) -> dict[str, Any]:
        """Which kind of second view was used."""
        return {"views": "features" if self.problem.views is None else "cached"}
