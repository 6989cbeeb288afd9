"""`clip`: frozen CLIP, zero-shot (Radford et al. 2021)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pzsl.methods.core import Method, Options, Problem, masked_softmax


@dataclass(frozen=True)
class ClipOptions(Options):
    """Nothing is trained and nothing calibrated."""

    calibrate: bool = False


class Clip(Method):
    """Scores `s cos(v, t_c)`; label weights are its softmax within each candidate set."""

    def __init__(self, problem: Problem, options: Options, generator: torch.Generator) -> None:
        super().__init__(problem, options, generator)
        self.register_buffer("weights", self.support.uniform())

    def prepare(self) -> None:
        """Label weights: frozen CLIP's softmax over the candidates."""
        problem = self.problem
        weights = [
            masked_softmax(problem.scale * problem.images[r] @ problem.seen.T, self.support, r)
            for r in self.support.blocks()
        ]
        self.weights = torch.cat(weights)

    def scores(self, images: Tensor) -> Tensor:
        """Scores of images (n, D) for all classes, seen first: (n, K + U)."""
        return self.frozen_scores(images)
