"""Encode one cache in several processes: divide the images, encode the shards, merge, clean up.

Shards are written to part files, so that the same command resumes after any interruption.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from pzsl.device import CPU_BATCH, GPU_BATCH, cores, default_batch, resolve_device
from pzsl.errors import UserError
from pzsl.extraction.encode_cache import Outcome, Shard, check_images
from pzsl.extraction.load_inputs import load_images
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
"""Shards per device: faster devices encode more of them, and losing one costs little."""

Engine = Callable[
    [ExtractRequest, Path, Sequence[Shard], Sequence[str], Callable[[int], object]], list[Outcome]
]
"""An engine: encodes shards into their files and reports progress; see `processes.run_shards`."""


def extract_in_shards(
    request: ExtractRequest,
    target: Path,
    devices: Sequence[str] | None,
    engine: str,
    overwrite: bool,
) -> tuple[list[Outcome], float]:
    """Encode a data set in several processes into one new cache.

    Args:
        request: what to encode.
        target: the cache.
        devices: one process for each; None (with Ray) means all devices of the cluster.
        engine: `local` or `ray`.
        overwrite: start again instead of resuming.

    Returns:
        The outcome of each shard, and the seconds that all took.

    Raises:
        UserError: encoding failed; encoded images are kept, and the same command resumes.
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
    threads_per_process = max(1, cores() // len(devices))
    request = replace(request, workers=request.workers or threads_per_process)
    return _extract(request, target, devices, sizes, run_shards, overwrite)


def _extract(
    request: ExtractRequest,
    target: Path,
    devices: Sequence[str],
    sizes: Sequence[int],
    run: Engine,
    overwrite: bool,
) -> tuple[list[Outcome], float]:
    """Do the work of `extract_in_shards`; the smallest of `sizes` is the default batch size."""
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
        say(f"Stopped; what is encoded is kept beside {target}: run the same command to resume.")
        raise
    check_images(data.name, outcomes, request.on_error)
    merge_parts(files, target, overwrite=overwrite)
    remove_parts(files)
    return outcomes, time.perf_counter() - start


def _divide(target: Path, images: int, batch_size: int, devices: int) -> list[Shard]:
    """All shards, in the same number as in an earlier, interrupted run."""
    divisions = find_parts(target)
    if len(divisions) > 1:
        sizes = " and of ".join(map(str, divisions))
        raise UserError(
            f"{target.parent} holds parts of {target.name} of {sizes} shards: remove those of one "
            "division, or start again with --overwrite."
        )
    batches = -(-images // batch_size)
    of = next(iter(divisions), min(batches, PER_DEVICE * devices))
    for shard in range(1, of + 1):
        shard_rows(shard, of, images, batch_size)  # raises if there are too few batches
    return [Shard(shard, of) for shard in range(1, of + 1)]


def _refuse_half_a_cache(target: Path, files: list[Path], overwrite: bool) -> None:
    """Refuse to continue an unfinished cache of a single process; a merge can be resumed."""
    partial = partial_path(target)
    if overwrite or not partial.exists() or all(file.exists() for file in files):
        return
    raise UserError(
        f"{partial} was started by one process: resume it without --devices and --engine, or start "
        "again with --overwrite."
    )
