"""Read a feature cache: validated once here, trusted everywhere behind."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pzsl.errors import UserError
from pzsl.files import state_of
from pzsl.store.cache import LAZY, Cache
from pzsl.store.hdf5 import AGAIN, Stored, checksum_problems, decoded, read_stored
from pzsl.store.unit_length import CHUNK
from pzsl.store.validation import content_problems, feature_problems
from pzsl.store.whole_numbers import as_whole

PARTIAL = ".partial"
"""Ending of a cache in the making; the file without it is whole."""
GO_ON = "run the command that began it again, it goes on where it stopped"


def partial_path(path: Path) -> Path:
    """Where the cache `path` is kept until it is whole."""
    return path if path.name.endswith(PARTIAL) else path.with_name(path.name + PARTIAL)


def load_cache(path: str | Path, check: bool = True, part: bool = False) -> Cache:
    """Open a whole cache.

    Args:
        path: of the file.
        check: look at all contents once, in chunks: embeddings finite and of length one, labels
            in range, names unique, candidates usable, all as their checksums say. Without it only
            schema, shapes and missing rows are checked, which takes milliseconds at any size.
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
    state, stored = state_of(path), read_stored(path)
    for problem in missing_rows(stored):
        raise UserError(f"{path}: {problem}: {GO_ON}.")
    if stored.attributes["part"] and not part:
        raise UserError(f"{path} is part of a cache: put all parts together with 'pzsl merge'.")
    cache = as_cache(path, stored)
    object.__setattr__(cache, "_state", state)
    if check:
        for problem in chain(cache_problems(cache), checksum_problems(stored)):
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
        candidate_offsets=_whole(path, arrays, "/image/candidates/offsets", np.int64),
        candidate_labels=_whole(path, arrays, "/image/candidates/labels", np.int32),
        views=_single(arrays["/image/views"]) if "/image/views" in arrays else None,
        logit_scale=attributes["logit_scale"],
        provenance=attributes,
    )
    encoded = {name: arrays[f"/image/{name.removesuffix('s')}"] for name in LAZY}
    object.__setattr__(cache, "_encoded", encoded)
    for name in encoded:
        object.__delattr__(cache, name)
    return cache


def _whole(
    path: Path, arrays: dict[str, NDArray[Any]], name: str, dtype: type
) -> NDArray[Any] | None:
    return as_whole(arrays[name], dtype, f"{path}: {name}") if name in arrays else None


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
