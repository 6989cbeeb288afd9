"""Read a feature cache: validated once here, trusted everywhere behind."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pzsl.errors import UserError
from pzsl.files import digest
from pzsl.store.disk import release
from pzsl.store.layout import SPLITS
from pzsl.store.stored import AGAIN, Stored, decoded, read_stored
from pzsl.store.validation import CHUNK, content_problems, feature_problems, lengths

PARTIAL = ".partial"
"""Ending of a cache in the making; the file without it is whole."""
GO_ON = "run the command that began it again, it goes on where it stopped"


def partial_path(path: Path) -> Path:
    """Where the cache `path` is kept until it is whole."""
    return path if path.name.endswith(PARTIAL) else path.with_name(path.name + PARTIAL)


@dataclass(frozen=True, eq=False)
class Cache:
    """Frozen embeddings of a data set's images and class prompts.

    Attributes:
        path: of the file.
        dataset: name of the data set.
        split_hash: equal hashes mean comparable results.
        classes: (C,) class names.
        seen: (C,) bool.
        templates: (T,) prompt templates; none where attributes stand for the classes.
        paths: (N,) image ids.
        labels: (N,) int64 rows of `classes`, -1 where unknown.
        splits: (N,) `trainval`, `test_seen` or `test_unseen`.
        images: (N, D) float32 unit image embeddings; a read-only map into the file, or an array
            in memory where the file holds half floats.
        text: (C, T, D) float32 unit text embeddings, one per class and template.
        attributes: (C, A) float32, or None.
        candidate_offsets: (N + 1,) int64, or None; see `CacheHeader`.
        candidate_labels: (M,) int32, or None.
        views: (N, K, D) float32 unit embeddings of augmented views, or None.
        logit_scale: s, what cosines are multiplied with.
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
        """(K,) `weak` or `strong` for each view; empty where nobody said."""
        return tuple(self.provenance.get("augmentation", {}).get("kinds", ()))

    @property
    def part(self) -> dict[str, Any]:
        """Which part of a cache it is, see `Part`; empty where it is whole by itself."""
        found: dict[str, Any] = self.provenance.get("part", {})
        return found

    @property
    def annotation(self) -> dict[str, Any]:
        """How `pzsl annotate` made the candidate sets; empty where it didn't."""
        found: dict[str, Any] = self.provenance.get("annotation", {})
        return found

    def label_embeddings(self) -> NDArray[np.float32]:
        """Label embeddings: the mean over the templates, renormalised (Radford et al. 2021).

        Returns:
            (C, D) float32 unit vectors.

        Raises:
            UserError: the cache holds attributes in place of text embeddings.
        """
        if not self.templates:
            raise UserError(f"{self.path} holds no text embeddings: use --labels attributes.")
        mean = self.text.mean(axis=1)
        return np.asarray(mean / lengths(mean)[:, None], dtype=np.float32)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all that results depend on; not of file name, time or package versions."""
        parts: list[str | bytes] = []
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray) and value.dtype.kind != "U":
                parts += [f"{field.name} {value.dtype.str} {value.shape}", _checksums(value)]
            elif field.name not in ("path", "provenance"):
                words = value.tolist() if isinstance(value, np.ndarray) else value
                parts.append(f"{field.name} {words!r}")
        parts += [f"view kinds {self.view_kinds}"] if self.view_kinds else []
        how = {name: value for name, value in self.annotation.items() if name != "created"}
        parts += [f"annotation {json.dumps(how, sort_keys=True)}"] if how else []
        return digest(*parts)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Read labels, paths and splits on first use: a million outlast all the rest."""
            encoded = self.__dict__.get("_encoded", {})
            if name not in encoded:
                raise AttributeError(f"'Cache' has no attribute '{name}'")
            value = LAZY[name](encoded[name], self.path)
            object.__setattr__(self, name, value)
            return value


def _paths(encoded: NDArray[Any], path: Path) -> tuple[str, ...]:
    return tuple(decoded(encoded, path))


def _splits(encoded: NDArray[Any], path: Path) -> NDArray[np.str_]:
    """Decode the few names that there are by comparison: four times faster than one by one."""
    splits = np.zeros(len(encoded), dtype=f"U{max(map(len, SPLITS))}")
    for name in SPLITS:
        splits[encoded == name.encode()] = name
    return splits if (splits != "").all() else np.array(decoded(encoded, path), dtype=np.str_)


def _labels(stored: NDArray[Any], path: Path) -> NDArray[np.int64]:
    return np.array(stored, dtype=np.int64)


LAZY = {"labels": _labels, "paths": _paths, "splits": _splits}
"""What is read on first use, and how."""


