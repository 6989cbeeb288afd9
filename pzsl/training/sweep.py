"""A sweep: the runs of a grid, spread over processes; finished ones are skipped."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path

import torch

from pzsl.device import cores
from pzsl.errors import UsageError
from pzsl.progress import progress
from pzsl.training.batched import run_together
from pzsl.training.config import RunConfig
from pzsl.training.features import MEMORY
from pzsl.training.job import Job, work
from pzsl.training.ray_engine import run_on_ray
from pzsl.training.run import CHECKPOINT_SECONDS, is_finished
from pzsl.workers import end_with_parent

ENGINES = ("local", "ray")


def default_workers(device: torch.device, runs: int) -> int:
    """One single-threaded process per CPU core, at most one per run; one process on a GPU."""
    return max(1, min(cores(), runs)) if device.type == "cpu" else 1


def run_sweep(
    cache_path: Path,
    configs: Sequence[RunConfig],
    folder: Path,
    device: torch.device,
    workers: int | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    memory: float = MEMORY,
    engine: str = "local",
) -> int:
    """Do the runs that are not finished yet; each writes its own record at once.

    Args:
        cache_path: the features. configs: the grid. folder: of the sweep.
        device: to compute on; a GPU does many runs in one program.
        workers: processes; None for one per core.
        checkpoint_seconds: least time between two checkpoints of a run.
        memory: GiB of training features that a run holds in memory.
        engine: `local`: processes of this machine; `ray`: a cluster.

    Returns:
        How many runs were done now.

    Raises:
        UsageError: no workers, or an unknown engine.
        Exception: that of the first run that fails, once the runs under way have ended.
    """
    if workers is not None and workers < 1:
        raise UsageError(f"--workers should be at least 1, not {workers}.")
    if engine not in ENGINES:
        raise UsageError(f"--engine is one of {', '.join(ENGINES)}, not '{engine}'.")
    todo = [config for config in configs if not is_finished(folder / config.name)]
    where = Path.resolve if engine == "ray" else Path  # a cluster's machines have other folders
    held = str(device), checkpoint_seconds, memory
    jobs = [
        Job(str(where(cache_path)), config, str(where(folder / config.name)), *held)
        for config in todo
    ]
    with progress(len(configs), "runs", len(configs) - len(todo), "train") as bar:
        if jobs and engine == "ray":
            results = run_on_ray(jobs, workers)
        elif device.type != "cpu" and workers is None:
            results = run_together(jobs)
        else:
            results = _results(jobs, min(workers or default_workers(device, len(jobs)), len(jobs)))
        for _ in results:
            bar.update(1)
    return len(todo)


def _results(jobs: Sequence[Job], workers: int) -> Iterator[None]:
    if workers <= 1:
        for job in jobs:
            work(job)
            yield
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=end_with_parent) as pool:
        waiting: set[Future[None]] = {pool.submit(work, job) for job in jobs}
        try:
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
                    yield
        except BaseException:
            for future in waiting:
                future.cancel()
            raise
