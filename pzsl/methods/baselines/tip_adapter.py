"""`tip-adapter`: a cache of images and soft labels beside frozen CLIP (Zhang et al., ECCV 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from pzsl.losses.partial import partial_zero_shot_loss
from pzsl.methods.baselines.training_cache import SEARCHED, TrainingCache
from pzsl.methods.core import Options, Problem, counting, within

ALPHAS, BETAS = (0.1, 0.3, 1.0, 3.0, 10.0), (3.0, 5.5, 10.0, 20.0, 30.0)
"""Values to try; the paper's go up to 3 and 7 on most data."""
TRIED = 2048
"""Most training images to try them on."""


@dataclass(frozen=True)
class TipAdapterOptions(Options):
    """Options of Tip-Adapter.

    Attributes:
        search: choose alpha and beta on training images, leaving one out; off: use them as given.
        alpha: residual ratio, the weight of the cache beside frozen CLIP's logits.
        beta: sharpness of an image's affinity with those in the cache.
        rounds: how often the cached label weights are re-estimated from the scores.
        fine_tune: train the keys (Tip-Adapter-F).
        fade: let the folds that choose gamma also choose how much of alpha counts.
    """

    search: bool = True
    alpha: float = within(1.0, 0)
    beta: float = within(5.5, 0)
    rounds: int = counting(3)
    fine_tune: bool = False
    fade: bool = True

    def unread(self) -> dict[str, str]:
        """Alpha and beta, if they are searched, and what folds choose where there are none."""
        searched = dict.fromkeys(("alpha", "beta") if self.search else (), SEARCHED)
        return super().unread() | self.unread_without("calibrate", "fade") | searched


class TipAdapter(TrainingCache):
    """Frozen CLIP's logits plus those of the cache: `s cos(v, t_c) + alpha sum_i a_i(v) w_ic`.

    Keys are the training images, values their soft labels, and `a_i(v) = exp(-beta (1 - v.k_i))`
    (Zhang et al. 2022, section 3). On candidate sets the values are label weights: frozen CLIP's
    softmax over the candidates, then for a few rounds that of the leave-one-out scores, as an image
    is most similar to itself, whatever its label.

    Alpha and beta are the best of a grid, as in the paper. The paper uses validation images; here
    some training images are each classified from all others, and a prediction counts as right if it
    is a candidate (ours; see `predicts_candidate`).

    An unseen class has no images, so it is scored by CLIP's text alone. Tip-Adapter-F trains the
    keys by the cross-entropy with these label weights; the image itself is then in the cache, as
    published.
    """

    options: TipAdapterOptions
    sharpness: Tensor
    share: Tensor
    tried: Tensor

    def __init__(
        self, problem: Problem, options: TipAdapterOptions, generator: torch.Generator
    ) -> None:
        super().__init__(problem, options, generator)
        alpha_beta = problem.seen.new_tensor([options.alpha, options.beta])
        self.register_buffer("sharpness", alpha_beta)
        self.register_buffer("share", problem.seen.new_ones(()))
        # Drawn: where classes take turns in a file, every second image can be every second class.
        tried = torch.randperm(len(problem.images), generator=generator)[:TRIED].sort().values
        self.register_buffer("tried", tried.to(problem.seen.device), persistent=False)
        if options.fine_tune:
            keys = self.keys
            del self.keys
            self.keys = nn.Parameter(keys)

    def prepare(self) -> None:
        """Fill the cache with training images and their label weights."""
        super().prepare()
        if self.options.search and len(self.candidates) > 1:
            self.sharpness.copy_(self.sharpness.new_tensor(self._search()))
        for _ in range(self.options.rounds):
            self.reweigh(self._leave_one_out_scores)
            self.cache_labels()

    def _search(self) -> tuple[float, float]:
        """The alpha and beta that predict most candidates, the first of equal ones."""
        frozen = self.problem.scale * self.problem.cosines(self.tried)
        pairs = list(product(BETAS, ALPHAS))
        hits = []
        for beta in BETAS:
            cache_logits = self._leave_one_out_cache_logits(self.tried, beta)
            for alpha in ALPHAS:
                scores = frozen + alpha * cache_logits
                hits.append(int(self.predicts_candidate(scores, self.tried).sum()))
        beta, alpha = pairs[hits.index(max(hits))]
        return alpha, beta

    def _leave_one_out_cache_logits(self, rows: Tensor, beta: float | Tensor) -> Tensor:
        """Logits of training rows (B,) by the cache without the image itself: (B, K)."""
        affinity = self._affinity(self.problem.images[rows], beta)
        affinity.scatter_(1, rows[:, None], 0.0)
        logits: Tensor = affinity @ self.values
        return logits

    def _leave_one_out_scores(self, rows: Tensor) -> Tensor:
        """Scores of training rows (B,) for the seen classes, by all other images: (B, K)."""
        alpha, beta = self.sharpness
        frozen = self.problem.scale * self.problem.cosines(rows)
        scores: Tensor = frozen + alpha * self._leave_one_out_cache_logits(rows, beta)
        return scores

    def _affinity(self, images: Tensor, beta: float | Tensor) -> Tensor:
        """Affinities of images (n, D) with the keys: (n, N)."""
        affinity: Tensor = torch.exp(beta * (images @ self.keys.T - 1))
        return affinity

    def _cache_logits(self, images: Tensor) -> Tensor:
        """What the cache adds to the logits of images (n, D) for the seen classes: (n, K)."""
        alpha, beta = self.sharpness
        logits: Tensor = alpha * (self._affinity(images, beta) @ self.values)
        return logits

    def loss(self, rows: Tensor) -> Tensor:
        """Cross-entropy with the label weights, for training rows (B,): Tip-Adapter-F."""
        entries = self.candidates.batch(rows, self.values.shape[1])
        logits = self.problem.scale * self.problem.cosines(rows)
        logits = logits + self._cache_logits(self.problem.images[rows])
        weights = entries.of(self.weights)
        return partial_zero_shot_loss(logits, weights, entries.rows)

    def scores(self, images: Tensor) -> Tensor:
        """Scores of images (n, D) for all classes, seen first: (n, K + U)."""
        return self.frozen_scores(images) + self.share * self.pad_unseen(self._cache_logits(images))

    @property
    def fades(self) -> bool:
        """Whether the folds choose how much of alpha counts."""
        return self.options.fade

    def fade(self, share: float) -> None:
        """Multiply alpha by this share from now on."""
        self.share.fill_(share)

    def chosen_options(self) -> dict[str, Any]:
        """The alpha and beta that were chosen, which aren't searched again."""
        alpha, beta = self.sharpness.tolist()
        return {"search": False, "alpha": alpha, "beta": beta}

    def describe(self) -> dict[str, Any]:
        """The alpha and beta that were chosen."""
        alpha, beta = self.sharpness.tolist()
        return {"alpha": round(alpha, 4), "beta": round(beta, 4)}
