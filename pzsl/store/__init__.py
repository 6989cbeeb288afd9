"""The feature cache: the one gate between stage one, which writes it, and stage two."""

from __future__ import annotations

from pzsl.store.annotated import write_candidates
from pzsl.store.export import export_cache
from pzsl.store.inspection import inspect_cache
from pzsl.store.layout import SCHEMA, CacheHeader, utc_now
from pzsl.store.merge import merge_parts
from pzsl.store.npz import import_npz
from pzsl.store.parts import (
    Part,
    find_parts,
    parse_shard,
    part_path,
    remove_parts,
    shard_rows,
)
from pzsl.store.reader import Cache, load_cache, partial_path
from pzsl.store.vectors import LOGIT_SCALE, check_vectors, read_vectors, write_vectors
from pzsl.store.writer import CacheWriter

__all__ = [
    "LOGIT_SCALE",
    "SCHEMA",
    "Cache",
    "CacheHeader",
    "CacheWriter",
    "Part",
    "check_vectors",
    "export_cache",
    "find_parts",
    "import_npz",
    "inspect_cache",
    "load_cache",
    "merge_parts",
    "parse_shard",
    "part_path",
    "partial_path",
    "read_vectors",
    "remove_parts",
    "shard_rows",
    "utc_now",
    "write_candidates",
    "write_vectors",
]
