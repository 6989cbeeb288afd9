"""Describe a cache file: what it holds, where it comes from, whether it is complete."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from pzsl.errors import UserError
from pzsl.store.cache import Cache
from pzsl.store.hdf5 import CHECKSUMS, SPLITS, UNKNOWN, Stored, checksum_problems, read_stored
from pzsl.store.reader import RESUME_HINT, as_cache, cache_problems, missing_rows, partial_path


def inspect_cache(path: str | Path) -> dict[str, Any]:
    """Describe a cache, finished or not; a damaged one as far as it can be read.

    Args:
        path: of the file; if only `path.partial` exists, that file is described.

    Returns:
        `cache` (the file), `schema`, `bytes`, `counts`, `provenance`, `fingerprint` (None unless
        complete), `checksums` (whether it has any; older caches don't) and `problems`, a list of
        lines that is empty for a complete cache.

    Raises:
        UserError: there is no such file.
    """
    path = Path(path)
    if not path.exists() and partial_path(path).exists():
        path = partial_path(path)
    report: dict[str, Any] = {
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
        report["schema"] = stored.attributes["schema"]
        report["provenance"] = stored.attributes
        report["checksums"] = CHECKSUMS in stored.arrays
        cache = as_cache(path, stored)
        report["counts"] = _counts(cache, stored)
        report["problems"] = _problems(cache, stored)
        if not report["problems"]:
            report["fingerprint"] = cache.fingerprint
    except UserError as error:
        if not path.is_file():
            raise
        report["problems"] = [str(error)]
    return report


def _counts(cache: Cache, stored: Stored) -> dict[str, Any]:
    done = stored.arrays.get("/image/done")
    seen = int(cache.seen.sum())
    offsets, labels = cache.candidate_offsets, cache.candidate_labels
    with_candidates = 0 if offsets is None else int((np.diff(offsets) > 0).sum())
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
        "mean_candidates": None if labels is None else len(labels) / max(1, with_candidates),
    }


def _problems(cache: Cache, stored: Stored) -> list[str]:
    missing = [f"{problem}: {RESUME_HINT}" for problem in missing_rows(stored)]
    return missing or [*cache_problems(cache), *checksum_problems(stored)]
