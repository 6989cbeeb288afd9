"""Fetch parts of remote files before they are asked for, while the encoder is at work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import Any, NamedTuple

from pzsl.remote.paths import CONNECTIONS, RemotePath

GAP = 64 << 10
"""Bytes between two parts that are fetched along with them."""
LARGEST = 8 << 20
"""Bytes that a request fetches, unless a single part is larger."""


class Range(NamedTuple):
    """Bytes `start` to `stop` of a file."""

    file: RemotePath
    start: int
    stop: int


class ReadAhead:
    """Ranges of remote files that threads fetch; what isn't asked for in advance is read directly.

    Thread-safe; picklable, without what it holds.
    """

    def __init__(self) -> None:
        self._coming: dict[Range, tuple[Future[bytes], int]] = {}

    def __reduce__(self) -> Any:
        return ReadAhead, ()

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(CONNECTIONS, "pzsl-fetch")

    def fetch(self, ranges: Iterable[Range]) -> None:
        """Begin to fetch ranges, neighbours in a file together; each has to be read once."""
        for group in joined(ranges):
            first = group[0]
            future = self._pool.submit(first.file.read, first.start, group[-1].stop)
            for part in group:
                self._coming[part] = future, part.start - first.start

    def read(self, part: Range) -> bytes:
        """The bytes of a range.

        Raises:
            FileNotFoundError, RemoteError: see `RemotePath.read`.
        """
        coming = self._coming.pop(part, None)
        if coming is None:
            return part.file.read(part.start, part.stop)
        future, start = coming
        return future.result()[start : start + part.stop - part.start]


def joined(ranges: Iterable[Range]) -> Iterator[list[Range]]:
    """Ranges in groups: of one file, ascending, hardly apart, and not too much in all."""
    group: list[Range] = []
    for part in ranges:
        near = (
            group
            and part.file == group[0].file
            and 0 <= part.start - group[-1].stop <= GAP
            and part.stop - group[0].start <= LARGEST
        )
        if group and not near:
            yield group
            group = []
        group.append(part)
    if group:
        yield group
