"""How much the names of the classes, and how much the other images, explain the candidate sets.

Where names say little to CLIP (codes, jargon, another language), it finds few of the given labels
plausible, though images of one label resemble each other. So the logits that find the true labels
are weighted sums of both, by the likelihood of the sets (ours).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pzsl.losses.ragged import Rows, row_sum
from pzsl.methods.clip_pzsl.class_statistics import SMALLEST, gather
from pzsl.methods.clip_pzsl.noise_model import NoiseModel, at_least, estimate_noise
from pzsl.methods.clip_pzsl.training_pass import (
    EntryLogits,
    InsideMass,
    RowFunction,
    cache_rows,
    candidates_softmax,
    walk,
)
from pzsl.methods.core import CandidateEntries, Problem, inside_odds, set_likelihood
from pzsl.models.prototypes import leave_one_out_cosines

ROUNDS = 10
"""Most alternations of label weights and prototypes."""
CONVERGED = 3e-3
"""Gain in mean log-likelihood below which they end."""
NAMES = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
"""Weights of frozen CLIP's logits that are tried."""
IMAGES = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
"""Weights of the cosines with prototypes of other images that are tried."""
FIRST = IMAGES[2:5]
"""Those that are tried with the first prototypes; later the neighbours of both weights are."""
FEW, MANY, ENOUGH = 1 << 20, 1 << 24, 2048
"""Images times classes of the sample on which both are chosen: one image a class or more, up to
ENOUGH images, if that is at most MANY."""
CELLS = 1 << 18
"""Images times classes of a part of the sample: a few such arrays stay in a core's cache."""
GAIN, TOTAL_GAIN = 0.02, 30.0
"""By how much the log-likelihood must rise: on average, and in total."""
PROMISING = 0.3
"""Share of this that the first prototypes must reach."""
NAMED = 0.25
"""A smaller weight of the names says next to nothing."""

OWN_ETA = 0.2
"""Least share of sets without the true label if the encoder itself made them."""
OWN_IMAGES, OWN_HALF = 64.0, 16
"""Weight of the cosines with prototypes for such sets where a class has very many images; and the
number of a class's images at which it is half of that."""


class NameWeight(NamedTuple):
    """How much names and other images count in the logits that read candidate sets.

    Attributes:
        names: weight of frozen CLIP's logits.
        images: weight of the cosines with prototypes of other images; 0 if names do as well alone.
        eta_by_names: share of sets without the true label, as names alone estimate it.
    """

    names: float = 1.0
    images: float = 0.0
    eta_by_names: float = 0.0

    def describe(self) -> dict[str, float]:
        """The weight of the names and their eta, for a run's record; nothing if names do alone."""
        if not self.images:
            return {}
        return {"name_weight": self.names, "eta_by_names": round(self.eta_by_names, 4)}


class Reading(NamedTuple):
    """Candidate sets as read by logits that know nothing of an image's own set.

    Attributes:
        weight: of the names.
        noise: as estimated; None without a noise model.
        logits: of training rows (B,) over the seen classes: (B, K).
        at_entries: (M,) those of the candidates.
        mass: (N,) the probability inside each set.
    """

    weight: NameWeight
    noise: NoiseModel | None
    logits: RowFunction
    at_entries: Tensor
    mass: Tensor


@dataclass(frozen=True, order=True)
class Weighed:
    """The mean log-likelihood of the sets, and of which weights and logits."""

    likelihood: float
    names: float = field(compare=False)
    images: float = field(compare=False)
    logits: RowFunction = field(compare=False)


def read_by(candidates: CandidateEntries, by: Weighed, classes: int, noise: bool) -> Reading:
    """Read candidate sets by logits, with a noise model if asked for."""
    at_entries, inside = EntryLogits(candidates), InsideMass()
    walk(candidates, by.logits, at_entries, inside)
    mass = inside.mass
    model = estimate_noise(candidates, mass, classes) if noise else None
    weight = NameWeight(by.names, by.images)
    return Reading(weight, model, by.logits, at_entries.values, mass)


def weigh_names(
    problem: Problem, candidates: CandidateEntries, by_names: Reading
) -> Reading | None:
    """Read sets by the likeliest weights of names and other images; None if names do as well.

    Label weights and prototypes alternate, first from frozen CLIP's weights. If names say next to
    nothing, or images seem no help, then from equal weights, too.
    """
    sets = _Sets(problem, candidates, by_names.logits)
    alone = sets.weigh(None, [1.0], [0.0]).likelihood
    enough = alone + max(GAIN, TOTAL_GAIN / len(candidates))
    promising = alone + PROMISING * (enough - alone)
    best = sets.weigh_beside(candidates_softmax(candidates, by_names.at_entries))
    say_little = best.names < NAMED or best.likelihood < promising
    if best.likelihood >= promising:
        best = sets.alternate(best)
    if say_little:
        start = sets.weigh_beside(candidates.uniform())
        if start.likelihood >= promising:
            best = max(best, sets.alternate(start))
    if best.likelihood <= enough:
        return None
    reading = sets.read(best)
    return reading._replace(noise=estimate_noise(candidates, reading.mass, len(problem.seen)))


def read_own_sets(problem: Problem, candidates: CandidateEntries, by_names: Reading) -> Reading:
    """Read sets that the encoder itself made by names and other images, with given weights.

    Such sets are likeliest by names alone, even where these are wrong: their likelihood says
    nothing of either. And names never find them wrong, so that a share is assumed to be.
    """
    sets = _Sets(problem, candidates, by_names.logits)
    of_class = len(candidates) / sets.classes
    images = [OWN_IMAGES * of_class / (of_class + OWN_HALF)]
    weights = candidates_softmax(candidates, by_names.at_entries)
    weights = sets.likely_weights(sets.weigh_beside(weights, [1.0], images))
    reading = sets.read(sets.weigh_beside(weights, [1.0], images))
    noise = estimate_noise(candidates, reading.mass, sets.classes)
    return reading._replace(noise=at_least(noise, OWN_ETA, candidates, sets.classes))


