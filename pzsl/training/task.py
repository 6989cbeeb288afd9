"""Make a problem in tensors from a cache and a configuration, without test images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pzsl.candidates import statistics
from pzsl.errors import UserError
from pzsl.evaluation import Metrics, Summary, evaluate_summary, summarise
from pzsl.methods import find_method
from pzsl.methods.core import CandidateEntries, Deferred, Method, Problem, TrainingFeatures
from pzsl.store import Cache
from pzsl.store.hdf5 import release
from pzsl.training.candidate_sets import (
    candidate_sets,
    labelled_by_hand,
    labels_are_as_given,
    training_rows,
)
from pzsl.training.config import RunConfig
from pzsl.training.features_in_blocks import MEMORY, load_rows, scored_together
from pzsl.training.label_embeddings import label_source, label_vectors

TRUE_LABELS = "true labels"
"""The `needs` of a method that serves as an upper bound."""
OnBlock = Callable[[NDArray[np.floating], NDArray[np.int64]], None]
"""Called with the scores (n, C) and labels (n,) of a block of test images."""


@dataclass(frozen=True)
class Task:
    """The data of a run.

    Attributes:
        problem: what the method sees.
        truth: (N,) column of the true label, -1 where unknown; for reporting only.
        statistics: of the candidate sets.
        rows: (N,) rows of the training images in the cache.
    """

    problem: Problem
    truth: NDArray[np.int64]
    statistics: dict[str, Any]
    rows: NDArray[np.int64]


def make_task(
    cache: Cache, config: RunConfig, device: torch.device, memory: float = MEMORY
) -> Task:
    """Draw or read the candidate sets and put the training images into tensors.

    Raises:
        UserError: there is no training image, true labels to draw sets from are unknown, or the
            cache lacks the candidate sets to read.
    """
    rows = training_rows(cache, config.imbalance, config.seed)
    sets = candidate_sets(cache, config, rows)
    sets, labelled = labelled_by_hand(cache, config, rows, sets)
    column = np.where(cache.seen, np.cumsum(cache.seen) - 1, -1)
    labels = cache.labels[rows]
    if labels_are_as_given(cache, config.noise, labels, sets):  # so they are no truth
        labels = np.full_like(labels, -1)
    truth = np.where(labels >= 0, column[labels], -1)
    text = label_vectors(cache, config.labels, rows, sets)

    def tensor(array: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(np.array(array)).to(device)

    columns = torch.from_numpy(column.astype(np.int32)[sets.labels]).to(device)  # its own array
    candidates = CandidateEntries.of(tensor(sets.offsets), columns)
    problem = Problem(
        images=training_images(cache, device, memory, config.imbalance, config.seed),
        candidates=candidates,
        seen=tensor(text[cache.seen]),
        unseen=tensor(text[~cache.seen]),
        scale=cache.logit_scale,
        views=training_views(cache, device, memory, config.imbalance, config.seed),
        view_kinds=cache.view_kinds,
        truth=tensor(truth) if find_method(config.method).needs == TRUE_LABELS else None,
        labelled=None if labelled is None else tensor(labelled),
        label_source=label_source(cache, config.labels),
        annotated=config.noise == "annotated",
    )
    return Task(problem, truth, statistics(sets, labels), rows)


def training_images(
    cache: Cache, device: torch.device, memory: float, imbalance: float = 1.0, seed: int = 0
) -> TrainingFeatures:
    """The training images of a cache, shared by all runs of a process that use the same ones."""
    return _training_images(cache, device, memory, imbalance, seed if imbalance != 1 else 0)


@lru_cache(maxsize=1)
def _training_images(
    cache: Cache, device: torch.device, memory: float, imbalance: float, seed: int
) -> TrainingFeatures:
    return load_rows(cache.images, training_rows(cache, imbalance, seed), device, memory)


def training_views(
    cache: Cache, device: torch.device, memory: float, imbalance: float = 1.0, seed: int = 0
) -> TrainingFeatures | None:
    """The views of the training images, read when a method first uses them; None without any."""
    if cache.views is None:
        return None
    tail = imbalance, seed if imbalance != 1 else 0
    shape = torch.Size((len(training_rows(cache, *tail)), *cache.views.shape[1:]))
    return Deferred(lambda: _training_views(cache, device, memory, *tail), shape, device)


@lru_cache(maxsize=1)
def _training_views(
    cache: Cache, device: torch.device, memory: float, imbalance: float, seed: int
) -> TrainingFeatures:
    assert cache.views is not None
    return load_rows(cache.views, training_rows(cache, imbalance, seed), device, memory)


def _checked_scores(method: Method, scores: torch.Tensor, shape: tuple[int, int]) -> NDArray[Any]:
    """Scores as an array, after checking the shape, as extra columns would be misread silently."""
    if tuple(scores.shape) != shape:
        raise UserError(
            f"Method '{type(method).__name__}' should give scores {shape}, images by classes, but "
            f"gave {tuple(scores.shape)}."
        )
    array: NDArray[Any] = scores.cpu().numpy()
    return array


def evaluate_method(cache: Cache, method: Method, gamma: float) -> Metrics:
    """Score the test images and compute the metrics.

    Args:
        cache: with the test images and their true labels.
        method: trained; its columns are the seen classes, then the unseen ones.
        gamma: subtracted from the scores of seen classes (calibrated stacking).
    """
    return metrics_of(summarise_tests(cache, method), gamma)


def metrics_of(summary: Summary | None, gamma: float) -> Metrics:
    """The metrics of test images; each is None if there are no test images."""
    if summary is None:
        return dict.fromkeys(("S", "U", "H", "T1", "AUSUC"))
    return evaluate_summary(summary, gamma)


def summarise_tests(
    cache: Cache, method: Method, on_block: OnBlock | None = None
) -> Summary | None:
    """Score the test images, block by block, and summarise the scores; None without any.

    Args:
        cache, method: as in `evaluate_method`.
        on_block: called with the scores (n, C) and labels (n,) of each block.
    """
    test = np.flatnonzero(np.isin(cache.splits, ("test_seen", "test_unseen")))
    order = np.concatenate([np.flatnonzero(cache.seen), np.flatnonzero(~cache.seen)])
    column = np.argsort(order)
    size = scored_together(len(column))
    blocks = [test[start : start + size] for start in range(0, len(test), size)]
    device = method.problem.images.device

    def read_images(rows: NDArray[np.int64]) -> torch.Tensor:
        images = torch.from_numpy(np.array(cache.images[rows])).to(device)
        release(cache.images)
        return images

    summaries = []
    with torch.no_grad():
        if blocks:
            method.observe_queries(lambda: map(read_images, blocks))
        for rows in blocks:
            scores = _checked_scores(
                method, method.scores(read_images(rows)), (len(rows), len(column))
            )
            scores = scores[:, column]
            summaries.append(summarise(scores, cache.labels[rows], cache.seen))
            if on_block is not None:
                on_block(scores, cache.labels[rows])
    return Summary.join(summaries) if summaries else None
