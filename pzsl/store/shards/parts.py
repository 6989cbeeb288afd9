"""Parts of a cache: which rows each holds, and the names of their files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from pzsl.errors import UsageError, UserError
from pzsl.files import digest
from pzsl.store.hdf5 import CacheHeader
from pzsl.store.reader import PARTIAL, partial_path


@dataclass(frozen=True)
class Part:
    """The position of a part in the complete cache.

    Attributes:
        shard: number of this part, from 1.
        of: number of parts.
        start, stop: its rows, `start <= row < stop`, including images that couldn't be read.
        images: N of the complete cache.
        batch_size: of the encoder; parts hold whole batches.
        split_hash: of the complete cache, with all its images.
        prompts: hash of the templates; only the first part holds the text embeddings.
        candidates: hash of the candidate sets of the complete cache; empty, and not stored, if
            there are none.
    """

    shard: int
    of: int
    start: int
    stop: int
    images: int
    batch_size: int
    split_hash: str
    prompts: str
    candidates: str = ""

    def __str__(self) -> str:
        return f"{self.shard}/{self.of}"

    def to_dict(self) -> dict[str, Any]:
        """As stored in a file."""
        return {name: value for name, value in asdict(self).items() if value or name != CANDIDATES}

    @classmethod
    def from_dict(cls, entries: dict[str, Any], path: Path) -> Self:
        """From the entries stored in a file, which are empty if it is not a part.

        Raises:
            UserError: it is not a part, or its entries are damaged.
        """
        if not entries:
            raise UserError(f"{path}: this is not a part, but a cache by itself: leave it out.")
        hashes = ("split_hash", "prompts", CANDIDATES)
        if {CANDIDATES, *entries} != set(FIELDS) or any(
            type(value) is not (str if name in hashes else int) for name, value in entries.items()
        ):
            raise UserError(f"{path}: its attribute 'part' is damaged: extract it again.")
        return cls(**entries)


FIELDS = tuple(Part.__dataclass_fields__)
CANDIDATES = "candidates"
"""The field that only parts with candidate sets have."""


def candidates_digest(header: CacheHeader) -> str:
    """Hash of a cache's candidate sets; '' if it has none."""
    if header.candidate_offsets is None or header.candidate_labels is None:
        return ""
    return digest(header.candidate_offsets.tobytes(), header.candidate_labels.tobytes())


def parse_shard(text: str) -> tuple[int, int]:
    """`3/4` -> (3, 4): the third of four.

    Raises:
        UsageError: the text has another form, or I is outside 1..N.
    """
    match = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", text, re.ASCII)
    shard, of = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= shard <= of:
        raise UsageError(
            f"--shard is I/N, I from 1 to N, such as 1/4 for the first of four, not '{text}'."
        )
    return shard, of


def shard_rows(shard: int, of: int, images: int, batch_size: int) -> range:
    """The rows of a shard: consecutive whole batches of the data set.

    So each image is in the same batch as in a single run, and gets the same embedding.

    Args:
        shard: from 1.
        of: number of shards.
        images: N of the data set.
        batch_size: images per batch.

    Raises:
        UsageError: there are fewer batches than shards.
    """
    batches = -(-images // batch_size)
    if of > batches:
        raise UsageError(
            f"{of} shards, but {images} images are only {batches} batches of {batch_size}: use at "
            f"most {batches} shards, or a smaller --batch-size."
        )
    first, last = batches * (shard - 1) // of, batches * shard // of
    return range(first * batch_size, min(last * batch_size, images))


def part_path(cache: Path, shard: int, of: int) -> Path:
    """`cache/sun.h5` -> `cache/sun.part-3-of-4.h5`."""
    return cache.with_name(f"{cache.stem}.part-{shard}-of-{of}{cache.suffix}")


def find_parts(cache: Path) -> dict[int, list[Path]]:
    """Finished and unfinished parts beside a cache: number of parts -> their (final) paths."""
    pattern = re.escape(cache.stem) + r"\.part-(\d+)-of-(\d+)" + re.escape(cache.suffix)
    parts_of: dict[int, set[tuple[int, Path]]] = {}
    for file in cache.parent.glob("*"):
        name = file.name.removesuffix(PARTIAL)
        if match := re.fullmatch(pattern, name, re.ASCII):
            parts_of.setdefault(int(match[2]), set()).add((int(match[1]), file.with_name(name)))
    return {of: [path for _, path in sorted(parts)] for of, parts in sorted(parts_of.items())}


def remove_parts(paths: Sequence[Path]) -> None:
    """Remove parts, finished or not, and leftover lock files."""
    for path in paths:
        for file in (path, partial_path(path), path.with_name(path.name + ".lock")):
            file.unlink(missing_ok=True)
