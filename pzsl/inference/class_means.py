"""Means of ambiguous images, which stand for label embeddings where none are given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pzsl.candidates import CandidateSets
from pzsl.errors import UserError
from pzsl.methods.core import CandidateEntries, TrainingFeatures

TINY = 1e-9
"""A mean of unit vectors that is shorter has no direction."""


def class_means(
    images: NDArray[np.float32], sets: CandidateSets, classes: int
) -> NDArray[np.float32]:
    """The unit mean embedding of each class; an image counts equally for its candidates.

    Args:
        images: (N, D) unit embeddings.
        sets: the candidates of the N images.
        classes: C, how many there are.

    Returns:
        (C, D).

    Raises:
        UserError: a class has no image, or the mean of its images is zero.
    """
    means = _sums(images, sets, classes)
    lengths = np.linalg.norm(means, axis=1)
    if (lengths < TINY).any():
        raise UserError(
            f"Class {int(lengths.argmin())} has no image, or its images have no common direction: "
            "give label_embeddings."
        )
    return np.asarray(means / lengths[:, None], dtype=np.float32)


@dataclass(frozen=True)
class ClassMeans:
    """The `LabelSource` of an estimator without label embeddings.

    A held-out image that had a part in its class's mean would lie nearer to it than a new one.
    """

    def embeddings(
        self, images: TrainingFeatures, candidates: CandidateEntries, seen: int
    ) -> Tensor:
        """Unit means (C, D) of images (N, D); of all images for a class that has none here."""
        offsets, labels = candidates.offsets, candidates.labels
        array = images[torch.arange(len(images), device=offsets.device)].cpu().numpy()
        means = _sums(array, CandidateSets(offsets.cpu().numpy(), labels.cpu().numpy()), seen)
        lengths = np.linalg.norm(means, axis=1, keepdims=True)
        means = np.where(lengths < TINY, array.mean(axis=0), means)
        lengths = np.linalg.norm(means, axis=1, keepdims=True)
        unit = means / np.maximum(lengths, TINY)
        return torch.from_numpy(unit.astype(np.float32)).to(offsets.device)

    def reordered(self, order: Tensor) -> ClassMeans:
        """The same: means come in the order of the candidates' classes."""
        return self


def _sums(images: NDArray[np.float32], sets: CandidateSets, classes: int) -> NDArray[np.float64]:
    """Sums (C, D) of images (N, D), each divided evenly among its candidates."""
    sums = np.zeros((classes, images.shape[1]))
    np.add.at(sums, sets.labels, (images * image_shares(sets)[:, None])[sets.rows()])
    return sums


def image_shares(sets: CandidateSets) -> NDArray[np.float64]:
    """How much of an image counts for each of its candidates (N,)."""
    return 1.0 / sets.sizes()