def _around(value: float, grid: Sequence[float]) -> Sequence[float]:
    """A value of an ascending grid and its neighbours."""
    place = grid.index(value)
    return grid[max(0, place - 1) : place + 2]


class _Part(NamedTuple):
    """Part of a sample of candidate sets.

    Attributes:
        images: (n,) their training rows.
        sets: where their entries lie in (n, K).
        frozen: (n, K) frozen CLIP's logits.
    """

    images: Tensor
    sets: Rows
    frozen: Tensor

    def mass(self, cosines: RowFunction | None, tried: Sequence[tuple[float, float]]) -> Tensor:
        """The probability inside the sets for each pair of weights, names' first: (T, n)."""
        cosines_at = cosines(self.images) if cosines else torch.zeros_like(self.frozen)
        return torch.stack([self._mass(cosines_at, *weights) for weights in tried])

    def _mass(self, cosines: Tensor, names: float, images: float) -> Tensor:
        logits = torch.add(self.frozen * names, cosines, alpha=images)
        total = self.sets.spread(logits.logsumexp(dim=1))
        return row_sum((self.sets.take(logits) - total).exp_(), self.sets)


class _Sets:
    """Candidate sets, and a sample of evenly spaced images on which weights are chosen.

    Args:
        problem: the training problem. candidates: its entries.
        frozen: frozen CLIP's logits (B, K) of training rows.
    """

    def __init__(self, problem: Problem, candidates: CandidateEntries, frozen: RowFunction) -> None:
        self.problem, self.candidates, self.frozen = problem, candidates, frozen
        self.classes = len(problem.seen)
        blocks = candidates.blocks()
        centre = torch.stack([problem.embeddings(rows).sum(0) for rows in blocks]).sum(0)
        centre /= len(candidates)
        self.images = cache_rows(
            candidates, lambda rows: F.normalize(problem.embeddings(rows) - centre, dim=-1)
        )
        each_class = min(MANY // self.classes, self.classes, ENOUGH)
        count = min(len(candidates), max(FEW // self.classes, each_class))
        self.rows = torch.arange(count, device=centre.device) * len(candidates) // count
        self.odds = inside_odds(candidates.sizes, self.classes)
        self.sample = [
            _Part(rows, candidates.batch(rows, self.classes).rows, frozen(rows))
            for rows in torch.split(self.rows, max(1, CELLS // self.classes))
        ]
        self._last: tuple[Weighed, Reading] | None = None

    def alternate(self, best: Weighed) -> Weighed:
        """Alternate label weights and prototypes as long as the likelihood rises."""
        for _ in range(ROUNDS):
            weights = self.likely_weights(best)
            tried = _around(best.names, NAMES), _around(best.images, IMAGES)
            weighed = self.weigh_beside(weights, *tried)
            gain = weighed.likelihood - best.likelihood
            best = max(best, weighed)
            if gain < CONVERGED:
                break
        return best

    def weigh_beside(
        self, weights: Tensor, names: Sequence[float] = NAMES, images: Sequence[float] = FIRST
    ) -> Weighed:
        """Weigh names and prototypes that are made with label weights (M,)."""
        return self.weigh(self._cosines(weights), names, images)

    def weigh(
        self, cosines: RowFunction | None, names: Sequence[float], images: Sequence[float]
    ) -> Weighed:
        """Choose the weights of names and of the cosines (B, K) with prototypes by likelihood."""
        tried = list(product(names, images))
        mass = torch.cat([part.mass(cosines, tried) for part in self.sample], dim=1)
        likelihood, place = set_likelihood(mass, self.odds[self.rows]).mean.max(dim=0)
        of_names, of_images = tried[int(place)]

        def logits(rows: Tensor) -> Tensor:
            weighed = self.frozen(rows) * of_names
            return weighed if cosines is None else weighed.add_(cosines(rows), alpha=of_images)

        return Weighed(likelihood.item(), of_names, of_images, logits)

    def _cosines(self, weights: Tensor) -> RowFunction:
        """Cosines (B, K) of training rows with prototypes of all other images."""
        sums = gather(self.problem, self.candidates, weights, self.images).sums
        squares = sums.square().sum(1)

        def cosines(rows: Tensor) -> Tensor:
            products = self.images(rows) @ sums.T
            entries = self.candidates.batch(rows, self.classes)
            own = products.view(-1).index_select(0, entries.rows.cells)
            squares_at = squares.index_select(0, entries.labels)
            own = leave_one_out_cosines(own, squares_at, entries.of(weights))
            all_cosines = products.div_(squares.sqrt().clamp_min(SMALLEST))
            all_cosines.view(-1).index_copy_(0, entries.rows.cells, own)
            return all_cosines

        return cosines

    def read(self, weighed: Weighed) -> Reading:
        """Read all sets, without a noise model; the last reading is kept."""
        if self._last is None or self._last[0] is not weighed:
            self._last = None  # one at a time in memory
            self._last = weighed, read_by(self.candidates, weighed, self.classes, noise=False)
        return self._last[1]

    def likely_weights(self, weighed: Weighed) -> Tensor:
        """Label weights (M,) of the candidates, less for sets that seem to lack the true label."""
        candidates, reading = self.candidates, self.read(weighed)
        right = 1 - set_likelihood(reading.mass[None], self.odds).wrong[0]
        weights = candidates_softmax(candidates, reading.at_entries)
        count = len(weights)
        return weights.mul_(torch.repeat_interleave(right, candidates.sizes, output_size=count))
