"""An open feature cache."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pzsl.errors import UserError
from pzsl.files import digest, state_of
from pzsl.store.hdf5 import SPLITS, FileRows, block_sums, decoded
from pzsl.store.unit_length import lengths
from pzsl.store.whole_numbers import as_whole


@dataclass(frozen=True, eq=False)
class Cache:
    """Frozen embeddings of a data set's images and class prompts.

    Attributes:
        path: of the file.
        dataset: name of the data set.
        split_hash: equal hashes mean comparable results.
        classes: (C,) class names.
        seen: (C,) bool.
        templates: (T,) prompt templates; empty if attributes describe the classes.
        paths: (N,) image ids.
        labels: (N,) int64 rows of `classes`, -1 where unknown.
        splits: (N,) `trainval`, `test_seen` or `test_unseen`.
        images: (N, D) float32 unit image embeddings; a read-only map into the file, an array in
            memory if the file holds half floats, or `FileRows` in the parts of a virtual cache.
        text: (C, T, D) float32 unit text embeddings, one per class and template.
        attributes: (C, A) float32, or None.
        candidate_offsets: (N + 1,) int64, or None; see `CacheHeader`.
        candidate_labels: (M,) int32, or None.
        views: (N, K, D) float32 unit embeddings of augmented views, or None.
        logit_scale: s, the factor of cosines.
        provenance: the file's attributes: model, weights, preprocessing, versions, time.
    """

    path: Path
    dataset: str
    split_hash: str
    classes: tuple[str, ...]
    seen: NDArray[np.bool_]
    templates: tuple[str, ...]
    paths: tuple[str, ...]
    labels: NDArray[np.int64]
    splits: NDArray[np.str_]
    images: NDArray[np.float32]
    text: NDArray[np.float32]
    attributes: NDArray[np.float32] | None
    candidate_offsets: NDArray[np.int64] | None
    candidate_labels: NDArray[np.int32] | None
    views: NDArray[np.float32] | None
    logit_scale: float
    provenance: dict[str, Any]

    @property
    def view_kinds(self) -> tuple[str, ...]:
        """(K,) `weak` or `strong` for each view; empty if unknown."""
        return tuple(self.provenance.get("augmentation", {}).get("kinds", ()))

    @property
    def part(self) -> dict[str, Any]:
        """Which part of a cache this is, see `Part`; {} for a complete cache."""
        part: dict[str, Any] = self.provenance.get("part", {})
        return part

    @property
    def annotation(self) -> dict[str, Any]:
        """How `pzsl annotate` made the candidate sets; {} if it didn't."""
        annotation: dict[str, Any] = self.provenance.get("annotation", {})
        return annotation

    def label_embeddings(self) -> NDArray[np.float32]:
        """Label embeddings: the mean over the templates, renormalised (Radford et al. 2021).

        Returns:
            (C, D) float32 unit vectors.

        Raises:
            UserError: the cache holds attributes instead of text embeddings.
        """
        if not self.templates:
            raise UserError(f"{self.path} holds no text embeddings: use --labels attributes.")
        mean = self.text.mean(axis=1)
        return np.asarray(mean / lengths(mean)[:, None], dtype=np.float32)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of everything that results depend on, without file name, time and versions."""
        parts: list[str | bytes] = []
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, (np.ndarray, FileRows)) and value.dtype.kind != "U":
                parts += [
                    f"{field.name} {value.dtype.str} {value.shape}",
                    block_sums(value).tobytes(),
                ]
            elif field.name not in ("path", "provenance"):
                texts = value.tolist() if isinstance(value, np.ndarray) else value
                parts.append(f"{field.name} {texts!r}")
        if self.view_kinds:
            parts.append(f"view kinds {self.view_kinds}")
        annotation = {name: value for name, value in self.annotation.items() if name != "created"}
        if annotation:
            parts.append(f"annotation {json.dumps(annotation, sort_keys=True)}")
        return digest(*parts)

    def check_unchanged(self) -> None:
        """Check that the file was not changed since it was opened.

        Another file that was moved to its path does no harm: the maps still show the first one.

        Raises:
            UserError: the file was changed, so data read since then may be inconsistent.
        """
        when_opened, now = self.__dict__.get("_state"), state_of(self.path)
        if when_opened and now[:2] == when_opened[:2] and now != when_opened:
            raise UserError(
                f"{self.path} was written into while it was read: run the same command again, and "
                "replace a cache by moving another file to its place (mv), not by copying (cp)."
            )

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Decode labels, paths and splits on first use: a million of them take long."""
            encoded = self.__dict__.get("_encoded", {})
            if name not in encoded:
                raise AttributeError(f"'Cache' has no attribute '{name}'")
            value = LAZY[name](encoded[name], self.path)
            object.__setattr__(self, name, value)
            return value


def _paths(encoded: NDArray[Any], path: Path) -> tuple[str, ...]:
    return tuple(decoded(encoded, path))


def _splits(encoded: NDArray[Any], path: Path) -> NDArray[np.str_]:
    """Decode by comparing with the few known names: four times faster than one by one."""
    splits = np.zeros(len(encoded), dtype=f"U{max(map(len, SPLITS))}")
    for name in SPLITS:
        splits[encoded == name.encode()] = name
    return splits if (splits != "").all() else np.array(decoded(encoded, path), dtype=np.str_)


def _labels(stored: NDArray[Any], path: Path) -> NDArray[np.int64]:
    return as_whole(stored, np.int64, f"{path}: /image/label")


LAZY = {"labels": _labels, "paths": _paths, "splits": _splits}
"""Attributes that are decoded on first use -> the function that decodes them."""
