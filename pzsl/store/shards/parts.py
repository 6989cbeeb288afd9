"""Parts of a cache: which rows of the whole one holds, what its file is called."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from pzsl.errors import UsageError, UserError
from pzsl.store.reader import PARTIAL, partial_path


@dataclass(frozen=True)
class Part:
    """What a part knows of the whole.

    Attributes:
        shard: which part it is, counted from 1.
        of: number of parts.
        start, stop: rows of the whole, `start <= row < stop`; those that couldn't be read included.
        images: N of the whole.
        batch_size: of the encoder; parts hold whole batches.
        split_hash: of the whole, with all its images.
        prompts: hash of the templates; only the first part holds the text embeddings.
    """

    shard: int
    of: int
    start: int
    stop: int
    images: int
    batch_size: int
    split_hash: str
    prompts: str

    def __str__(self) -> str:
        return f"{self.shard}/{self.of}"

    def to_dict(self) -> dict[str, Any]:
        """As it is kept in a file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, told: dict[str, Any], path: Path) -> Self:
        """What a file says; an empty dictionary where it is no part.

        Raises:
            UserError: it is no part, or its entries are not as they should be.
        """
        if not told:
            raise UserError(f"{path}: this is no part, but a cache by itself: leave it out.")
        kinds = {name: str if name in ("split_hash", "prompts") else int for name in FIELDS}
        if set(told) != set(FIELDS) or any(type(told[name]) is not kinds[name] for name in FIELDS):
            raise UserError(f"{path}: what it says of its part is damaged: extract it again.")
        return cls(**told)


FIELDS = tuple(Part.__dataclass_fields__)


def parse_shard(text: str) -> tuple[int, int]:
    """`3/4` -> (3, 4): the third of four.

    Raises:
        UsageError: not of that form, or outside 1..N.
    """
    found = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", text, re.ASCII)
    shard, of = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= shard <= of:
        raise UsageError(
            f"--shard is I/N, I from 1 to N, such as 1/4 for the first of four, not '{text}'."
        )
    return shard, of


def shard_rows(shard: int, of: int, images: int, batch_size: int) -> range:
    """The rows of a shard: whole batches, neighbours in the data set.

    So each image has the batch that it has in one run over all of them, and the same embedding.

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
    """Parts beside a cache that are begun or whole, by their number; each by its final name."""
    pattern = re.escape(cache.stem) + r"\.part-(\d+)-of-(\d+)" + re.escape(cache.suffix)
    found: dict[int, set[tuple[int, Path]]] = {}
    for file in cache.parent.glob("*"):
        name = file.name.removesuffix(PARTIAL)
        if match := re.fullmatch(pattern, name, re.ASCII):
            found.setdefault(int(match[2]), set()).add((int(match[1]), file.with_name(name)))
    return {of: [path for _, path in sorted(parts)] for of, parts in sorted(found.items())}


def remove_parts(paths: Sequence[Path]) -> None:
    """Remove parts, those in the making and what is left of their locks."""
    for path in paths:
        for file in (path, partial_path(path), path.with_name(path.name + ".lock")):
            file.unlink(missing_ok=True)
