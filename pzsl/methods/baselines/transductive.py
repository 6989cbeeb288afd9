"""Shared by the transductive rivals: all queries are scored together, then looked up by image."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from pzsl.errors import UserError
from pzsl.methods.baselines.training_cache import TrainingCache
from pzsl.methods.core import Blocks, Options, Problem


class Transductive(TrainingCache):
    """Scores all queries at once, beside the training images and their soft labels.

    Soft labels are frozen CLIP's softmax over the candidates. Until queries are observed, images
    get frozen CLIP's scores.
    """

    def __init__(self, problem: Problem, options: Options, generator: torch.Generator) -> None:
        super().__init__(problem, options, generator)
        self._query_of: dict[bytes, int] = {}
        self._query_scores = problem.seen.new_zeros(0)

    @property
    def transductive(self) -> bool:
        """An image's scores depend on which others are scored with it."""
        return True

    @abstractmethod
    def joint_scores(self, queries: Tensor) -> Tensor:
        """Scores of all queries (Q, D) for all classes, seen first: (Q, K + U)."""

    def observe_queries(self, blocks: Blocks) -> None:
        """Score all images together, for `scores` to look up."""
        queries = torch.cat([*blocks()])
        self._query_of = {key: query for query, key in enumerate(_bytes_of(queries))}
        self._query_scores = self.joint_scores(queries)

    def scores(self, images: Tensor) -> Tensor:
        """Scores of observed images (n, D) for all classes, seen first: (n, K + U).

        Raises:
            UserError: an image was not observed.
        """
        if not self._query_of:
            return self.frozen_scores(images)
        query_rows = [self._query_of.get(key, -1) for key in _bytes_of(images)]
        if -1 in query_rows:
            raise UserError(
                f"Image {query_rows.index(-1)} was not among the observed images: pass "
                "all images to observe_queries first."
            )
        return self._query_scores[torch.tensor(query_rows, dtype=torch.long, device=images.device)]

    def label_embeddings(self) -> Tensor:
        """Text embeddings of all classes, seen first: (K + U, D)."""
        return torch.cat([self.problem.seen, self.problem.unseen])


def _bytes_of(images: Tensor) -> list[bytes]:
    """The bytes of each image (n, D), by which it is looked up."""
    return [row.tobytes() for row in images.detach().cpu().numpy()]
