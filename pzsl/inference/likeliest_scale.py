"""The logit scale of embeddings that come with none, or with a wrong one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pzsl.candidates import CandidateSets
from pzsl.evaluation import log_likelihoods, sample_size, scale_doubt
from pzsl.inference.class_means import image_shares

USUAL_SCALE = 100.0
"""OpenAI's, and that of most CLIP models."""
_SCALES = USUAL_SCALE * 1.2 ** np.arange(-19, 7)
"""3 to 300."""
_COSINES = 4_000_000
"""Images of as many cosines are looked at."""
_IMAGES = 4096


def likeliest_scale(images: NDArray[np.float32], sets: CandidateSets, classes: int) -> float:
    """The logit scale at which class means predict the candidates of left-out images best.

    An encoder of images alone has no logit scale, and cosines of pixels, of centred features or of
    a few principal components lie much farther apart than CLIP's, or much closer together: at 100
    right labels are then taken for wrong, or wrong ones for right. The likelihood that an image's
    class is among its candidates, where the image has no part in the means, times a density around
    100 with a deviation of a factor of three, so that few images change little (ours).

    Args:
        images: (N, D) unit image embeddings.
        sets: their candidates among `classes` classes.
    """
    chosen = np.flatnonzero(sets.sizes() < classes)
    most = min(_IMAGES, max(1, _COSINES // classes))
    if len(chosen) > most:
        chosen = np.sort(np.random.default_rng(0).choice(chosen, most, replace=False))
    cosines, is_candidate = _left_out_cosines(images, sets, classes, chosen)
    inside = np.where(is_candidate, cosines, -np.inf).max(axis=1, initial=-np.inf)
    outside = np.where(is_candidate, -np.inf, cosines).max(axis=1, initial=-np.inf)
    known = np.isfinite(inside) & np.isfinite(outside)  # else the image says nothing
    cosines, is_candidate = cosines[known], is_candidate[known]
    prior = -0.5 * (np.log(_SCALES / USUAL_SCALE) / np.log(3)) ** 2
    likelihoods = log_likelihoods(cosines, is_candidate, _SCALES)
    return float(_SCALES[(prior + likelihoods).argmax()])


def _left_out_cosines(
    images: NDArray[np.float32], sets: CandidateSets, classes: int, chosen: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Cosines (n, C) of images with the means of all others, and which are candidates (n, C).

    A class that no other image tells apart has -inf.
    """
    rows, shares, telling = sets.rows(), image_shares(sets), sets.sizes() < classes
    sums = np.zeros((classes, images.shape[1]))
    np.add.at(sums, sets.labels, images[rows] * shares[rows][:, None])
    part, own = sets.subset(chosen), np.zeros((len(chosen), classes))
    own[part.rows(), part.labels] = shares[chosen][part.rows()]
    products = images[chosen] @ sums.T
    squares = (sums * sums).sum(axis=1) - 2 * own * products + own * own
    others = np.bincount(sets.labels[telling[rows]], minlength=classes) - (own > 0)
    cosines = (products - own) / np.sqrt(np.maximum(squares, 1e-12))
    return np.where(others > 0, cosines, -np.inf), own > 0


def doubt_scale(
    images: NDArray[np.float32],
    labels: NDArray[np.float32],
    sets: CandidateSets,
    seen: NDArray[np.bool_],
    scale: float,
) -> str | None:
    """One line where the scale of images and label embeddings is too small by far; else None.

    Args:
        images: (N, D) unit image embeddings.
        labels: (C, D) label embeddings of all classes.
        sets: candidates among them.
        seen: (C,) whether a class is seen.
        scale: that was given, or taken for want of another.
    """
    count = sample_size(len(images), int(seen.sum()))
    part = sets.subset(chosen := np.arange(count) * len(images) // count)
    is_candidate = np.zeros((count, len(seen)), dtype=bool)
    is_candidate[part.rows(), part.labels] = True
    remedy = "Give the encoder's own: scale=model.logit_scale.exp().item() in open_clip."
    return scale_doubt(images[chosen] @ labels[seen].T, is_candidate[:, seen], scale, remedy)
