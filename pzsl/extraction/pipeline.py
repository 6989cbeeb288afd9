"""The pipeline of stage one: threads read and encode blocks of rows, and a writer stores them.

Block b always is rows b * size to (b + 1) * size, even if some are already encoded, and the encoder
always gets a batch of the block's shape. So a row's embedding is bit for bit the same, whatever was
resumed or skipped.

Each thread takes a block, reads its images, encodes them, and takes the next block. On the CPU each
thread computes on one core, so threads never wait for each other, and their number doesn't change
results. On a GPU one thread encodes at a time; the others read images, put them into batches, and
copy the next batch to the GPU.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Semaphore
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pzsl.encoders.image_warnings import Counts
from pzsl.extraction.batches import embedded, with_views
from pzsl.remote import RemoteError

PREFIX = "pzsl-read"
"""Prefix of the threads' names."""
FETCHED_TOGETHER = 256
"""Images that are fetched together ahead of time; one block if that holds more."""


class Failure(NamedTuple):
    """An image that can't be read."""

    row: int
    path: str
    reason: str


class Block(NamedTuple):
    """The results of one block.

    Attributes:
        rows: (k,) rows of the data set that were encoded, ascending.
        features: (k, D) their embeddings; with K views (k, 1 + K, D), the clean image first.
        failures: the images that can't be read.
        read, encode: seconds that a thread spent on each step.
    """

    rows: NDArray[np.int64]
    features: NDArray[np.float32]
    failures: tuple[Failure, ...]
    read: float
    encode: float


@dataclass
class Report:
    """Summary of a run.

    Attributes:
        encoded: number of images.
        failures: images that couldn't be read.
        seconds: `read` and `encode`, summed over the threads, `write`, and `all` by the clock.
        oddities: images whose shades or orientation may surprise.
    """

    encoded: int = 0
    failures: list[Failure] = field(default_factory=list)
    seconds: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("read", "encode", "write", "all"), 0.0)
    )
    oddities: Counts = field(default_factory=Counter)


class Span(NamedTuple):
    """One block before its images are read: rows `start` to `end`, of which `rows` are pending."""

    start: int
    end: int
    rows: NDArray[np.int64]


class Views(NamedTuple):
    """Which images have augmented views.

    Attributes:
        per_image: K, views per image.
        rows: (N,) bool, the images with views; depends on the data set only, not on the run.
    """

    per_image: int
    rows: NDArray[np.bool_]


