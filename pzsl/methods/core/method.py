"""The interface of every method: a `Problem` to learn from, a `Method` that learns."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from pzsl.methods.core.candidate_entries import CandidateEntries
from pzsl.methods.core.features import TrainingFeatures, in_memory, take_rows
from pzsl.methods.core.label_source import LabelSource
from pzsl.methods.core.option_ranges import check_ranges, counting, within

Blocks = Callable[[], Iterable[Tensor]]
"""Starts a pass over all images to classify, in blocks (n, D)."""
KEPT = 1 << 25
"""Most numbers of one array that are cached rather than recomputed: 128 MB."""


@dataclass(frozen=True)
class Problem:
    """Everything that a method may see: training images, their candidates, label embeddings.

    Attributes:
        images: (N, D) unit training images: a tensor, or rows that are read from a file.
        candidates: candidate labels as columns of `seen` (0..K-1), ragged.
        seen: (K, D) unit label embeddings of the seen classes.
        unseen: (U, D) of the unseen classes, of which there are no images.
        scale: CLIP's logit scale s.
        views: (N, V, D) unit embeddings of augmented views, if the cache has them.
        view_kinds: (V,) `weak` or `strong`; empty without views, or if unknown.
        truth: (N,) true labels as columns of `seen`, -1 if unknown; only for a method that needs
            them (`oracle`).
        labelled: (N,) bool, images whose only candidate is a true label given by hand; None without
            any.
        label_source: makes the label embeddings of folds; None if they don't depend on images.
        annotated: whether the encoder itself made the candidate sets, out of the very cosines.
    """

    images: TrainingFeatures
    candidates: CandidateEntries
    seen: Tensor
    unseen: Tensor
    scale: float = 100.0
    views: TrainingFeatures | None = None
    view_kinds: tuple[str, ...] = ()
    truth: Tensor | None = None
    labelled: Tensor | None = None
    label_source: LabelSource | None = None
    annotated: bool = False

    def embeddings(self, rows: Tensor) -> Tensor:
        """Training images of rows (B,), as a copy: (B, D)."""
        return take_rows(self.images, rows)

    def cosines(self, rows: Tensor) -> Tensor:
        """Frozen cosines of training rows (B,) with the seen label embeddings: (B, K)."""
        if self._cached_cosines is not None:
            return self._cached_cosines.index_select(0, rows)
        return self.embeddings(rows) @ self.seen.T

    @cached_property
    def _cached_cosines(self) -> Tensor | None:
        if len(self.images) * len(self.seen) > KEPT or not in_memory(self.images):
            return None
        if isinstance(self.images, Tensor):
            return self.images @ self.seen.T
        return (
            self.embeddings(torch.arange(len(self.images), device=self.seen.device)) @ self.seen.T
        )


@dataclass(frozen=True)
class Options:
    """What every method shares: the budget, the optimiser, calibration. Methods add their own.

    Attributes:
        epochs: passes over the training images; more if `min_steps` requires it.
        min_steps: minimum number of optimiser steps.
        batch_size: images per step.
        lr: learning rate at the start; it follows a cosine to zero.
        weight_decay: weight decay of the optimiser.
        calibrate: subtract a constant gamma from the scores of seen classes (calibrated stacking);
            folds of the training classes choose it.
        fold_share: share of the epochs for which a fold is trained; `min_steps` still applies.
    """

    epochs: int = counting(10)
    min_steps: int = counting(60)
    batch_size: int = counting(512, 1)
    lr: float = within(1e-3, 0)
    weight_decay: float = within(0.01, 0)
    calibrate: bool = True
    fold_share: float = within(0.5, 0, 1, above=True)

    def __post_init__(self) -> None:
        """Check each option's range.

        Raises:
            UsageError: an option is out of range.
        """
        check_ranges(self)

    def unread(self) -> dict[str, str]:
        """Options that the others leave without effect: name -> why, and what to do."""
        return self.unread_without("calibrate", "fold_share")

    def unread_without(self, switch: str, *names: str) -> dict[str, str]:
        """Options that only a part reads which can be switched off, if it is."""
        why = f"{switch} is off: leave it out, or add --set {switch}=on."
        return {} if getattr(self, switch) else dict.fromkeys(names, why)


class LabelEvidence(NamedTuple):
    """Evidence for each seen label of training images that ignores their own candidates.

    Attributes:
        logits: of rows (B,): (B, K).
        of_others: likewise, from the similarity to other images of the class.
    """

    logits: Callable[[Tensor], Tensor]
    of_others: Callable[[Tensor], Tensor]


class Method(nn.Module):
    """One method on one problem; each subclass has its own file.

    The calls in order: `__init__` makes shapes and initial weights without reading training images,
    so that a saved run can be restored without them; `prepare` computes what training needs from
    the data; `loss` and `after_step` train; `finalize` computes closed-form parts; `scores` scores
    images from the state alone; `add_classes` adds classes later, also from the state alone.

    Persistent buffers hold the method's state beside its parameters (label weights, prototypes,
    queues). They go into the checkpoint, so that a resumed run gives the same numbers as an
    uninterrupted one.

    A method declares what engines need to know about it.

    Attributes:
        candidates: entries (image, label) that carry label weights: those of the problem, and
            labels outside the given sets that the method adds.
        weights: (M,) label weights of the entries; they sum to one per image.
        row_wise: whether the loss is a sum over images whose terms don't depend on the rest of the
            batch. It is not inherited, as a subclass may change the loss: each class declares it.
        entry_state: names of buffers with a value per entry, (M,).
        image_state: names of buffers with a value per image, (N,), or None for all ones.
        run_state: names of buffers that are equal in all runs of equal length and options.
        kept_state: names of buffers with a row per training image that `scores` needs: a restored
            run gets as many rows as were saved.
        training_state: names of buffers with embeddings of single training images that only
            training needs; a packed run has zeros in their place.
        cautious: whether a method that `fades` does so the more, the less sure its gain is.
    """

    row_wise: ClassVar[bool] = False
    entry_state: ClassVar[tuple[str, ...]] = ("weights",)
    image_state: ClassVar[tuple[str, ...]] = ()
    run_state: ClassVar[tuple[str, ...]] = ()
    kept_state: ClassVar[tuple[str, ...]] = ()
    training_state: ClassVar[tuple[str, ...]] = ()
    cautious: ClassVar[bool] = False
    options: Options
    weights: Tensor

    def __init__(
        self, problem: Problem, options: Options, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.problem = problem
        self.options = options
        self.candidates = problem.candidates

    @property
    def optimizer(self) -> str:
        """`adamw` or `sgd`."""
        return "adamw"

    @property
    def trainable(self) -> bool:
        """Whether there is anything to train."""
        return any(True for _ in self.parameters())

    @property
    def stackable(self) -> bool:
        """Whether several runs can be trained together; else they are trained one by one."""
        return bool(vars(type(self)).get("row_wise", False)) and self.trainable

    @property
    def transductive(self) -> bool:
        """Whether an image's scores depend on which others are scored with it."""
        return False

    @property
    def takes_classes(self) -> bool:
        """Whether it scores classes without images, and so can be given more of them later."""
        return True

    @property
    def epochs(self) -> int:
        """How often the loop passes over the training images."""
        if not self.trainable:
            return 0
        steps = -(-len(self.problem.images) // self.options.batch_size)
        return max(self.options.epochs, -(-self.options.min_steps // steps))

    def prepare(self) -> None:
        """Called once before training, without gradient: compute what the training data determine.

        Initial weights belong here only if they depend on training images.
        """

    def begin_epoch(self, epoch: int, generator: torch.Generator) -> None:
        """Called before each epoch; all randomness of the epoch comes from `generator`."""

    def relabels_before(self, epoch: int) -> bool:
        """Whether `relabel` is to be called before an epoch."""
        return False

    def relabel(self) -> None:
        """Weigh the candidates of all training images anew, without gradient."""

    def loss(self, rows: Tensor) -> Tensor:
        """Loss of a batch of training rows (B,), a scalar."""
        raise TypeError(f"{type(self).__name__} has nothing to train.")

    def after_step(self, rows: Tensor) -> None:
        """Called after each optimiser step, without gradient."""

    def finalize(self) -> None:
        """Called once after the last epoch, without gradient: closed-form parts go here."""

    def add_classes(self, count: int) -> None:
        """Called after `count` unseen classes were appended, without gradient.

        Per-class buffers are loaded; recompute them for the new classes. There are no training
        images any more.
        """

    def observe_queries(self, blocks: Blocks) -> None:
        """Called once with all images, before they are scored, without gradient.

        There is at least one image. Inductive methods do nothing here.
        """

    def scores(self, images: Tensor) -> Tensor:
        """Scores of images (n, D) for all classes, seen first: (n, K + U)."""
        raise TypeError(f"{type(self).__name__} does not score.")

    @property
    def fades(self) -> bool:
        """Whether `fade` can move the scores towards frozen CLIP's."""
        return False

    def fade(self, share: float) -> None:
        """Score by `frozen + share (trained - frozen)` from now on; share lies in 0..1."""
        raise TypeError(f"{type(self).__name__} does not fade.")

    def frozen_scores(self, images: Tensor) -> Tensor:
        """Frozen CLIP's scores of images (n, D) for all classes, seen first: (n, K + U)."""
        labels = torch.cat([self.problem.seen, self.problem.unseen])
        return self.problem.scale * images @ labels.T

    def label_evidence(self) -> LabelEvidence | None:
        """Evidence for the labels of training images, from which confidences are calibrated.

        None: the label weights are reported unchanged.
        """
        return None

    def chosen_options(self) -> dict[str, Any]:
        """Options that the method chose on its training images, and that its folds take over.

        The folds choose gamma, which is in units of the scores: a fold that chose for itself would
        choose a gamma of other scores.
        """
        return {}

    def describe(self) -> dict[str, Any]:
        """What the method estimated or chose, as plain values for the run's record."""
        return {}
