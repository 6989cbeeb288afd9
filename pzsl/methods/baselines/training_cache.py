"""What baselines share that need the training images themselves after training."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from pzsl.methods.baselines.clip import Clip
from pzsl.methods.core import Options, Problem


class KeptImages(Clip):
    """Keeps the training images, `keys`, in its state: N D numbers.

    A saved run of it grows with the training set, and holds its embeddings.
    """

    kept_state: ClassVar[tuple[str, ...]] = ("keys",)
    keys: Tensor

    def __init__(self, problem: Problem, options: Options, generator: torch.Generator) -> None:
        super().__init__(problem, options, generator)
        self.register_buffer("keys", problem.seen.new_zeros(*problem.images.shape))

    def prepare(self) -> None:
        """Frozen CLIP's label weights, and the images."""
        super().prepare()
        for rows in self.support.blocks():
            self.keys[rows] = self.problem.images[rows]


class TrainingCache(KeptImages):
    """Keeps soft labels, `values`, beside the training images: N (D + K) numbers."""

    kept_state: ClassVar[tuple[str, ...]] = ("keys", "values")
    values: Tensor

    def __init__(self, problem: Problem, options: Options, generator: torch.Generator) -> None:
        super().__init__(problem, options, generator)
        shape = len(problem.images), len(problem.seen)
        self.register_buffer("values", problem.seen.new_zeros(shape))

    def prepare(self) -> None:
        """Keep the training images; their soft labels are frozen CLIP's, for now."""
        super().prepare()
        self.keep_labels()

    def keep_labels(self) -> None:
        """Keep the label weights as they are now."""
        for rows in self.support.blocks():
            self.values[rows] = self.soft_labels(rows)
