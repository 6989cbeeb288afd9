"""`prototype`: a class-mean classifier; nothing is trained (ours)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pzsl.methods.baselines.clip import Clip
from pzsl.methods.core import Options, Problem
from pzsl.models.prototypes import class_sums


class Prototype(Clip):
    """The nearest class mean, of images weighted by frozen CLIP within their candidates.

    Images are centred by their mean, so that class means point in different directions. An unseen
    class has no images: its text embedding, less the mean text embedding, stands in for its mean.
    """

    means: Tensor
    centre: Tensor

    def __init__(self, problem: Problem, options: Options, generator: torch.Generator) -> None:
        super().__init__(problem, options, generator)
        labels = torch.cat([problem.seen, problem.unseen])
        self.register_buffer("centre", torch.zeros_like(labels[0]))
        self.register_buffer("means", F.normalize(labels - labels.mean(0), dim=-1))

    def prepare(self) -> None:
        """Compute frozen CLIP's label weights, and the mean image."""
        super().prepare()
        images = self.problem.images
        block_sums = [images[rows].sum(0) for rows in self.candidates.blocks()]
        self.centre = torch.stack(block_sums).sum(0) / len(images)

    def finalize(self) -> None:
        """Compute the means of the seen classes, then label weights: the softmax of the scores."""
        seen = len(self.problem.seen)
        sums = torch.zeros_like(self.problem.seen)
        for rows in self.candidates.blocks():
            entries = self.candidates.batch(rows, 0)
            images = F.normalize(self.problem.images[rows] - self.centre, dim=-1)
            shares = entries.of(self.weights)
            class_sums(images, entries.labels, shares, entries.rows.batch_row, sums)
        means = F.normalize(sums, dim=-1)  # a class without any weight keeps its text
        self.means[:seen] = torch.where(means.any(1, keepdim=True), means, self.means[:seen])
        self.reweigh(lambda rows: self.scores(self.problem.images[rows])[:, :seen])

    def add_classes(self, count: int) -> None:
        """Centre the text embeddings of added classes as those of the others were."""
        labels = torch.cat([self.problem.seen, self.problem.unseen])
        self.means[-count:] = F.normalize(labels[-count:] - labels[:-count].mean(0), dim=-1)

    def scores(self, images: Tensor) -> Tensor:
        """`s cos(v - m, mu_c)` of images (n, D) for all classes, seen first: (n, K + U)."""
        return self.problem.scale * F.normalize(images - self.centre, dim=-1) @ self.means.T
