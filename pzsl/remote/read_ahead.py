"""Fetch ranges of remote files before they are asked for, while the encoder is at work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import Any, NamedTuple

from pzsl.remote.paths import CONNECTIONS, RemotePath

GAP = 64 << 10
"""Most bytes between two ranges that are fetched along with them."""
LARGEST = 8 << 20
"""Most bytes that a request fetches, unless a single range is larger."""


class Range(NamedTuple):
    """Bytes `start` to `stop` of a file."""

    file: RemotePath
    start: int
    stop: int


class ReadAhead:
    """Ranges of remote files that threads fetch ahead; any other range is read when asked for.

    Thread-safe; picklable, without the bytes it holds.
    """

    def __init__(self) -> None:
        self._pending: dict[Range, tuple[Future[bytes], int]] = {}

    def __reduce__(self) -> Any:
        return ReadAhead, ()

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(CONNECTIONS, "pzsl-fetch")

    def fetch(self, ranges: Iterable[Range]) -> None:
        """Begin to fetch ranges, neighbours in a file together; each has to be read once."""
        for group in group_neighbours(ranges):
            first = group[0]
            future = self._pool.submit(first.file.read, first.start, group[-1].stop)
            for wanted in group:
                self._pending[wanted] = future, wanted.start - first.start

    def read(self, wanted: Range) -> bytes:
        """The bytes of a range.

        Raises:
            FileNotFoundError, RemoteError: see `RemotePath.read`.
        """
        pending = self._pending.pop(wanted, None)
        if pending is None:
            return wanted.file.read(wanted.start, wanted.stop)
        future, start = pending
        return future.result()[start : start + wanted.stop - wanted.start]


def group_neighbours(ranges: Iterable[Range]) -> Iterator[list[Range]]:
    """Group ranges that one request can fetch: of one file, ascending, and close together."""
    group: list[Range] = []
    for wanted in ranges:
        near = (
            group
            and wanted.file == group[0].file
            and 0 <= wanted.start - group[-1].stop <= GAP
            and wanted.stop - group[0].start <= LARGEST
        )
        if group and not near:
            yield group
            group = []
        group.append(wanted)
    if group:
        yield group
