"""Say what a cache file holds, where it comes from, and whether it is whole."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from pzsl.errors import UserError
from pzsl.store.cache import Cache
from pzsl.store.hdf5 import CHECKSUMS, SPLITS, UNKNOWN, Stored, checksum_problems, read_stored
from pzsl.store.reader import GO_ON, as_cache, cache_problems, missing_rows, partial_path


def inspect_cache(path: str | Path) -> dict[str, Any]:
    """Look at a cache, finished or not; a damaged one is described as far as it can be read.

    Args:
        path: of the file; where only `path.partial` exists, that is looked at.

    Returns:
        `cache` (the file), `schema`, `bytes`, `counts`, `provenance`, `fingerprint` (None unless
        whole), `checksums` (whether it has some; older caches don't) and `problems`, a list of
        lines that is empty for a whole cache.

    Raises:
        UserError: there is no such file.
    """
    path = Path(path)
    if not path.exists() and partial_path(path).exists():
        path = partial_path(path)
    found: dict[str, Any] = {
        "cache": str(path),
        "schema": None,
        "bytes": path.stat().st_size if path.is_file() else None,
        "counts": {},
        "provenance": {},
        "fingerprint": None,
        "checksums": False,
        "problems": [],
    }
    try:
        stored = read_stored(path)
        found["schema"] = stored.attributes["schema"]
        found["provenance"] = stored.attributes
        found["checksums"] = CHECKSUMS in stored.arrays
        cache = as_cache(path, stored)
        found["counts"] = _counts(cache, stored)
        found["problems"] = _problems(cache, stored)
        if not found["problems"]:
            found["fingerprint"] = cache.fingerprint
    except UserError as error:
        if not path.is_file():
            raise
        found["problems"] = [str(error)]
    return found


def _counts(cache: Cache, stored: Stored) -> dict[str, Any]:
    done = stored.arrays.get("/image/done")
    seen = int(cache.seen.sum())
    offsets, labels = cache.candidate_offsets, cache.candidate_labels
    held = 0 if offsets is None else int((np.diff(offsets) > 0).sum())
    splits = Counter(cache.splits.tolist())
    return {
        "images": len(cache.images),
        "done": len(cache.images) if done is None else int((done != 0).sum()),
        "splits": {name: splits[name] for name in SPLITS},
        "unlabelled": int((cache.labels == UNKNOWN).sum()),
        "classes": len(cache.classes),
        "seen": seen,
        "unseen": len(cache.classes) - seen,
        "dim": cache.images.shape[1],
        "dtype": str(stored.arrays["/image/features"].dtype),
        "templates": len(cache.templates),
        "views": 0 if cache.views is None else cache.views.shape[1],
        "attributes": 0 if cache.attributes is None else cache.attributes.shape[1],
        "mean_candidates": None if labels is None else len(labels) / max(1, held),
    }


def _problems(cache: Cache, stored: Stored) -> list[str]:
    missing = [f"{problem}: {GO_ON}" for problem in missing_rows(stored)]
    return missing or [*cache_problems(cache), *checksum_problems(stored)]
