"""The speed of annotation beside that of the matrix product that it needs."""

from __future__ import annotations

import tracemalloc
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pzsl.bench.timing import interleaved
from pzsl.candidates import annotate_images

CLASSES, TEMPLATES, DIM = 400, 27, 512
IMAGES, QUICK = 16384, 512
BLOCK = 2048
"""Rows of the plain product at a time: the whole of it would be 43 GB for a million images."""
LARGE = 1_000_000

Matrix = NDArray[np.float32]


def measure_annotate(quick: bool) -> dict[str, Any]:
    """Speed and memory of the rule `union`, by turns with a plain product of the same size.

    Args:
        quick: fewer images.

    Returns:
        `setting`, `figures` and `ratios`; the ratio is above 1 where annotation is the faster.
    """
    rng = np.random.default_rng(0)
    images = _unit(rng, QUICK if quick else IMAGES, DIM)
    text = _unit(rng, CLASSES, TEMPLATES, DIM)
    flat = np.ascontiguousarray(text.reshape(-1, DIM).T)
    annotate = partial(
        annotate_images, images, np.arange(len(images)), text, np.arange(CLASSES), "union", 0, 100.0
    )
    peak = _peak_bytes(annotate)
    seconds = interleaved({"annotate": annotate, "product": lambda: _product(images, flat)})
    return {
        "setting": {
            "images": len(images),
            "classes": CLASSES,
            "templates": TEMPLATES,
            "dimensions": DIM,
        },
        "figures": {
            "images a second": len(images) / seconds["annotate"],
            "seconds for a million images": LARGE / len(images) * seconds["annotate"],
            "megabytes beside the images": peak / 1e6,
        },
        "ratios": {"speed, product = 1": seconds["product"] / seconds["annotate"]},
    }


def _unit(rng: np.random.Generator, *shape: int) -> Matrix:
    vectors = rng.standard_normal(shape, dtype=np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


def _product(images: Matrix, flat: Matrix) -> None:
    """Compute all scores and keep none."""
    out = np.empty((min(BLOCK, len(images)), flat.shape[1]), np.float32)
    for start in range(0, len(images), BLOCK):
        np.matmul(images[start : start + BLOCK], flat, out=out)


def _peak_bytes(run: partial[Any]) -> int:
    tracemalloc.start()
    run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak
