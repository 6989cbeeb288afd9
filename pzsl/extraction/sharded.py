"""One cache from many processes: divide the images, have each shard encoded, merge, clean up.

Shards lie in part files, so that whatever stops, ends or is killed, the same command goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from pzsl.device import CPU_BATCH, GPU_BATCH, cores, default_batch, resolve_device
from pzsl.errors import UserError
from pzsl.extraction.encode_cache import Outcome, Shard, unreadable
from pzsl.extraction.request import load_images
from pzsl.progress import progress, say
from pzsl.ray import connect
from pzsl.requests import ExtractRequest
from pzsl.store import (
    find_parts,
    merge_parts,
    partial_path,
    remove_parts,
    shard_rows,
)

PER_DEVICE = 4
"""Shards for each device: the faster ones take more of them, a lost one is a small loss."""

Run = Callable[
    [ExtractRequest, Path, Sequence[Shard], Sequence[str], Callable[[int], object]], list[Outcome]
]
"""An engine: has shards encoded into their files and tells of images done; raises if it can't."""


def extract_in_shards(
    request: ExtractRequest,
    target: Path,
    devices: Sequence[str] | None,
    engine: str,
    overwrite: bool,
) -> tuple[list[Outcome], float]:
    """Encode a data set in several processes, into one cache that isn't there yet.

    Args:
        request: what to encode.
        target: the cache.
        devices: one process for each; None (with Ray) means all that the cluster has.
        engine: `local` or `ray`.
        overwrite: begin anew instead of going on.

    Returns:
        What was done to each shard, and the seconds that it took.

    Raises:
        UserError: with one line; what is encoded is kept, and the same command goes on.
    """
    if engine == "ray":
        from pzsl.extraction import ray_engine

        with connect() as ray:
            devices = devices or ray_engine.devices_of(ray.cluster_resources(), request.device)
            gpus = any(device != "cpu" for device in devices)
            sizes = [GPU_BATCH if gpus else CPU_BATCH]
            return _extract(request, target, devices, sizes, ray_engine.run_shards, overwrite)
    from pzsl.extraction.processes import run_shards

    devices = devices or [request.device]
    sizes = [default_batch(resolve_device(device)) for device in devices]
    share = max(1, cores() // len(devices))
    request = replace(request, workers=request.workers or share)
    return _extract(request, target, devices, sizes, run_shards, overwrite)


def _extract(
    request: ExtractRequest,
    target: Path,
    devices: Sequence[str],
    sizes: Sequence[int],
    run: Run,
    overwrite: bool,
) -> tuple[list[Outcome], float]:
    """The same with an engine, and batch sizes of which the smallest is everybody's default."""
    start, size = time.perf_counter(), request.batch_size or min(sizes)
    request, data = replace(request, batch_size=size), load_images(request)
    if overwrite:
        for parts in find_parts(target).values():
            remove_parts(parts)
    shards = _divide(target, len(data.paths), size, len(devices))
    files = [shard.path(target) for shard in shards]
    _refuse_half_a_cache(target, files, overwrite)
    say(f"Cache: {target}, {request.dtype}, in {len(shards)} shards on {', '.join(devices)}.")
    try:
        with progress(len(data.paths), "images") as bar:
            outcomes = run(request, target, shards, devices, bar.update)
    except KeyboardInterrupt:
        say(f"Stopped; what is encoded is kept beside {target}: the same command goes on.")
        raise
    if request.on_error == "fail" and any(outcome.report.failures for outcome in outcomes):
        raise unreadable(data.name, outcomes)
    merge_parts(files, target, overwrite=overwrite)
    remove_parts(files)
    return outcomes, time.perf_counter() - start


def _divide(target: Path, images: int, batch_size: int, devices: int) -> list[Shard]:
    """All shards; as many as there were when the work was begun."""
    divisions = find_parts(target)
    if len(divisions) > 1:
        sizes = " and of ".join(map(str, divisions))
        raise UserError(
            f"{target.parent} holds parts of {target.name} of {sizes} shards: remove those of one "
            "division, or begin anew with --overwrite."
        )
    batches = -(-images // batch_size)
    of = next(iter(divisions), min(batches, PER_DEVICE * devices))
    for shard in range(1, of + 1):
        shard_rows(shard, of, images, batch_size)  # there are enough batches
    return [Shard(shard, of) for shard in range(1, of + 1)]


def _refuse_half_a_cache(target: Path, files: list[Path], overwrite: bool) -> None:
    """Leave alone what a single process has begun; what a merge has begun is gone on with."""
    partial = partial_path(target)
    if overwrite or not partial.exists() or all(file.exists() for file in files):
        return
    raise UserError(
        f"{partial} was begun by one process: go on without --devices and --engine, or begin anew "
        "with --overwrite."
    )
