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
from pzsl.methods.core.ranges import check_ranges, counting, within

Blocks = Callable[[], Iterable[Tensor]]
"""Begins a pass over all images that are to be classified, in blocks (n, D)."""
KEPT = 1 << 25
"""Numbers of a kind that are kept rather than computed again, at most: 128 MB of them."""


@dataclass(frozen=True)
class Problem:
    """All that a method may see: training images, their candidates, label embeddings.

    Attributes:
        images: (N, D) unit training images: a tensor, or rows that are read from a file.
        candidates: candidate labels as columns of `seen` (0..K-1), ragged.
        seen: (K, D) unit label embeddings of the seen classes.
        unseen: (U, D) of the unseen ones; names only, no image of them is here.
        scale: CLIP's logit scale s.
        views: (N, V, D) unit embeddings of augmented views, where the cache has them.
        view_kinds: (V,) `weak` or `strong`; empty where there are no views, or nobody said.
        truth: (N,) true labels as columns of `seen`, -1 where unknown. Given to a method that
            needs them (`oracle`), to no other.
        labelled: (N,) bool, images whose only candidate is a true label given by hand; None where
            there are none.
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

    def embeddings(self, rows: Tensor) -> Tensor:
        """Training images of rows (B,), as a copy: (B, D)."""
        return take_rows(self.images, rows)

    def cosines(self, rows: Tensor) -> Tensor:
        """Frozen cosines of training rows (B,) with the label embeddings of the seen: (B, K)."""
        if self._kept is not None:
            return self._kept.index_select(0, rows)
        return self.embeddings(rows) @ self.seen.T

    @cached_property
    def _kept(self) -> Tensor | None:
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
        epochs: passes over the training images; more where `min_steps` asks for it.
        min_steps: least number of optimiser steps.
        batch_size: images a step.
        lr, weight_decay: of the optimiser; the rate falls to zero on a cosine.
        calibrate: choose gamma of calibrated stacking on folds of the training classes.
        fold_share: share of the epochs that a fold is trained for; `min_steps` is kept.
    """

    epochs: int = counting(10)
    min_steps: int = counting(60)
    batch_size: int = counting(512, 1)
    lr: float = within(1e-3, 0)
    weight_decay: float = within(0.01, 0)
    calibrate: bool = True
    fold_share: float = within(0.5, 0, 1, above=True)

    def __post_init__(self) -> None:
        """Hold each option against its range.

        Raises:
            UsageError: one lies outside.
        """
        check_ranges(self)


class LabelEvidence(NamedTuple):
    """What speaks for each seen label of training images, their own candidates left aside.

    Attributes:
        logits: of rows (B,): (B, K). of_others: in logits too, by what other images of the class
            are like.
    """

    logits: Callable[[Tensor], Tensor]
    of_others: Callable[[Tensor], Tensor]


class Method(nn.Module):
    """One method on one problem. A subclass is one file of this room.

    Its life: `__init__` lays out shapes and initial weights and reads no training image, so that a
    saved run is restored without them; `prepare` finds out what there is to find before training;
    `loss` and `after_step` train; `finalize` adds closed-form parts; `scores` answers, out of the
    state alone; `add_classes` makes room for classes that are named later, out of the state too.

    Persistent buffers are the method's state beside its parameters (label weights, prototypes,
    queues): they go into the checkpoint, so that a resumed run ends where an uninterrupted one
    does.

    What engines need to know of a method, it declares itself.

    Attributes:
        support: entries (image, label) that carry label weights.
        weights: (M,) label weights of the entries; each image's sum to one.
        row_wise: the loss is a sum over images, and no image's part in it depends on which others
            share its batch. Each class says so for itself: a subclass doesn't inherit it, because
            it may change the loss.
        entry_state: names of the state with a value for each entry, (M,).
        image_state: names of the state with a value for each image, (N,), or None for all ones.
        run_state: names of the state that is the same in all runs of equal length and options.
        kept_state: names of the state with a row for each training image that `scores` needs: a
            restored run gets as many rows as were saved.
    """

    row_wise: ClassVar[bool] = False
    entry_state: ClassVar[tuple[str, ...]] = ("weights",)
    image_state: ClassVar[tuple[str, ...]] = ()
    run_state: ClassVar[tuple[str, ...]] = ()
    kept_state: ClassVar[tuple[str, ...]] = ()
    options: Options
    weights: Tensor

    def __init__(
        self, problem: Problem, options: Options, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.problem = problem
        self.options = options
        self.support = problem.candidates

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
        """Whether several runs can be trained in one program; else they go one after the other."""
        return bool(vars(type(self)).get("row_wise", False)) and self.trainable

    @property
    def transductive(self) -> bool:
        """Whether an image's scores depend on which others are scored with it."""
        return False

    @property
    def epochs(self) -> int:
        """How often the loop passes over the training images."""
        if not self.trainable:
            return 0
        steps = -(-len(self.problem.images) // self.options.batch_size)
        return max(self.options.epochs, -(-self.options.min_steps // steps))

    def prepare(self) -> None:
        """Called once before training, without gradient: what the training data tell goes here.

        Of the initial weights, only those that depend on training images belong here.
        """

    def begin_epoch(self, epoch: int, generator: torch.Generator) -> None:
        """Called before each epoch; all randomness of the epoch comes from `generator`."""

    def loss(self, rows: Tensor) -> Tensor:
        """Loss of a batch of training rows (B,), a scalar."""
        raise TypeError(f"{type(self).__name__} has nothing to train.")

    def after_step(self, rows: Tensor) -> None:
        """Called after each optimiser step, without gradient."""

    def finalize(self) -> None:
        """Called once after the last epoch, without gradient: closed-form parts go here."""

    def add_classes(self, count: int) -> None:
        """Called when `count` unseen classes have joined as the last ones, without gradient.

        Per-class buffers are loaded; recompute them for the new classes. No training image is
        there any more.
        """

    def observe_queries(self, blocks: Blocks) -> None:
        """Called with all images that are to be scored, before they are, without gradient.

        There is one at least. Inductive methods do nothing here.
        """

    def scores(self, images: Tensor) -> Tensor:
        """Scores of images (n, D) for all classes, seen first: (n, K + U)."""
        raise TypeError(f"{type(self).__name__} does not score.")

    @property
    def fades(self) -> bool:
        """Whether `fade` can be asked to move the scores towards frozen CLIP's."""
        return False

    def fade(self, share: float) -> None:
        """Score by `frozen + share (trained - frozen)` from now on; share lies in 0..1."""
        raise TypeError(f"{type(self).__name__} does not fade.")

    def frozen_scores(self, images: Tensor) -> Tensor:
        """What frozen CLIP says of images (n, D), for all classes, seen first: (n, K + U)."""
        labels = torch.cat([self.problem.seen, self.problem.unseen])
        return self.problem.scale * images @ labels.T

    def label_evidence(self) -> LabelEvidence | None:
        """What speaks for the labels of the training images, for reporting how sure they are.

        None: the label weights stand as they are.
        """
        return None

    def describe(self) -> dict[str, Any]:
        """What the method found out about its data, as plain values for the run's record."""
        return {}
