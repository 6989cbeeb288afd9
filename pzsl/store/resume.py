"""Resume an existing cache: compare it with the header of a run, and leave out skipped images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pzsl.errors import UserError
from pzsl.files import digest
from pzsl.progress import say, shell_word
from pzsl.store.hdf5 import (
    CHECKSUMS,
    FILES,
    OF_CANDIDATES,
    OPTIONAL,
    CacheHeader,
    Stored,
    known_arrays,
    provenance,
    read_stored,
    unfilled_arrays,
)
from pzsl.store.reader import missing_rows

SKIPPED = "skipped"
"""Key of `origin` that lists the images which a finished cache lacks."""


def unfinished(partial: Path, header: CacheHeader, dtype: str, views: int) -> Stored | None:
    """The unfinished cache on disk; None if there is none that can be resumed.

    Args:
        partial: its file; one that can't be opened is renamed.
        header, dtype, views: of the run that wants to resume it, see `differences`.

    Raises:
        UserError: it was created with other settings.
    """
    if not partial.exists():
        return None
    try:
        stored = read_stored(partial)
    except UserError as error:
        broken = partial.with_name(partial.name + ".broken")
        partial.replace(broken)
        say(f"{error} It is set aside as {broken.name}, and a new one is started.")
        return None
    mismatches = differences(header, dtype, views, stored)
    if mismatches:
        raise UserError(
            f"{partial} was started with other settings ({'; '.join(mismatches)}): use the same "
            "ones, or start again with --overwrite."
        )
    check_files(partial, header, stored)
    return stored


def finished(path: Path, header: CacheHeader, dtype: str, views: int) -> Stored:
    """The finished cache on disk, with all images or with those that could be read.

    Args:
        path: its file.
        header, dtype, views: of the run that wants this cache, see `differences`.

    Raises:
        UserError: it is damaged, or was created with other settings.
    """
    stored = read_stored(path)
    left_out = set(json.loads(stored.attributes["origin"].get(SKIPPED, "[]")))
    rows = np.array([row for row, name in enumerate(header.paths) if name in left_out], np.int64)
    expected = without_rows(header, rows) if 0 < len(rows) < len(header.paths) else header
    mismatches = [*missing_rows(stored), *differences(expected, dtype, views, stored)]
    if mismatches:
        raise UserError(
            f"{path} exists already, with other settings ({'; '.join(mismatches)}): see 'pzsl "
            f"inspect {shell_word(path)}', or replace it with --overwrite."
        )
    check_files(path, expected, stored)
    return stored


def check_files(path: Path, header: CacheHeader, stored: Stored) -> None:
    """Refuse a cache some of whose embeddings are those of image files that were replaced since.

    Caches of older versions don't know their files, and pass.

    Raises:
        UserError: the file of an encoded image has another size or another checksum.
    """
    before, now = stored.arrays.get(FILES), header.files
    if before is None or now is None:
        return
    differ = ((before != now) & (before >= 0) & (now >= 0)).any(axis=1)
    changed = np.flatnonzero(differ & (stored.arrays.get("/image/done", 1) != 0))
    if len(changed):
        raise UserError(
            f"{path} was made from other image files: {len(changed):,} of {len(now):,} have "
            f"changed since, such as '{header.paths[changed[0]]}': start again with --overwrite, "
            "or write another cache with --out."
        )


def differences(header: CacheHeader, dtype: str, views: int, stored: Stored) -> list[str]:
    """Compare a run's header with the cache on disk.

    Args:
        header: of the run that wants to resume the cache.
        dtype: of its image embeddings.
        views: K, its augmented views per image.
        stored: the cache on disk.

    Returns:
        One phrase for each difference. Candidate sets that `pzsl annotate` has put into the cache
        don't count as a difference; `check_files` compares image files.
    """
    phrases = []
    for name, value in ({"augmentation": {}, "part": {}} | provenance(header)).items():
        stored_value, new_value = stored.attributes.get(name), json.loads(json.dumps(value))
        if stored_value != new_value:
            before, now = _brief(stored_value, new_value), _brief(new_value, stored_value)
            phrases.append(f"{name} {before}, now {now}")
    header_arrays, unfilled = known_arrays(header), unfilled_arrays(header, dtype, views)
    annotated = OF_CANDIDATES if stored.attributes["annotation"] and not header.annotation else ()
    header_arrays = {
        name: values for name, values in header_arrays.items() if name not in (*annotated, FILES)
    }
    unfilled.pop(CHECKSUMS)  # caches of older versions have none
    for name in [name for name in OPTIONAL if name not in (*annotated, CHECKSUMS, FILES)]:
        if (name in stored.arrays) != (name in header_arrays or name in unfilled):
            phrases.append(f"{name} then or now only")
    for name, (shape, kind) in unfilled.items():
        array = stored.arrays.get(name)
        if array is not None and (array.shape, array.dtype.str) != (shape, np.dtype(kind).str):
            now = f"{shape} {np.dtype(kind)}"
            phrases.append(f"{name} {array.shape} {array.dtype}, now {now}")
    for name, values in header_arrays.items():
        array = stored.arrays.get(name, values)
        if not np.array_equal(array, values):
            phrases.append(f"other {name}")
    return phrases


def _brief(value: Any, other_value: Any) -> str:
    """An excerpt of a value that starts shortly before its first difference from another one."""
    text, other_text = repr(value), repr(other_value)
    if len(text) <= 60:
        return text
    alike = takewhile(lambda pair: pair[0] == pair[1], zip(text, other_text, strict=False))
    start = max(0, sum(1 for _ in alike) - 20)
    end = "..." if len(text) > start + 57 else ""
    return ("..." if start else "") + text[start : start + 57] + end


def without_rows(header: CacheHeader, skipped: NDArray[np.int64]) -> CacheHeader:
    """The header without some images; `origin` and `split_hash` record which.

    Args:
        header: with all images.
        skipped: (n,) the rows to leave out.

    Raises:
        UserError: no row is left.
    """
    kept_rows = np.setdiff1d(np.arange(len(header.paths)), skipped)
    if not len(kept_rows) and not header.part:
        raise UserError(f"{header.dataset}: no image could be read, so the cache would be empty.")
    names = [header.paths[row] for row in skipped]
    offsets, labels = header.candidate_offsets, header.candidate_labels
    if offsets is not None and labels is not None:
        sizes = np.diff(offsets)
        labels = labels[np.isin(np.repeat(np.arange(len(sizes)), sizes), kept_rows)]
        offsets = np.concatenate([[0], np.cumsum(sizes[kept_rows])]).astype(np.int64)
    return replace(
        naming_skipped(header, names),
        paths=tuple(header.paths[row] for row in kept_rows),
        labels=header.labels[kept_rows],
        splits=header.splits[kept_rows],
        files=None if header.files is None else header.files[kept_rows],
        candidate_offsets=offsets,
        candidate_labels=labels,
    )


def naming_skipped(header: CacheHeader, names: Sequence[str]) -> CacheHeader:
    """Record skipped images in a header's `origin` and `split_hash`; its rows stay as they are."""
    return replace(
        header,
        split_hash=digest(header.split_hash, *names),
        origin={**header.origin, SKIPPED: json.dumps(list(names))},
    )
