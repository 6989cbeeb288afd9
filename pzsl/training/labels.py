"""Label embeddings from prompts, attributes or both, in the images' embedding space."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pzsl.candidates import CandidateSets
from pzsl.errors import UserError
from pzsl.store import Cache

RIDGE = 1.0
"""Strength of the ridge regression's penalty."""
ROUNDS = 5
"""Rounds of regression and re-weighting."""

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
    if cache.attributes is None:
        raise UserError(f"{cache.path} holds no attributes: use --labels text.")
    projected = project_attributes(
        np.asarray(cache.images[rows]), sets, cache.attributes, cache.seen
    )
    return projected if kind == "attributes" else unit(projected + cache.label_embeddings())


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
    """Attributes (C, A) with mean 0 and deviation 1 over seen classes, and a 1: (C, A + 1)."""
    mean, deviation = attributes[seen].mean(axis=0), attributes[seen].std(axis=0)
    scaled = (attributes - mean) / np.where(deviation > 0, deviation, 1)
    return np.hstack([scaled, np.ones((len(scaled), 1))]).astype(np.float32)


def unit(vectors: NDArray[np.floating]) -> Matrix:
    """Rows divided by their lengths; a row of zeros stays as it is."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), dtype=np.float32)
