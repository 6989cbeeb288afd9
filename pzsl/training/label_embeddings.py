"""Label embeddings from prompts, attributes or both, in the images' embedding space."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pzsl.candidates import CandidateSets
from pzsl.errors import UserError
from pzsl.methods.core import CandidateEntries, TrainingFeatures
from pzsl.store import Cache

RIDGE = 1.0
"""Strength of the ridge regression's penalty."""
ROUNDS = 5
"""Rounds of regression and re-weighting."""
CONSTANT = 1e-6
"""Largest deviation, relative to the mean if that is above 1, of an attribute without any: larger
than what rounding leaves."""

Matrix = NDArray[np.float32]


def label_vectors(cache: Cache, kind: str, rows: NDArray[np.int64], sets: CandidateSets) -> Matrix:
    """Unit label embeddings of all classes in the space of the images.

    Args:
        cache: with per-template text vectors and, for attributes, class attributes.
        kind: `text`, `attributes` (projected), or `both` (the mean of the two, renormalised).
        rows: (N,) training rows.
        sets: their candidates.

    Returns:
        (C, D) float32 unit vectors.

    Raises:
        UserError: attributes are needed, but the cache has none.
    """
    if kind == "text":
        return cache.label_embeddings()
    return _projected_labels(cache, kind).project(np.asarray(cache.images[rows]), sets, cache.seen)


def label_source(cache: Cache, kind: str) -> ProjectedLabels | None:
    """What `label_vectors` are made of, the seen classes first; None for `text`.

    Raises:
        UserError: as `label_vectors`.
    """
    if kind == "text":
        return None
    return _projected_labels(cache, kind).reordered(np.argsort(~cache.seen, kind="stable"))


def _projected_labels(cache: Cache, kind: str) -> ProjectedLabels:
    if cache.attributes is None:
        raise UserError(f"{cache.path} holds no attributes: use --labels text.")
    text = cache.label_embeddings() if kind == "both" else None
    return ProjectedLabels(np.asarray(cache.attributes), text)


@dataclass(frozen=True)
class ProjectedLabels:
    """Label embeddings from attributes; the `LabelSource` of `attributes` and `both`.

    Attributes:
        attributes: (C, A) of all classes.
        text: (C, D) their text embeddings, to be averaged with the projected attributes; or None.
    """

    attributes: Matrix
    text: Matrix | None

    def project(self, images: Matrix, sets: CandidateSets, seen: NDArray[np.bool_]) -> Matrix:
        """Unit label embeddings (C, D); arguments as of `project_attributes`."""
        projected = project_attributes(images, sets, self.attributes, seen)
        return projected if self.text is None else unit(projected + self.text)

    def embeddings(
        self, images: TrainingFeatures, candidates: CandidateEntries, seen: int
    ) -> Tensor:
        """Unit label embeddings (C, D) from images (N, D) of the first `seen` classes."""
        offsets, labels = candidates.offsets, candidates.labels
        array = images[torch.arange(len(images), device=offsets.device)].cpu().numpy()
        sets = CandidateSets(offsets.cpu().numpy(), labels.cpu().numpy())
        is_seen = np.arange(len(self.attributes)) < seen
        return torch.from_numpy(self.project(array, sets, is_seen)).to(offsets.device)

    def reordered(self, order: Tensor | NDArray[np.int64]) -> ProjectedLabels:
        """The same with the classes in another order (C,)."""
        rows = np.asarray(torch.as_tensor(order).cpu())
        text = None if self.text is None else self.text[rows]
        return ProjectedLabels(self.attributes[rows], text)


def project_attributes(
    images: Matrix, sets: CandidateSets, attributes: Matrix, seen: NDArray[np.bool_]
) -> Matrix:
    """Learn a linear map from attributes to images: ridge regression on candidate-weighted means.

    Weights start uniform within each candidate set. Each round regresses the class means on the
    attributes, then weights each image's candidates by their similarity to it: a small EM (ours;
    the map is that of embarrassingly simple ZSL, Romera-Paredes and Torr 2015, in the other
    direction).

    Args:
        images: (N, D) training images.
        sets: their candidates.
        attributes: (C, A) of all classes.
        seen: (C,) which classes are seen.

    Returns:
        (C, D) unit label embeddings.
    """
    from scipy.sparse import csr_array  # half a second, for attributes alone

    standardised = standardise(attributes, seen)
    column = np.cumsum(seen) - 1
    row, label = sets.rows(), column[sets.labels]
    weights = np.repeat(1.0 / sets.sizes(), sets.sizes())
    centre = images.mean(axis=0)
    centred = images - centre
    seen_attributes = standardised[seen]
    for _ in range(ROUNDS):
        counts = np.bincount(label, weights, minlength=len(seen_attributes))
        sums = (
            csr_array((weights, (label, row)), shape=(len(seen_attributes), len(images))) @ centred
        )
        # Least squares over images: each class counts by the sum of its weights.
        gram = seen_attributes.T @ (counts[:, None] * seen_attributes) + RIDGE * np.eye(
            seen_attributes.shape[1]
        )
        mapped = standardised @ np.linalg.solve(gram, seen_attributes.T @ sums)
        cosines = np.einsum("md,md->m", unit(centred)[row], unit(mapped[seen])[label])
        weights = np.exp(20 * (cosines - 1))
        weights /= np.bincount(row, weights, minlength=len(images))[row]
    return unit(mapped + centre)


def standardise(attributes: Matrix, seen: NDArray[np.bool_]) -> Matrix:
    """Attributes (C, A) with mean 0 and deviation 1 over seen classes, and a 1: (C, A + 1).

    An attribute that is constant over the seen classes is only centred.
    """
    values = attributes.astype(np.float64)
    mean, deviation = values[seen].mean(axis=0), values[seen].std(axis=0)
    varies = deviation > CONSTANT * np.maximum(np.abs(mean), 1)
    scaled = (values - mean) / np.where(varies, deviation, 1)
    return np.hstack([scaled, np.ones((len(scaled), 1))]).astype(np.float32)


def unit(vectors: NDArray[np.floating]) -> Matrix:
    """Rows divided by their lengths; a row of zeros stays as it is."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), dtype=np.float32)