def spans(count: int, pending: NDArray[np.int64], size: int) -> list[Span]:
    """The blocks with at least one pending row, in order.

    Args:
        count: rows N of the data set.
        pending: rows still to be encoded, ascending.
        size: rows of a block.
    """
    starts = (np.unique(pending // size) * size).tolist()
    ends = [min(start + size, count) for start in starts]
    return [
        Span(start, end, pending[slice(*np.searchsorted(pending, [start, end]))])
        for start, end in zip(starts, ends, strict=True)
    ]


def encode_blocks(
    load: Callable[[str], Tensor],
    encode: Callable[[Tensor], Tensor],
    paths: tuple[str, ...],
    pending: NDArray[np.int64],
    size: int,
    workers: int,
    lanes: int | None = None,
    views: Views | None = None,
    fetch_ahead: Callable[[Sequence[str]], None] | None = None,
    upload: Callable[[Tensor], Tensor] | None = None,
) -> Generator[Block]:
    """Read and encode the pending rows in threads, block by block, in bounded memory.

    Args:
        load: path -> preprocessed image (3, h, w) uint8. With `views`: the image and its K views
            (1 + K, 3, h, w), or the image alone (1, 3, h, w).
        encode: batch (n, 3, h, w) -> unit embeddings (n, D) on the CPU.
        paths: of all N rows.
        pending: rows still to be encoded, ascending.
        size: rows of a block.
        workers: number of threads; all of them call both functions.
        lanes: number of threads that may encode at the same time; by default all.
        views: which images have views, if any.
        fetch_ahead: called with the paths of the next few blocks when the first of them enters the
            queue, and so while earlier ones are encoded; None if reading needs no warning.
        upload: copies a batch to the encoder's device, while others are encoded; for one batch more
            than there are lanes.

    Yields:
        Each block that has a pending row, in order.
    """
    lane, ahead = Semaphore(lanes or workers), Semaphore((lanes or workers) + 1)
    encoder = _BlockEncoder(
        load, encode, paths, views, lane, ahead, upload or (lambda batch: batch)
    )
    queue: deque[Future[Block]] = deque()
    thread_count = torch.get_num_threads()
    pool = ThreadPoolExecutor(workers, PREFIX, initializer=torch.set_num_threads, initargs=(1,))
    try:
        all_spans, spans_per_fetch = spans(len(paths), pending, size), -(-FETCHED_TOGETHER // size)
        for number, span in enumerate(all_spans):
            if fetch_ahead is not None and number % spans_per_fetch == 0:
                rows = [span.rows for span in all_spans[number : number + spans_per_fetch]]
                fetch_ahead([paths[row] for row in np.concatenate(rows).tolist()])
            queue.append(pool.submit(encoder.encode_block, span))
            if len(queue) > 2 * workers:  # bounds memory: one block in work and one waiting each
                yield queue.popleft().result()
        while queue:
            yield queue.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(thread_count)


class _BlockEncoder(NamedTuple):
    """Reads the images of a block, then encodes them in a lane; all threads share it."""

    load: Callable[[str], Tensor]
    encode: Callable[[Tensor], Tensor]
    paths: tuple[str, ...]
    views: Views | None
    lane: Semaphore
    ahead: Semaphore
    upload: Callable[[Tensor], Tensor]

    def encode_block(self, span: Span) -> Block:
        start = time.perf_counter()
        results = [self._read(row) for row in span.rows.tolist()]
        read, encoding = time.perf_counter() - start, 0.0

        def encode_in_lane(batch: Tensor) -> Tensor:
            nonlocal encoding
            with self.ahead:
                batch = self.upload(batch)
                with self.lane:
                    started = time.perf_counter()
                    embeddings = self.encode(batch)
                    encoding += time.perf_counter() - started
            return embeddings

        block = _encoded(span, results, encode_in_lane, self.views)
        return block._replace(read=read, encode=encoding)

    def _read(self, row: int) -> Tensor | Failure:
        try:
            return self.load(self.paths[row])
        except RemoteError:  # no fault of this image: all others would fail, too
            raise
        except Exception as error:  # a broken image can raise anything in a decoder
            return Failure(row, self.paths[row], _reason(error))


def _encoded(
    span: Span,
    results: list[Tensor | Failure],
    encode: Callable[[Tensor], Tensor],
    views: Views | None,
) -> Block:
    """Encode the images of a block that could be read; the caller fills in the seconds."""
    failures = tuple(result for result in results if isinstance(result, Failure))
    images = [result for result in results if isinstance(result, Tensor)]
    rows = np.setdiff1d(span.rows, [failure.row for failure in failures])
    if not images:
        return Block(rows, np.empty((0, 0), np.float32), failures, 0.0, 0.0)
    positions, size = torch.from_numpy(rows - span.start), span.end - span.start
    if views is None:
        features = embedded(images, positions, size, encode)
    else:
        clean = embedded([image[0] for image in images], positions, size, encode)
        has_views = torch.from_numpy(views.rows[span.start : span.end])
        features = with_views(clean, images, positions, has_views, views.per_image, encode)
    return Block(rows, features.numpy(), failures, 0.0, 0.0)


def _reason(error: Exception) -> str:
    """What is wrong with an image, in a few words."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())[:200] or type(error).__name__


def run(
    blocks: Iterable[Block],
    write: Callable[[NDArray[np.int64], NDArray[np.float32]], None],
    after: Callable[[Block], None],
) -> Report:
    """Write all blocks, and sum up what was done.

    Args:
        blocks: from `encode_blocks`.
        write: stores the embeddings of rows; once it returns they are safe.
        after: called with each block after it is written.
    """
    report, start = Report(), time.perf_counter()
    for block in blocks:
        started = time.perf_counter()
        if len(block.rows):
            write(block.rows, block.features)
        report.seconds["write"] += time.perf_counter() - started
        report.seconds["read"] += block.read
        report.seconds["encode"] += block.encode
        report.encoded += len(block.rows)
        report.failures.extend(block.failures)
        after(block)
    report.seconds["all"] = time.perf_counter() - start
    return report
