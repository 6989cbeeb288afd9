"""What trained methods share: adapted images and labels, a cosine classifier, label weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pzsl.losses.partial import alignment
from pzsl.losses.ragged import row_softmax
from pzsl.methods.core.candidate_entries import BatchEntries, CandidateEntries
from pzsl.methods.core.method import Method, Options, Problem
from pzsl.methods.core.option_ranges import counting, within
from pzsl.models.adapted_cosines import adapted_logits
from pzsl.models.adapter import LowRankAdapter


@dataclass(frozen=True)
class AdaptedOptions(Options):
    """Options of the shared adapters.

    Attributes:
        image_adapter: adapt the image embeddings.
        label_adapter: adapt the label embeddings.
        rank: rank of each adapter.
        alignment: weight, in logit scales, of the term that keeps embeddings near frozen CLIP's;
            without it, learning the seen classes harms the unseen ones.
    """

    image_adapter: bool = True
    label_adapter: bool = True
    rank: int = counting(32, 1, 1 << 16)
    alignment: float = within(0.2, 0)

    def unread(self) -> dict[str, str]:
        """The rank without adapters, and those of all methods."""
        if self.image_adapter or self.label_adapter:
            return super().unread()
        return super().unread() | {"rank": "both adapters are off: leave it out."}


class JointPass(NamedTuple):
    """Replaces a method's own forward pass if runs are trained together.

    Attributes:
        seen_logits, total: as in `AdaptedMethod`, for the batches of all runs.
    """

    seen_logits: Callable[[Tensor], tuple[Tensor, Tensor]]
    total: Callable[[Tensor, Tensor], Tensor]


class AdaptedMethod(Method):
    """A cosine classifier over label embeddings, with one adapter for images, one for labels.

    Unseen classes can be scored because the label adapter is shared by all labels.
    """

    options: AdaptedOptions
    joint: JointPass | None = None

    def __init__(
        self, problem: Problem, options: AdaptedOptions, generator: torch.Generator
    ) -> None:
        super().__init__(problem, options)
        dim = problem.images.shape[1]
        self.image_adapter: nn.Module = nn.Identity()
        self.label_adapter: nn.Module = nn.Identity()
        if options.image_adapter:
            self.image_adapter = LowRankAdapter(dim, options.rank, generator)
        if options.label_adapter:
            self.label_adapter = LowRankAdapter(dim, options.rank, generator)
        self.frozen_labels = torch.cat([problem.seen, problem.unseen])
        self.to(problem.images.device)

    def label_embeddings(self) -> Tensor:
        """Refined label embeddings of all classes, seen first: (K + U, D)."""
        refined: Tensor = self.label_adapter(self.frozen_labels)
        return refined

    def logits(self, images: Tensor, labels: Tensor) -> Tensor:
        """`s cos` of adapted images (n, D) and refined labels (c, D): (n, c)."""
        return self.problem.scale * images @ labels.T

    def seen_logits(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """`logits` and `alignment_loss` for training rows (B,), at a third of the cost.

        Returns:
            (B, K) logits over the seen classes, and the alignment loss.
        """
        if self.joint is not None:
            return self.joint.seen_logits(rows)
        problem = self.problem
        logits, distance = adapted_logits(
            problem.embeddings(rows),
            self.frozen_labels,
            problem.cosines(rows),
            self.image_adapter,
            self.label_adapter,
            problem.scale,
        )
        return logits, self.options.alignment * problem.scale * distance

    def view_logits(self, views: Tensor) -> Tensor:
        """Logits of other images (n, D) than the training rows over the seen classes, (n, K)."""
        seen = self.problem.seen
        adapters = self.image_adapter, self.label_adapter
        return adapted_logits(views, seen, views @ seen.T, *adapters, self.problem.scale)[0]

    def total(self, losses: Tensor, alignment_loss: Tensor) -> Tensor:
        """The loss to minimise: the mean of the images' losses (B,) plus the alignment loss."""
        if self.joint is not None:
            return self.joint.total(losses, alignment_loss)
        return losses.mean() + alignment_loss

    def alignment_loss(self, images: Tensor, frozen: Tensor, labels: Tensor) -> Tensor:
        """Weighted distance of adapted images (n, D) and all refined labels from frozen ones."""
        distance = alignment(labels, self.frozen_labels) + alignment(images, frozen)
        return self.options.alignment * self.problem.scale * distance

    def scores(self, images: Tensor) -> Tensor:
        """Scores of images (n, D) for all classes, seen first: (n, K + U)."""
        return self.logits(self.image_adapter(images), self.label_embeddings())


def masked_softmax(logits: Tensor, candidates: CandidateEntries, rows: Tensor) -> Tensor:
    """Softmax of a batch's logits over each image's candidates.

    Args:
        logits: (B, K).
        candidates: of all images.
        rows: (B,) the images of the batch.

    Returns:
        (m,) label weights, in the order of `candidates.entries(rows)`.
    """
    return entries_softmax(logits, candidates.batch(rows, logits.shape[1]))


def entries_softmax(logits: Tensor, entries: BatchEntries) -> Tensor:
    """Softmax of logits (B, K) over the entries of each image of a batch, (m,)."""
    values = entries.rows.take(logits).add_(entries.log_mask)
    return row_softmax(values, entries.rows, logits.amax(dim=1))
