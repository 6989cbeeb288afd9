"""Do runs on a Ray cluster: a task is a run on its CPUs, or as many runs as a GPU trains together.

The cache and the folder of records have to be on a disk that all machines of the cluster share.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from pzsl.errors import UserError
from pzsl.ray import connect
from pzsl.training.engines.budget import TOGETHER, similarity
from pzsl.training.engines.job import Job, Outcome
from pzsl.training.engines.on_gpu import one_by_one, run_on_gpu
from pzsl.training.run import is_finished
from pzsl.workers import known_error

RETRIES = 3
"""How often a task may lose its machine; its runs resume from their checkpoints."""


def run_on_ray(jobs: Sequence[Job], workers: int | None) -> Iterator[Outcome]:
    """Do runs on a cluster; yields the outcomes of each task as it finishes.

    Args:
        jobs: the runs, with absolute paths.
        workers: processes of a cluster that is started here; by default one per processor.

    Raises:
        UserError: there is no cluster, or none with a GPU for runs on one.
        Exception: an error of a run that ends the sweep, such as a full disk.
    """
    on_gpu = jobs[0].device.startswith("cuda")
    with connect(workers and workers * jobs[0].threads) as ray:
        gpus = int(ray.cluster_resources().get("GPU", 0))
        if on_gpu and not gpus:
            raise UserError("No machine of the Ray cluster has a GPU: use --device cpu.")
        needs = {"num_gpus": 1} if on_gpu else {"num_cpus": jobs[0].threads}
        task = ray.remote(_attempt).options(max_retries=RETRIES, **needs)
        waiting = [task.remote(share) for share in shares(jobs, gpus if on_gpu else None)]
        while waiting:
            finished, waiting = ray.wait(waiting)
            for reference in finished:
                yield from _outcomes(ray, reference)


def shares(jobs: Sequence[Job], gpus: int | None) -> list[list[Job]]:
    """Divide runs into tasks: one each without GPUs, else similar ones, work for every GPU."""
    if gpus is None:
        return [[job] for job in jobs]
    size = min(TOGETHER, -(-len(jobs) // gpus))
    ordered = sorted(jobs, key=similarity)
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]


def _attempt(jobs: Sequence[Job]) -> tuple[list[Outcome], Exception | None]:
    """Do the runs of a task; returns their outcomes, and an error that ends the sweep.

    A task sees only the GPU that Ray assigned to it, and trains on it as `--engine local` does.
    """
    device = torch.device(jobs[0].device)
    todo = [job for job in jobs if not is_finished(Path(job.folder))]  # a task can be repeated
    try:
        return [*(run_on_gpu(todo, device) if device.type == "cuda" else one_by_one(todo))], None
    except Exception as error:
        known = known_error(error)
        if known is None:
            raise
        return [], known


def _outcomes(ray: Any, reference: Any) -> list[Outcome]:
    try:
        outcomes, error_of_sweep = ray.get(reference)
    except ray.exceptions.RayTaskError:
        raise  # a fault in pzsl
    except ray.exceptions.RayError as error:
        raise UserError(
            f"A run was lost {RETRIES + 1} times ({str(error).splitlines()[0][:120]}): finished "
            "runs are kept: check the machines of the cluster, then run the same command again."
        ) from error
    if error_of_sweep is not None:
        raise error_of_sweep
    done: list[Outcome] = outcomes
    return done
