"""Small caches for tests: headers, unit vectors, and a writer that fills everything."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pzsl.store import CacheHeader, CacheWriter

DIM = 5
CLASSES = ("black cat", "weißer Hund", "鳥", "fish")
TEMPLATES = ("a photo of a {}.", "{}")


def unit(seed: int, *shape: int) -> NDArray[np.float32]:
    """Random unit vectors over the last axis."""
    vectors = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def header(count: int = 7, **changes: Any) -> CacheHeader:
    """A valid header of `count` images; the last of the four classes is unseen."""
    labels = np.arange(count, dtype=np.int64) % len(CLASSES)
    splits = np.where(labels == 3, "test_unseen", np.where(labels == 1, "test_seen", "trainval"))
    plain = CacheHeader(
        dataset="pets",
        split_hash="5" * 64,
        origin={"root": "/pets"},
        classes=CLASSES,
        seen=np.array([True, True, True, False]),
        templates=TEMPLATES,
        paths=tuple(f"{CLASSES[label]}/{row}.jpg" for row, label in enumerate(labels)),
        labels=labels,
        splits=splits,
        dim=DIM,
        model="tiny",
        pretrained="built-in",
        weights_hash="w" * 64,
        preprocessing={"size": 64, "mean": (0.5, 0.5, 0.5)},
        logit_scale=50.0,
        precision="fp32",
    )
    return replace(plain, **changes)


def candidates(head: CacheHeader) -> CacheHeader:
    """The header with real candidate sets: the label's row if seen, and class 0."""
    sets = [sorted({0, int(label) % 3}) for label in head.labels]
    return replace(
        head,
        candidate_offsets=np.cumsum([0, *map(len, sets)], dtype=np.int64),
        candidate_labels=np.concatenate(sets).astype(np.int32),
    )


def images(count: int) -> NDArray[np.float32]:
    """(N, D) image embeddings of the test caches."""
    return unit(1, count, DIM)


def views(count: int, each: int) -> NDArray[np.float32]:
    """(N, K, D) embeddings of their views."""
    return unit(2, count, each, DIM)


def text() -> NDArray[np.float32]:
    """(C, T, D) text embeddings of the test caches."""
    return unit(3, len(CLASSES), len(TEMPLATES), DIM)


def fill(writer: CacheWriter, count: int, each: int = 0, batch: int = 3) -> None:
    """Write all that a writer still lacks."""
    if writer.text_pending:
        writer.write_text(text())
    pending = writer.pending
    for start in range(0, len(pending), batch):
        rows = pending[start : start + batch]
        writer.write(rows, images(count)[rows], views(count, each)[rows] if each else None)


def make(path: Path, head: CacheHeader | None = None, **options: Any) -> Path:
    """A whole cache at `path`."""
    head = head or header()
    count = len(head.paths)
    with CacheWriter(path, head, **options) as writer:
        fill(writer, count, options.get("views", 0), batch=max(3, count // 100))
        return writer.finish()
