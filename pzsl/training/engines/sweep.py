"""Do the runs of a sweep in several processes; finished ones are skipped."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from pzsl.device import cores
from pzsl.errors import UsageError, UserError
from pzsl.progress import counted, say
from pzsl.requests import ENGINES
from pzsl.sweep_progress import following, write_plan
from pzsl.training.config import RunConfig
from pzsl.training.engines.job import Job, Outcome
from pzsl.training.engines.on_gpu import one_by_one, run_on_gpu
from pzsl.training.engines.on_processes import run_on_processes
from pzsl.training.engines.on_ray import run_on_ray
from pzsl.training.features_in_blocks import MEMORY
from pzsl.training.run import CHECKPOINT_SECONDS, is_finished
from pzsl.workers import may_start


def default_workers(device: torch.device, runs: int, threads: int = 1) -> int:
    """The number of processes: as many as keep the CPU's cores busy, at most one per run.

    One on a GPU, and where this process may start none.
    """
    if not may_start():
        return 1
    return max(1, min(cores() // threads, runs)) if device.type == "cpu" else 1


def run_sweep(
    cache_path: Path,
    configs: Sequence[RunConfig],
    folder: Path,
    device: torch.device,
    workers: int | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    memory: float = MEMORY,
    engine: str = "local",
    threads: int = 1,
) -> int:
    """Do the unfinished runs of a grid; each writes its record when it ends.

    A run that fails leaves a `failed.json`; the others are still done.

    Args:
        cache_path: file of the features.
        configs: the grid.
        folder: of the sweep.
        device: to compute on; a GPU trains many runs together.
        workers: number of processes; None for as many as keep all cores busy.
        checkpoint_seconds: minimum time between two checkpoints of a run.
        memory: GiB of training features that a run keeps in memory.
        engine: `local`: processes of this machine; `ray`: a cluster.
        threads: CPU threads of each process.

    Returns:
        How many runs were done now.

    Raises:
        UsageError: fewer than one worker, or an unknown engine.
        UserError: some runs failed (the others are done), or none can be done.
    """
    if workers is not None and workers < 1:
        raise UsageError(f"--workers should be at least 1, not {workers}.")
    if engine not in ENGINES:
        raise UsageError(f"--engine is one of {', '.join(ENGINES)}, not '{engine}'.")
    todo = [config for config in configs if not is_finished(folder / config.name)]
    resolve = Path.resolve if engine == "ray" else Path  # its machines have other folders
    execution = str(device), checkpoint_seconds, memory, threads
    jobs = [
        Job(str(resolve(cache_path)), config, str(resolve(folder / config.name)), *execution)
        for config in todo
    ]
    plan = {config.name: (config.method, config.preset) for config in configs}
    write_plan(folder, plan)
    with following(folder, plan, sys.stderr):
        failed = _watch(_outcomes(jobs, device, workers, engine), len(configs), len(todo))
    if failed:
        name, reason = failed[0].job.config.name, failed[0].failure
        done = len(configs) - len(failed)
        raise UserError(
            f"{len(failed)} of {len(configs)} runs failed, the first is {name}: {reason} "
            f"{counted(done, 'run')} recorded; the same command tries the failed ones again."
        )
    return len(todo)


def _watch(outcomes: Iterator[Outcome], total: int, unfinished: int) -> list[Outcome]:
    """Consume the outcomes of all runs; returns the failed ones."""
    failed: list[Outcome] = []
    finished = total - unfinished
    try:
        for outcome in outcomes:
            if outcome.failure:
                failed.append(outcome)
            else:
                finished += 1
    except KeyboardInterrupt:
        say(f"Stopped: {finished} of {total} runs are done: run the same command to resume.")
        raise
    return failed


def _outcomes(
    jobs: Sequence[Job], device: torch.device, workers: int | None, engine: str
) -> Iterator[Outcome]:
    """Do runs on a cluster, on a GPU, in processes, or in this process."""
    if jobs and engine == "ray":
        return run_on_ray(jobs, workers)
    if device.type != "cpu" and workers is None:
        return run_on_gpu(jobs, device)
    threads = jobs[0].threads if jobs else 1
    workers = min(workers or default_workers(device, len(jobs), threads), len(jobs))
    if device.type == "cpu" and threads > 1 and workers * threads > cores():
        say(f"{workers} x {threads} threads share {cores()} cores: fewer would be faster.")
    return run_on_processes(jobs, workers) if workers > 1 else one_by_one(jobs)
