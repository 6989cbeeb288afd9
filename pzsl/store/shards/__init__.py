"""Parts of a cache, made by several processes, and merging them."""

from __future__ import annotations

from pzsl.store.shards.merge import merge_parts
from pzsl.store.shards.parts import (
    Part,
    candidates_digest,
    find_parts,
    parse_shard,
    part_path,
    remove_parts,
    shard_rows,
)

__all__ = [
    "Part",
    "candidates_digest",
    "find_parts",
    "merge_parts",
    "parse_shard",
    "part_path",
    "remove_parts",
    "shard_rows",
]
