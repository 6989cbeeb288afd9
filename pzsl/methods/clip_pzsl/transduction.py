"""Transduction: unseen labels attend to the very images that are to be classified (ours).

An option, never the default: the prediction for an image then depends on the other images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from pzsl.models.prototypes import leave_one_out_cosines

ROUNDS = 3
"""Alternations between scores and unseen prototypes."""
LONGEST = 8.0
"""Length of an unseen prototype on which many images agree, before it is normalised. The initial
one, made of similar seen labels, has the length `unseen_strength`, so images count for more."""
HALF_COUNT = 3.0
"""Number of images at which an unseen label has half of that length."""

Scored = tuple[Tensor, Tensor]
"""Inductive scores (n, K + U) of a block, and its images (n, D) in the space of the prototypes."""


class Round(NamedTuple):
    """The unseen prototypes after one round.

    Attributes:
        sums: (U, D) the prototypes, before they are normalised.
        image_weight: (U,) weight in them of an image with all of its softmax mass.
    """

    sums: Tensor
    image_weight: Tensor


class TransductivePrototypes:
    """Unseen prototypes made of all queries; each query is scored by those of all others.

    Args:
        initial_prototypes: (U, D) the unseen prototypes behind the inductive scores.
        weight: weight of the product with a prototype in the scores.
        blocks: starts a pass over all images, scored inductively.
    """

    def __init__(
        self, initial_prototypes: Tensor, weight: float, blocks: Callable[[], Iterable[Scored]]
    ) -> None:
        self.initial_prototypes, self.weight = initial_prototypes, weight
        self.rounds: list[Round] = []
        for _ in range(ROUNDS):
            self.rounds.append(self._gather(blocks()))

    def _gather(self, blocks: Iterable[Scored]) -> Round:
        sums = torch.zeros_like(self.initial_prototypes)
        counts = sums.new_zeros(len(sums))
        for scores, projected in blocks:
            mass = self._mass(self.rescore(scores, projected))
            sums.addmm_(mass.T, projected)
            counts += mass.sum(dim=0)
        image_weight = LONGEST / (HALF_COUNT + counts)
        return Round(self.initial_prototypes + image_weight[:, None] * sums, image_weight)

    def _mass(self, scores: Tensor) -> Tensor:
        return scores.softmax(dim=1)[:, -len(self.initial_prototypes) :]

    def rescore(self, scores: Tensor, projected: Tensor) -> Tensor:
        """Replace the unseen prototypes in scores (n, K + U) of projected images (n, D).

        An image that is part of a prototype resembles it, so its own part is taken out again, in
        each round as it was added.
        """
        seen, unseen = scores.tensor_split([scores.shape[1] - len(self.initial_prototypes)], dim=1)
        without_prototypes = unseen - self.weight * projected @ self.initial_prototypes.T
        for sums, image_weight in self.rounds:
            products, squares = projected @ sums.T, sums.square().sum(dim=1)
            cosines = leave_one_out_cosines(
                products, squares, image_weight * self._mass(scores), shortest=1.0
            )
            scores = torch.cat([seen, without_prototypes + self.weight * cosines], dim=1)
        return scores
