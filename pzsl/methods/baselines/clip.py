"""`clip`: frozen CLIP, zero-shot (Radford et al. 2021); base class of the other baselines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pzsl.methods.core import Method, Options, Problem, entries_softmax


@dataclass(frozen=True)
class ClipOptions(Options):
    """Options of frozen CLIP: nothing is trained, and gamma is not calibrated."""

    calibrate: bool = False


class Clip(Method):
    """Scores `s cos(v, t_c)`; label weights are its softmax within each candidate set."""

    def __init__(self, problem: Problem, options: Options, generator: torch.Generator) -> None:
        super().__init__(problem, options, generator)
        self.register_buffer("weights", self.candidates.uniform())

    def prepare(self) -> None:
        """Label weights: frozen CLIP's softmax over the candidates."""
        problem = self.problem
        self.reweigh(lambda rows: problem.scale * problem.images[rows] @ problem.seen.T)

    def reweigh(self, logits: Callable[[Tensor], Tensor]) -> None:
        """Set all label weights to the softmax over the candidates.

        Args:
            logits: of training rows (B,) over the seen classes, (B, K); all are computed before
                any weight changes.
        """
        blocks = []
        for rows in self.candidates.blocks():
            entries = self.candidates.batch(rows, len(self.problem.seen))
            blocks.append(entries_softmax(logits(rows), entries))
        self.weights = torch.cat(blocks)

    def soft_labels(self, rows: Tensor) -> Tensor:
        """Label weights of training rows (B,), zero outside their candidates: (B, K)."""
        classes = len(self.problem.seen)
        entries = self.candidates.batch(rows, classes)
        weights = entries.of(self.weights)
        return entries.rows.put(weights, self.problem.seen.new_empty(len(rows), classes))

    def predicts_candidate(self, scores: Tensor, rows: Tensor) -> Tensor:
        """Whether the highest of the scores (B, K) of training rows (B,) is a candidate's (ours).

        This ranks classifiers without true labels: if each wrong label is a candidate with
        probability q, a classifier of accuracy a predicts candidates at the rate `a + q (1 - a)`.

        Returns:
            (B,) bool.
        """
        entries = self.candidates.batch(rows, scores.shape[1])
        is_candidate = entries.rows.put(torch.ones_like(entries.log_mask), scores)
        return is_candidate.gather(1, scores.argmax(1, keepdim=True)).flatten() > 0

    def pad_unseen(self, scores: Tensor) -> Tensor:
        """Scores (n, K) of the seen classes, then zeros for the unseen ones: (n, K + U)."""
        return F.pad(scores, (0, len(self.problem.unseen)))

    def scores(self, images: Tensor) -> Tensor:
        """Scores of images (n, D) for all classes, seen first: (n, K + U)."""
        return self.frozen_scores(images)
