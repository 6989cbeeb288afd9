"""Transduction: unseen labels attend to the very images that are to be classified (ours).

An option, never the default: what an image is called then depends on which others come with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from pzsl.models.prototypes import leave_one_out_cosines

ROUNDS = 3
"""Of scores and unseen prototypes in turn."""
PULL = 8.0
"""Length of an unseen prototype that many images agree on, before it is cut to one. The initial
one, made of resembling seen labels, has `unseen_strength`: images count for more."""
PATIENCE = 3.0
"""Images that an unseen label needs for half of that length."""

Scored = tuple[Tensor, Tensor]
"""Inductive scores (n, K + U) of a block, and its images (n, D) in the space of the prototypes."""


class Round(NamedTuple):
    """What all images made of the unseen prototypes.

    Attributes:
        sums: (U, D) the prototypes, before they are cut to length one.
        pull: (U,) what an image counts in them, with all of its softmax mass.
    """

    sums: Tensor
    pull: Tensor


class TransductivePrototypes:
    """Unseen prototypes that all images together make; each is scored by those of the others.

    Args:
        initial_prototypes: (U, D) the unseen prototypes of inductive scores.
        weight: what the product with a prototype is worth in the scores.
        blocks: begins a pass over all images, as scored inductively.
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
        pull = PULL / (PATIENCE + counts)
        return Round(self.initial_prototypes + pull[:, None] * sums, pull)

    def _mass(self, scores: Tensor) -> Tensor:
        return scores.softmax(dim=1)[:, -len(self.initial_prototypes) :]

    def rescore(self, scores: Tensor, projected: Tensor) -> Tensor:
        """Inductive scores (n, K + U) of projected images (n, D), by the prototypes of the others.

        An image that made part of a prototype is like it, so its own part is taken out, round by
        round as it went in.
        """
        seen, unseen = scores.tensor_split([scores.shape[1] - len(self.initial_prototypes)], dim=1)
        plain = unseen - self.weight * projected @ self.initial_prototypes.T
        for sums, pull in self.rounds:
            products, squares = projected @ sums.T, sums.square().sum(dim=1)
            cosines = leave_one_out_cosines(
                products, squares, pull * self._mass(scores), shortest=1.0
            )
            scores = torch.cat([seen, plain + self.weight * cosines], dim=1)
        return scores
