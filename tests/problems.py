"""Small problems with a known answer for tests of stage two."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pzsl.candidates import generate
from pzsl.methods.core.candidate_entries import CandidateEntries
from pzsl.methods.core.method import Method, Problem
from pzsl.store import CacheHeader, CacheWriter


def unit(array: np.ndarray) -> np.ndarray:
    return (array / np.linalg.norm(array, axis=-1, keepdims=True)).astype(np.float32)


def make_problem(
    seed: int = 0,
    images: int = 240,
    seen: int = 8,
    unseen: int = 4,
    dim: int = 16,
    rate: float = 0.3,
    eta: float = 0.0,
    spread: float = 0.12,
) -> tuple[Problem, np.ndarray]:
    """Images around their class vectors; label embeddings near those. Returns the truth too."""
    rng = np.random.default_rng(seed)
    centres = unit(rng.standard_normal((seen + unseen, dim)))
    truth = np.arange(images) % seen
    points = unit(centres[truth] + spread * rng.standard_normal((images, dim)))
    text = unit(centres + 0.08 * rng.standard_normal(centres.shape))
    sets = generate(
        "noisy" if eta else "uniform",
        truth=truth,
        ids=[f"image/{row}" for row in range(images)],
        seen=np.ones(seen, dtype=bool),
        rate=rate,
        eta=eta,
        seed=seed,
    )
    candidates = CandidateEntries.of(
        torch.from_numpy(sets.offsets), torch.from_numpy(sets.labels).long()
    )
    tensors = torch.from_numpy(points), torch.from_numpy(text)
    problem = Problem(tensors[0], candidates, tensors[1][:seen], tensors[1][seen:], scale=20.0)
    return problem, truth


def prepared(method: Method) -> Method:
    """A method that has looked at its training data, as runs have it before they train."""
    with torch.no_grad():
        method.prepare()
    return method


_written: dict[Hashable, bytes] = {}
"""Caches that were written already, by their name and all that was asked for."""


def write_cache(path: Path, **given: Any) -> Path:
    """A cache as `_write_cache` makes it; the second of the same name and words is a copy."""
    values = (v.tobytes() if isinstance(v, np.ndarray) else v for v in given.values())
    key = path.stem, *zip(given, values, strict=True)
    if key not in _written or path.exists():
        _write_cache(path, **given)
        _written[key] = path.read_bytes()
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_written[key])
    return path


def _write_cache(
    path: Path,
    seed: int = 0,
    seen: int = 8,
    unseen: int = 4,
    dim: int = 16,
    each: int = 20,
    candidates: bool = False,
    attributes: np.ndarray | None = None,
    centres: np.ndarray | None = None,
    spread: float = 0.25,
    mislabelled: float | None = None,
    unlabelled: int = 0,
) -> None:
    """A cache with all splits: two thirds of each seen class train, unseen classes only test.

    `mislabelled`: training images come with one label each, a wrong one for that share of them.
    `unlabelled`: so many images have no label.
    """
    rng = np.random.default_rng(seed)
    classes = seen + unseen
    middle = unit(rng.standard_normal((classes, dim))) if centres is None else unit(centres)
    labels = np.repeat(np.arange(classes), each)
    is_seen = np.arange(classes) < seen
    number = np.tile(np.arange(each), classes)
    splits = np.where(is_seen[labels], np.where(number % 3 < 2, "trainval", "test_seen"), "")
    splits = np.where(splits == "", "test_unseen", splits)
    dim = middle.shape[1]
    features = unit(middle[labels] + spread * rng.standard_normal((len(labels), dim)))
    text = unit(middle + 0.15 * rng.standard_normal(middle.shape))[:, None]
    extra = {}
    if candidates:
        sets = [
            sorted({int(label), (int(label) + 1) % seen} - set(range(seen, classes))) or [0]
            for label in labels
        ]
        extra["candidate_offsets"] = np.cumsum([0, *map(len, sets)], dtype=np.int64)
        extra["candidate_labels"] = np.concatenate(sets).astype(np.int32)
    if mislabelled is not None:
        wrong = (splits == "trainval") & (rng.random(len(labels)) < mislabelled)
        given = np.where(wrong, (labels + rng.integers(1, seen, len(labels))) % seen, labels)
        extra["candidate_offsets"] = np.cumsum([0, *(splits == "trainval")], dtype=np.int64)
        extra["candidate_labels"] = given[splits == "trainval"].astype(np.int32)
    labels[:unlabelled] = -1
    header = CacheHeader(
        dataset=path.stem,
        split_hash="0" * 64,
        origin={},
        classes=tuple(f"class {c}" for c in range(classes)),
        seen=is_seen,
        templates=("a {}.",),
        paths=tuple(f"{label}/{row}.png" for row, label in enumerate(labels)),
        labels=labels.astype(np.int64),
        splits=splits,
        dim=dim,
        model="made",
        pretrained="",
        weights_hash="",
        preprocessing={},
        logit_scale=20.0,
        precision="fp32",
        attributes=attributes,
        **extra,
    )
    with CacheWriter(path, header) as writer:
        writer.write_text(text)
        writer.write(np.arange(len(labels)), features)
        writer.finish()
