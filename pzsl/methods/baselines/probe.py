"""`probe`: a linear probe on the most likely candidate (ours)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pzsl.losses.partial import best_candidate
from pzsl.methods.baselines.clip import Clip
from pzsl.methods.core import Options, Problem


class Probe(Clip):
    """A linear classifier trained on the candidate that frozen CLIP finds likeliest.

    It starts as the text embeddings of the seen classes, as a zero-shot classifier does; unseen
    classes keep theirs. Afterwards its own softmax over the candidates gives the label weights.
    """

    def __init__(self, problem: Problem, options: Options, generator: torch.Generator) -> None:
        super().__init__(problem, options, generator)
        self.head = nn.Parameter(problem.seen.clone())
        self.pseudo_labels = torch.zeros(0)

    def prepare(self) -> None:
        """Choose as pseudo-label of each image the candidate that frozen CLIP finds likeliest."""
        super().prepare()
        self.pseudo_labels = torch.cat([self._likeliest(rows) for rows in self.candidates.blocks()])

    def _likeliest(self, rows: Tensor) -> Tensor:
        cosines = self.problem.cosines(rows)
        entries = self.candidates.batch(rows, cosines.shape[1])
        return entries.labels[best_candidate(cosines, entries.log_mask, entries.rows)]

    def loss(self, rows: Tensor) -> Tensor:
        """Cross-entropy with the pseudo-labels of training rows (B,), a scalar."""
        logits = self.problem.scale * self.problem.images[rows] @ self.head.T
        return F.cross_entropy(logits, self.pseudo_labels[rows])

    def finalize(self) -> None:
        """Label weights: the probe's softmax over the candidates."""
        problem = self.problem
        self.reweigh(lambda rows: problem.scale * problem.images[rows] @ self.head.T)

    def scores(self, images: Tensor) -> Tensor:
        """Scores of images (n, D) for all classes, seen first: (n, K + U)."""
        labels = torch.cat([self.head, self.problem.unseen])
        return self.problem.scale * images @ labels.T
