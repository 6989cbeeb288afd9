"""Judge a new cache: zero-shot accuracy of the frozen encoder alone, and warnings."""

from __future__ import annotations

import numpy as np

from pzsl.evaluation import (
    Metrics,
    Summary,
    copied_images,
    encoder_fit,
    evaluate_summary,
    summarise,
)
from pzsl.store import Cache

SCORES = 1 << 24
"""Scores (images x classes) per block: 64 MB."""
NAMES = ("S", "U", "H", "T1")


def zero_shot(cache: Cache) -> Metrics:
    """S, U, H and T1 of the frozen encoder on the test images, without calibration.

    Each image is assigned the class with the most similar label embedding (Radford et al. 2021).

    Args:
        cache: with its test splits; images of unknown class are skipped.

    Returns:
        Percentages; None without such images or without text embeddings. Works in blocks, so memory
        doesn't grow with the number of images.
    """
    if not cache.templates:
        return dict.fromkeys(NAMES)
    labels = cache.label_embeddings()
    test = np.flatnonzero(cache.splits != "trainval")
    step = max(1, SCORES // len(labels))
    parts = [
        summarise(cache.images[rows] @ labels.T, cache.labels[rows], cache.seen)
        for rows in (test[start : start + step] for start in range(0, max(1, len(test)), step))
    ]
    metrics = evaluate_summary(Summary.join(parts))
    return {name: metrics[name] for name in NAMES}


def doubts(cache: Cache) -> list[str]:
    """Warnings about a cache: an encoder that does not fit the images, or copies of images."""
    fit = encoder_fit(cache).warning
    return [*([fit] if fit else []), *copied_images(cache)]
