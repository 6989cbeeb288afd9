"""Shared by the baselines that need the training images themselves after training."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from pzsl.methods.baselines.clip import Clip
from pzsl.methods.core import Options, Problem

SEARCHED = "its value is searched: add --set search=off."
"""Why an option that the method searches isn't read."""


class CachedImages(Clip):
    """Caches the training images as `keys` in its state: N D numbers.

    So a saved run holds the embeddings of the training set, and grows with it.
    """

    kept_state: ClassVar[tuple[str, ...]] = ("keys",)
    keys: Tensor

    def __init__(self, problem: Problem, options: Options, generator: torch.Generator) -> None:
        super().__init__(problem, options, generator)
        self.register_buffer("keys", problem.seen.new_zeros(*problem.images.shape))

    def prepare(self) -> None:
        """Compute frozen CLIP's label weights, and cache the images."""
        super().prepare()
        for rows in self.candidates.blocks():
            self.keys[rows] = self.problem.images[rows]


class TrainingCache(CachedImages):
    """Caches soft labels as `values`, too: N (D + K) numbers."""

    kept_state: ClassVar[tuple[str, ...]] = ("keys", "values")
    values: Tensor

    def __init__(self, problem: Problem, options: Options, generator: torch.Generator) -> None:
        super().__init__(problem, options, generator)
        shape = len(problem.images), len(problem.seen)
        self.register_buffer("values", problem.seen.new_zeros(shape))

    def prepare(self) -> None:
        """Cache the training images, with frozen CLIP's label weights as their soft labels."""
        super().prepare()
        self.cache_labels()

    def cache_labels(self) -> None:
        """Cache the current label weights."""
        for rows in self.candidates.blocks():
            self.values[rows] = self.soft_labels(rows)
