"""Record what the report's figures need: `details.json`, small, for reporting only."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pzsl.evaluation import Summary, class_hits, thin_curve, top_confusions
from pzsl.methods.core import AdaptedMethod, Method
from pzsl.store import Cache
from pzsl.training.task import Task

IMAGES, CANDIDATES = 6, 8
"""Training images whose label weights are recorded, and how many candidates of each."""
PAIRS, POINTS, MAPPED = 30, 121, 1000
"""Most confused pairs, points of the curve, and label embeddings of the map."""


class Watched:
    """A few training images whose label weights are recorded after each epoch.

    They are spread evenly over the images with several candidates. Of each, the true label, if
    known, and the candidates nearest in frozen CLIP are recorded. The choice depends on the data
    alone, so that a resumed run records the same.
    """

    def __init__(self, method: Method, task: Task) -> None:
        ambiguous = np.flatnonzero(task.problem.candidates.sizes.cpu().numpy() > 1)
        steps = np.linspace(0, max(len(ambiguous) - 1, 0), min(IMAGES, len(ambiguous))).round()
        self.rows: list[int] = ambiguous[steps.astype(int)].tolist()
        self.method = method
        self.labels = [_nearest(task, row) for row in self.rows]

    def weights(self) -> list[list[float]]:
        """The current label weight of each watched candidate, per image."""
        return [
            _weights_of(self.method, row, labels)
            for row, labels in zip(self.rows, self.labels, strict=True)
        ]


def _nearest(task: Task, row: int) -> list[int]:
    """Candidates of an image, as columns of the seen classes: the truth, then the nearest."""
    problem, candidates = task.problem, task.problem.candidates
    start, end = candidates.offsets[row : row + 2].tolist()
    labels = candidates.labels[start:end].cpu().long()
    image = problem.images[torch.tensor([row], device=candidates.offsets.device)]
    cosines = (image @ problem.seen.T)[0].cpu()[labels]
    is_wrong = (labels != int(task.truth[row])).long()
    order = sorted(range(len(labels)), key=lambda i: (int(is_wrong[i]), -float(cosines[i])))
    return [int(labels[i]) for i in order[:CANDIDATES]]


def _weights_of(method: Method, row: int, labels: list[int]) -> list[float]:
    start, end = method.candidates.offsets[row : row + 2].tolist()
    labels_of_image = method.candidates.labels[start:end].tolist()
    weights = dict(zip(labels_of_image, method.weights[start:end].tolist(), strict=True))
    return [round(weights.get(label, 0.0), 4) for label in labels]


def details_of(
    cache: Cache, task: Task, watched: Watched, summary: Summary | None, gamma: float
) -> dict[str, Any]:
    """The contents of `details.json`; class ids are those of the cache.

    Args:
        cache: with images, classes and splits.
        task: of the run.
        watched: some training images, with the trained method.
        summary: of the test images; None without any.
        gamma: of the run.
    """
    seen_ids = np.flatnonzero(cache.seen)
    known_truth = task.truth[task.truth >= 0]
    train = np.bincount(seen_ids[known_truth], minlength=len(cache.seen))
    details: dict[str, Any] = {
        "classes": {
            "name": list(cache.classes),
            "seen": cache.seen.astype(int).tolist(),
            "train": train.tolist(),
        },
        "map": label_map(watched.method, np.argsort(~cache.seen, kind="stable")),
        "images": [
            {
                "path": str(cache.paths[task.rows[row]]),
                "truth": int(seen_ids[task.truth[row]]) if task.truth[row] >= 0 else None,
                "candidates": [int(seen_ids[label]) for label in labels],
                "weights": weights,
            }
            for row, labels, weights in zip(
                watched.rows, watched.labels, watched.weights(), strict=True
            )
        ],
    }
    if summary is not None:
        test, hits = class_hits(summary, gamma, len(cache.seen))
        details["classes"] |= {"test": test.tolist(), "hits": hits.tolist()}
        details["confusions"] = top_confusions(summary, gamma, PAIRS)
        details["curve"] = dict(zip(("S", "U"), thin_curve(summary, POINTS), strict=True))
    return details


def label_map(method: Method, ids: Any) -> dict[str, Any] | None:
    """Label embeddings before and after training in the plane of their two principal components.

    Args:
        method: trained.
        ids: (C,) class id of each of its columns.

    Returns:
        `class` ids, at most `MAPPED`, with `before` and `after`, each (n, 2); None if the method
        has no label embeddings of its own, or fewer than three.
    """
    if not isinstance(method, AdaptedMethod) or len(ids) < 3:
        return None
    chosen = np.unique(np.linspace(0, len(ids) - 1, min(MAPPED, len(ids))).round().astype(int))
    with torch.no_grad():
        before, after = method.frozen_labels, method.label_embeddings()
    embeddings = torch.cat([before[chosen], after[chosen]]).cpu().double()  # MPS knows no float64
    embeddings -= embeddings.mean(0)
    _, vectors = torch.linalg.eigh(embeddings.T @ embeddings)
    plane = _with_fixed_signs(vectors[:, -2:].flip(1))
    points = (embeddings @ plane).numpy().round(4)
    return {
        "class": np.asarray(ids)[chosen].tolist(),
        "before": points[: len(chosen)].tolist(),
        "after": points[len(chosen) :].tolist(),
    }


def _with_fixed_signs(vectors: Tensor) -> Tensor:
    """Flip columns to make each one's largest component positive: the same on any machine."""
    largest = vectors.abs().argmax(0, keepdim=True)
    return vectors * vectors.gather(0, largest).sign()
