"""The local engine: one worker process per device; a process that dies is replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pzsl.errors import UserError
from pzsl.extraction.encode_cache import Outcome, Shard, fill
from pzsl.extraction.load_inputs import prepare
from pzsl.progress import say
from pzsl.requests import ExtractRequest
from pzsl.workers import Tell, WorkerPool

REMEDY = "run again with fewer --devices or a smaller model"


def run_shards(
    request: ExtractRequest,
    target: Path,
    shards: Sequence[Shard],
    devices: Sequence[str],
    tell: Callable[[int], object],
) -> list[Outcome]:
    """Encode shards into their part files.

    Args:
        request: what to encode; its device is replaced by each of `devices`.
        target: the complete cache.
        shards: to encode.
        devices: one process for each.
        tell: called repeatedly with the number of images encoded since the last call.

    Returns:
        The outcome of each shard.

    Raises:
        UserError: the process of a shard died too often, or reported an error.
        OSError, MemoryError: a process met it, such as a full disk.
    """
    load = partial(load_job, request, target)
    with WorkerPool(load, shards, lambda shard: f"shard {shard}", REMEDY) as pool:
        outcomes = dict(_outcomes(pool.run_all(devices), tell))
    return [outcomes[shard] for shard in shards]


def load_job(
    request: ExtractRequest, target: Path, device: str, tell: Tell
) -> Callable[[Shard], Outcome]:
    """Load data set and encoder once in a process; returns the function that encodes a shard.

    It tells what the job is `about`, and repeatedly how many more `images` are encoded.
    """
    job = prepare(replace(request, device=device))
    tell("about", job.about)
    return partial(fill, job, target, after=partial(tell, "images"))


def _outcomes(
    messages: Iterable[tuple[Shard, str, Any]], tell: Callable[[int], object]
) -> Iterator[tuple[Shard, Outcome]]:
    """Report what the processes tell; yields each shard with its outcome."""
    described = False
    for shard, kind, value in messages:
        if kind == "images":
            tell(value)
        elif kind == "about" and not described:
            described = True
            for line in value:
                say(line)
        elif kind == "done":
            tell(value.resumed)
            yield shard, value
        elif kind == "lost":
            raise UserError(
                f"Shard {shard} failed: {value} What is encoded is kept; --shard {shard} encodes "
                "this one alone."
            )