def _checksums(array: NDArray[Any]) -> bytes:
    """CRC-32 of each megabyte: eight times faster than SHA-256, and enough against accidents."""
    data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    sums = []
    for start in range(0, len(data), 2**20):
        sums.append(zlib.crc32(data[start : start + 2**20].data).to_bytes(4, "little"))
        release(array)
    return b"".join(sums)


def load_cache(path: str | Path, check: bool = True, part: bool = False) -> Cache:
    """Open a whole cache.

    Args:
        path: of the file.
        check: look at all contents once, in chunks: embeddings finite and of length one, labels
            in range, names unique, candidates usable. Without it only schema, shapes and missing
            rows are checked, which takes milliseconds at any size.
        part: take a part of a cache, too.

    Returns:
        The cache, its image embeddings mapped rather than read where they are float32.

    Raises:
        UserError: no such file, or it isn't whole; the message names the row and the remedy.
    """
    path = Path(path)
    if not path.exists() and partial_path(path).exists():
        raise UserError(
            f"{path}: not finished yet (see 'pzsl inspect {partial_path(path)}'): {GO_ON}."
        )
    stored = read_stored(path)
    for problem in missing_rows(stored):
        raise UserError(f"{path}: {problem}: {GO_ON}.")
    if stored.attributes["part"] and not part:
        raise UserError(f"{path} is part of a cache: put all parts together with 'pzsl merge'.")
    cache = as_cache(path, stored)
    if check:
        for problem in cache_problems(cache):
            raise UserError(f"{path}: {problem}: {AGAIN}.")
    return cache


def as_cache(path: Path, stored: Stored) -> Cache:
    """A cache from what a file holds; half floats become float32, nothing else is touched."""
    arrays, attributes = stored.arrays, stored.attributes
    cache = Cache(
        path=path,
        dataset=str(attributes["dataset"]),
        split_hash=str(attributes["split_hash"]),
        classes=tuple(decoded(arrays["/class/name"], path)),
        seen=np.array(arrays["/class/seen"], dtype=np.bool_),
        templates=tuple(decoded(arrays["/text/template"], path)),
        paths=(),
        labels=np.empty(0, np.int64),
        splits=np.empty(0, np.str_),
        images=_single(arrays["/image/features"]),
        text=np.asarray(arrays["/text/features"], dtype=np.float32),
        attributes=_copy(arrays.get("/class/attributes"), np.float32),
        candidate_offsets=_copy(arrays.get("/image/candidates/offsets"), np.int64),
        candidate_labels=_copy(arrays.get("/image/candidates/labels"), np.int32),
        views=_single(arrays["/image/views"]) if "/image/views" in arrays else None,
        logit_scale=attributes["logit_scale"],
        provenance=attributes,
    )
    encoded = {name: arrays[f"/image/{name.removesuffix('s')}"] for name in LAZY}
    object.__setattr__(cache, "_encoded", encoded)
    for name in encoded:
        object.__delattr__(cache, name)
    return cache


def _copy(array: NDArray[Any] | None, dtype: type) -> NDArray[Any] | None:
    return None if array is None else np.array(array, dtype=dtype)


def _single(array: NDArray[Any]) -> NDArray[np.float32]:
    """The array itself where it is float32, else a float32 copy, made in chunks."""
    if array.dtype == np.float32:
        return array
    whole = np.empty(array.shape, np.float32)
    for start in range(0, len(array), CHUNK):
        whole[start : start + CHUNK] = array[start : start + CHUNK]
    return whole


def missing_rows(stored: Stored) -> Iterator[str]:
    """Say how many rows were never filled, of images and of class prompts."""
    done = stored.arrays.get("/image/done")
    if done is not None and not done.all():
        missing = int((done == 0).sum())
        first = int(np.argmax(done == 0))
        name = stored.arrays["/image/path"][first].decode("utf-8", "replace")
        yield f"{missing:,} of {len(done):,} rows are not filled, the first is {first} ('{name}')"
    done = stored.arrays.get("/text/done")
    if done is not None and not done.all():
        yield "the text embeddings are not written yet"


def cache_problems(cache: Cache) -> Iterator[str]:
    """Say what is wrong with a cache's contents, one line each; empty for a good one."""
    yield from content_problems(cache)
    yield from feature_problems("/text/features", cache.text, cache.classes)
    yield from feature_problems("/image/features", cache.images, cache.paths)
    held = 0 if cache.views is None else cache.views.shape[1]
    if cache.view_kinds and len(cache.view_kinds) != held:
        yield f"{held} views of each image, but kinds of {len(cache.view_kinds)}"
    if cache.views is not None:
        yield from feature_problems("/image/views", cache.views, cache.paths)
