"""Read candidate sets by the names of the classes, and where images know better, by these, too."""

from __future__ import annotations

import torch

from pzsl.losses.ragged import add_groups
from pzsl.methods.clip_pzsl.explanation import (
    Reading,
    Weighed,
    read_by,
    read_own_sets,
    weigh_names,
)
from pzsl.methods.clip_pzsl.training_pass import RowFunction, candidates_softmax
from pzsl.methods.core import CandidateEntries, Problem, inside_odds, set_likelihood

SINGLE = 1.5
"""With fewer candidates on average, wrong labels may have a system that images would hide."""
FITTING = 0.3
"""A name fits a class if it is frozen CLIP's first for so large a share of the class's images."""
FORGIVEN, OF_FITTING = 0.03, 0.15
"""If images call more than FORGIVEN of all sets right that names call wrong, on balance, no larger
share of these than OF_FITTING may be of classes whose names fit."""


def read_sets(
    problem: Problem, candidates: CandidateEntries, frozen: RowFunction, noise: bool, weigh: bool
) -> Reading:
    """Read the candidate sets by frozen CLIP, and if they are likelier so by other images, too.

    Sets that the encoder itself made are always read by other images, too.

    Args:
        problem: the training problem. candidates: its entries.
        frozen: frozen CLIP's logits (B, K) of training rows.
        noise: whether to estimate how often the true label is outside a set.
        weigh: whether to weigh names and other images.
    """
    alone = Weighed(-torch.inf, 1.0, 0.0, frozen)
    reading = read_by(candidates, alone, len(problem.seen), noise)
    if problem.annotated and weigh and reading.noise is not None:
        return read_own_sets(problem, candidates, reading)
    certain = len(candidates.labels) == len(candidates)  # each set has a single label
    if not weigh or reading.noise is None or (certain and reading.noise.hard):
        return reading
    better = weigh_names(problem, candidates, reading)
    if better is None:
        return reading
    single = len(candidates.labels) < SINGLE * len(candidates)
    if single and _overrules(better, reading, candidates, len(problem.seen)):
        return reading
    return better._replace(weight=better.weight._replace(eta_by_names=reading.noise.eta))


def _overrules(
    better: Reading, by_names: Reading, candidates: CandidateEntries, classes: int
) -> bool:
    """Whether images call sets right that names call wrong where the names mostly fit.

    Wrong labels with a system, such as one of two look-alikes for the other, are as if the name
    included them: the images of the label resemble each other. But most of them fit the name.
    """
    odds, images = inside_odds(candidates.sizes, classes), len(candidates)
    masses = torch.stack([by_names.mass, better.mass])
    by_name, by_image = set_likelihood(masses, odds).wrong
    forgiven = by_name - by_image
    total = float(forgiven.sum())
    if total <= FORGIVEN * images:
        return False
    weights = candidates_softmax(candidates, better.at_entries)
    sums = forgiven.new_zeros(classes, 3)
    for rows in candidates.blocks():
        entries = candidates.batch(rows, 0)
        named = entries.rows.spread(by_names.logits(rows).argmax(dim=1)) == entries.labels
        spared = entries.rows.spread(forgiven.index_select(0, rows))
        columns = torch.stack([torch.ones_like(spared), named.to(spared), spared], dim=1)
        sums = add_groups(sums, entries.labels, columns * entries.of(weights)[:, None])
    counts, fitting, spared = sums.unbind(dim=1)
    of_fitting = float(spared[fitting >= FITTING * counts].sum())
    return of_fitting > OF_FITTING * total
