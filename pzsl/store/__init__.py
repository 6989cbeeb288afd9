"""The feature cache: the one gate between stage one, which writes it, and stage two."""

from __future__ import annotations

from pzsl.store.annotated import write_candidates
from pzsl.store.export import export_cache
from pzsl.store.inspection import inspect_cache
from pzsl.store.layout import SCHEMA, CacheHeader, utc_now
from pzsl.store.npz import import_npz
from pzsl.store.reader import Cache, load_cache
from pzsl.store.vectors import LOGIT_SCALE, check_vectors, read_vectors, write_vectors
from pzsl.store.writer import CacheWriter

__all__ = [
    "LOGIT_SCALE",
    "SCHEMA",
    "Cache",
    "CacheHeader",
    "CacheWriter",
    "check_vectors",
    "export_cache",
    "import_npz",
    "inspect_cache",
    "load_cache",
    "read_vectors",
    "utc_now",
    "write_candidates",
    "write_vectors",
]
