"""The feature cache, the only interface between stage one, which writes it, and stage two."""

from __future__ import annotations

from pzsl.store.cache import Cache
from pzsl.store.hdf5 import SCHEMA, CacheHeader, utc_now
from pzsl.store.inspection import inspect_cache
from pzsl.store.reader import load_cache, partial_path
from pzsl.store.shards import (
    Part,
    candidates_digest,
    find_parts,
    merge_parts,
    parse_shard,
    part_path,
    remove_parts,
    shard_rows,
)
from pzsl.store.write_candidates import write_candidates
from pzsl.store.writer import CacheWriter

__all__ = [
    "SCHEMA",
    "Cache",
    "CacheHeader",
    "CacheWriter",
    "Part",
    "candidates_digest",
    "find_parts",
    "inspect_cache",
    "load_cache",
    "merge_parts",
    "parse_shard",
    "part_path",
    "partial_path",
    "remove_parts",
    "shard_rows",
    "utc_now",
    "write_candidates",
]
