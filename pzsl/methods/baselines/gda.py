"""`gda`: Gaussian discriminant analysis beside frozen CLIP (Wang et al., ICLR 2024)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pzsl.methods.baselines.training_cache import SEARCHED, CachedImages
from pzsl.methods.core import Options, Problem, counting, within

GRID = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""Values of alpha to try; the paper's differ by factors of ten."""
FOLDS = 4
"""Folds of the training images; each is classified from the others when alpha is chosen."""
SMALLEST = 1e-9
"""A class with a smaller sum of label weights has no mean of its own."""
ROUNDING = 1e-5
"""A smaller variance of unit vectors within the classes may be rounding of single precision."""


@dataclass(frozen=True)
class GdaOptions(Options):
    """Options of Gaussian discriminant analysis.

    Attributes:
        search: choose alpha on held-out training images; off: use it as given.
        alpha: weight of the discriminant beside frozen CLIP's logits.
        rounds: how often the label weights are re-estimated from the scores before the last fit.
        neighbours: number of training images whose mean stands for an unseen class.
        fade: let the folds that choose gamma also choose how much of alpha counts.
    """

    search: bool = True
    alpha: float = within(0.3, 0)
    rounds: int = counting(1)
    neighbours: int = counting(64, 1)
    fade: bool = True

    def unread(self) -> dict[str, str]:
        """Alpha, if it is searched, and what folds choose where there are none."""
        searched = {"alpha": SEARCHED} if self.search else {}
        return super().unread() | self.unread_without("calibrate", "fade") | searched


class Moments(NamedTuple):
    """What a discriminant is estimated from, in double precision.

    Attributes:
        sums: (K, D) weighted sums of the images of each class.
        counts: (K,) sums of these weights.
        second: (D, D) sum of the outer products of all images.
    """

    sums: Tensor
    counts: Tensor
    second: Tensor

    @classmethod
    def of(cls, images: Tensor, labels: Tensor) -> Moments:
        """Moments of images (n, D) with soft labels (n, K)."""
        images, labels = images.cpu().double(), labels.cpu().double()
        return cls(labels.T @ images, labels.sum(0), images.T @ images)

    def plus(self, other: Moments, times: float = 1.0) -> Moments:
        """Moments of the images of both; with times = -1, without those of the other."""
        return Moments(*(mine + times * theirs for mine, theirs in zip(self, other, strict=True)))


