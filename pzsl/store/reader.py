"""Read a feature cache; it is validated here, and trusted everywhere else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pzsl.errors import UserError
from pzsl.files import state_of
from pzsl.progress import shell_word
from pzsl.requests import with_paths
from pzsl.store.cache import LAZY, Cache
from pzsl.store.hdf5 import RECREATE_HINT, Stored, checksum_problems, decoded, read_stored
from pzsl.store.unit_length import CHUNK
from pzsl.store.validation import content_problems, feature_problems
from pzsl.store.whole_numbers import as_whole

PARTIAL = ".partial"
"""Suffix of an unfinished cache; a file without it is complete."""
RESUME_HINT = "run the command that started it again, it resumes where it stopped"


def partial_path(path: Path) -> Path:
    """The file that holds the cache `path` until it is complete."""
    return path if path.name.endswith(PARTIAL) else path.with_name(path.name + PARTIAL)


@with_paths
def load_cache(path: str | Path, check: bool = True, part: bool = False) -> Cache:
    """Open a finished cache.

    Args:
        path: of the file.
        check: check all contents once, in chunks: embeddings finite and of unit length, labels in
            range, names unique, candidates valid, checksums correct. Without it only schema,
            shapes and missing rows are checked, which takes milliseconds at any size.
        part: accept a part of a cache as well.

    Returns:
        The cache; float32 image embeddings are mapped rather than read. If the file is cut short
        while it is mapped, the system ends the process (SIGBUS): replace files by renaming.

    Raises:
        UserError: no such file, or it is incomplete or damaged; the message names row and remedy.
    """
    path = Path(path)
    if not path.exists() and partial_path(path).exists():
        raise UserError(
            f"{path}: not finished yet (see 'pzsl inspect {shell_word(partial_path(path))}'): "
            f"{RESUME_HINT}."
        )
    state, stored = state_of(path), read_stored(path)
    for problem in missing_rows(stored):
        raise UserError(f"{path}: {problem}: {RESUME_HINT}.")
    if stored.attributes["part"] and not part:
        raise UserError(f"{path} is part of a cache: '{_merging(path)}' joins all of them.")
    cache = as_cache(path, stored)
    object.__setattr__(cache, "_state", state)
    if check:
        for problem in chain(cache_problems(cache), checksum_problems(stored)):
            raise UserError(f"{path}: {problem}: {RECREATE_HINT}.")
    return cache


def _merging(part: Path) -> str:
    """The command that joins all parts of a cache."""
    whole = re.sub(r"\.part-\d+-of-\d+", "", part.name)
    if whole == part.name:  # renamed: the others aren't found by its name
        return "pzsl merge PART PART --out CACHE"
    return f"pzsl merge --out {shell_word(part.with_name(whole))}"


def as_cache(path: Path, stored: Stored) -> Cache:
    """Make a `Cache` from a file's contents; half floats become float32, the rest is unchanged."""
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
    """The array itself if it is float32, else a float32 copy, made in chunks."""
    if array.dtype == np.float32:
        return array
    copy = np.empty(array.shape, np.float32)
    for start in range(0, len(array), CHUNK):
        copy[start : start + CHUNK] = array[start : start + CHUNK]
    return copy


def missing_rows(stored: Stored) -> Iterator[str]:
    """Report how many rows of images and of class prompts are not filled yet."""
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
    """Report what is wrong with a cache's contents, one line each."""
    yield from content_problems(cache)
    yield from feature_problems("/text/features", cache.text, cache.classes)
    yield from feature_problems("/image/features", cache.images, cache.paths)
    view_count = 0 if cache.views is None else cache.views.shape[1]
    if cache.view_kinds and len(cache.view_kinds) != view_count:
        yield f"{view_count} views of each image, but kinds of {len(cache.view_kinds)}"
    if cache.views is not None:
        yield from feature_problems("/image/views", cache.views, cache.paths)