class Gda(CachedImages):
    """Frozen CLIP's logits plus a Gaussian discriminant of the images: `s cos(v, t_c) + alpha g_c`.

    `g_c(v) = mu_c P v - 1/2 mu_c P mu_c` (Wang et al. 2024, section 3), with equal priors: a class
    is a Gaussian with its own mean and a covariance that all share. On candidate sets, images count
    for a class by their label weights: frozen CLIP's softmax over the candidates, then that of the
    method's own scores (progressive identification, as in PRODEN).

    Alpha is the best of a grid, as in the paper. The paper uses validation images; here each
    quarter of the training images is classified from the others, and a prediction counts as right
    if it is a candidate (ours; see `predicts_candidate`).

    An unseen class has no images: its mean is that of the training images nearest to its text, as
    in the paper's extension to new classes, so these are cached. Discriminants are differences from
    that of a class at the mean of all images.
    """

    options: GdaOptions
    directions: Tensor
    offsets: Tensor
    centre: Tensor
    precision: Tensor
    alpha: Tensor
    share: Tensor
    fold: Tensor

    def __init__(self, problem: Problem, options: GdaOptions, generator: torch.Generator) -> None:
        super().__init__(problem, options, generator)
        classes = len(problem.seen) + len(problem.unseen)
        zeros = problem.seen.new_zeros
        self.register_buffer("directions", zeros(classes, problem.seen.shape[1]))
        self.register_buffer("offsets", zeros(classes))
        self.register_buffer("centre", zeros(problem.seen.shape[1]))
        self.register_buffer("precision", zeros(*2 * problem.seen.shape[1:]))
        self.register_buffer("alpha", problem.seen.new_full((), options.alpha))
        self.register_buffer("share", problem.seen.new_ones(()))
        # Drawn: where classes take turns in a file, every fourth image can be whole classes.
        fold = torch.randperm(len(problem.images), generator=generator) % FOLDS
        self.register_buffer("fold", fold.to(problem.seen.device), persistent=False)

    def finalize(self) -> None:
        """In each round choose alpha, fit the Gaussians, and re-estimate the label weights."""
        seen = len(self.problem.seen)
        for rounds_left in reversed(range(self.options.rounds + 1)):
            if self.options.search and len(self.candidates) >= FOLDS:
                self.alpha.fill_(GRID[int(self._hits_per_alpha().argmax())])
            self._estimate(self._moments())
            if rounds_left:
                self.reweigh(lambda rows: self.scores(self.problem.images[rows])[:, :seen])
        self.add_classes(len(self.problem.unseen))

    def add_classes(self, count: int) -> None:
        """Add Gaussians of unseen classes, at the mean of the images nearest to their texts."""
        text = self.problem.unseen[len(self.problem.unseen) - count :]
        nearest = (text @ self.keys.T).topk(min(self.options.neighbours, len(self.keys)), dim=1)
        means = self.keys[nearest.indices].mean(dim=1)
        self._set_gaussians(slice(len(self.directions) - count, None), means)

    def _set_gaussians(self, classes: slice, means: Tensor) -> None:
        """Give some classes Gaussians with these means."""
        directions = (means - self.centre) @ self.precision
        self.directions[classes] = directions
        self.offsets[classes] = -0.5 * (directions * (means + self.centre)).sum(1)

    def _fold_rows(self, fold: int) -> Iterator[Tensor]:
        """The rows of one fold of the training images, in blocks."""
        for rows in self.candidates.blocks():
            yield rows[self.fold[rows] == fold]

    def _moments(self, fold: int | None = None) -> Moments:
        """Moments of all training images, or of one fold of them."""
        blocks = iter(self.candidates.blocks()) if fold is None else self._fold_rows(fold)
        total: Moments | None = None
        for rows in blocks:
            moments = Moments.of(self.problem.images[rows], self.soft_labels(rows))
            total = moments if total is None else total.plus(moments)
        assert total is not None
        return total

    def _hits_per_alpha(self) -> Tensor:
        """For how many held-out images a candidate is predicted, at each alpha of the grid."""
        all_moments, hits = self._moments(), torch.zeros(len(GRID), dtype=torch.long)
        for fold in range(FOLDS):
            self._estimate(all_moments.plus(self._moments(fold), -1.0))
            for rows in self._fold_rows(fold):
                images = self.problem.images[rows]
                frozen = self.problem.scale * images @ self.problem.seen.T
                discriminants = (images @ self.directions.T + self.offsets)[:, : frozen.shape[1]]
                for index, alpha in enumerate(GRID):
                    scores = frozen + alpha * discriminants
                    hits[index] += int(self.predicts_candidate(scores, rows).sum())
        return hits

    def _estimate(self, moments: Moments) -> None:
        """Fit the Gaussians of the seen classes."""
        estimate = gaussians(moments)
        self.centre.copy_(estimate.centre.to(self.centre))
        self.precision.copy_(estimate.precision.to(self.centre))
        self._set_gaussians(slice(len(self.problem.seen)), estimate.means.to(self.centre))

    def scores(self, images: Tensor) -> Tensor:
        """Scores of images (n, D) for all classes, seen first: (n, K + U)."""
        discriminants = images @ self.directions.T + self.offsets
        return self.frozen_scores(images) + self.share * self.alpha * discriminants

    @property
    def fades(self) -> bool:
        """Whether the folds choose how much of alpha counts."""
        return self.options.fade

    def fade(self, share: float) -> None:
        """Multiply alpha by this share from now on."""
        self.share.fill_(share)

    def chosen_options(self) -> dict[str, Any]:
        """The alpha that was chosen, which isn't searched again."""
        return {"search": False, "alpha": self.alpha.item()}

    def describe(self) -> dict[str, Any]:
        """The alpha that was chosen."""
        return {"alpha": round(self.alpha.item(), 4)}


class Gaussians(NamedTuple):
    """Gaussians with a shared covariance.

    Attributes:
        means: (K, D) of the classes.
        centre: (D,) mean of all images.
        precision: (D, D) inverse of the shared covariance.
    """

    means: Tensor
    centre: Tensor
    precision: Tensor


def gaussians(moments: Moments) -> Gaussians:
    """The means of the classes, and the precision that they share (Wang et al. 2024, section 3).

    The precision is the paper's empirical Bayes ridge estimator (Kubokawa and Srivastava 2008)
    `P = D ((N - 1) S + tr(S) I)^-1`, S being the covariance around the class means; it is 0 if
    images don't vary within the classes. A class without weight has the mean of all images.
    """
    sums, counts, second = moments
    image_count, dim = counts.sum().clamp_min(1), len(second)
    centre, has_weight = sums.sum(0) / image_count, counts > SMALLEST
    means = torch.where(has_weight[:, None], sums / counts.clamp_min(SMALLEST)[:, None], centre)
    scatter = second - (means * counts[:, None]).T @ means
    trace = scatter.diagonal().sum() / (image_count - 1).clamp_min(1)
    precision = torch.zeros_like(second)
    if trace > ROUNDING:
        ridge = scatter + trace * torch.eye(dim, dtype=second.dtype, device=second.device)
        precision = dim * torch.linalg.inv(ridge)
    return Gaussians(means, centre, precision)
