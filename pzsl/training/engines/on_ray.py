"""Do runs on a Ray cluster: each run is a task with one GPU, or a CPU per thread.

The cache and the folder of records have to be on a disk that all machines of the cluster share.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from pzsl.errors import UserError
from pzsl.ray import connect
from pzsl.training.engines.job import Job, Outcome, work
from pzsl.workers import known_error

RETRIES = 3
"""How often a run may lose its machine; it resumes from its checkpoint."""


def run_on_ray(jobs: Sequence[Job], workers: int | None) -> Iterator[Outcome]:
    """Do runs on a cluster; yields the outcome of each as it finishes.

    Args:
        jobs: the runs, with absolute paths.
        workers: processes of a cluster that is started here; by default one per processor.

    Raises:
        UserError: there is no cluster.
        Exception: an error of a run that ends the sweep, such as a full disk.
    """
    with connect(workers and workers * jobs[0].threads) as ray:
        on_gpu = jobs[0].device.startswith("cuda")
        needs = {"num_gpus": 1} if on_gpu else {"num_cpus": jobs[0].threads}
        task = ray.remote(_attempt).options(max_retries=RETRIES, **needs)
        job_of = {task.remote(job): job for job in jobs}
        waiting = [*job_of]
        while waiting:
            finished, waiting = ray.wait(waiting)
            for reference in finished:
                yield Outcome(job_of[reference], _failure(ray, reference))


def _attempt(job: Job) -> tuple[str | None, Exception | None]:
    """Do a run; returns why it failed, and an error that ends the sweep.

    A task sees only the GPU that Ray assigned to it, whatever its number on the machine.
    """
    try:
        return work(replace(job, device=job.device.split(":")[0])), None
    except Exception as error:
        known = known_error(error)
        if known is None:
            raise
        return None, known


def _failure(ray: Any, reference: Any) -> str | None:
    try:
        failure, error_of_sweep = ray.get(reference)
    except ray.exceptions.RayTaskError:
        raise  # a fault in pzsl
    except ray.exceptions.RayError as error:
        raise UserError(
            f"A run was lost {RETRIES + 1} times ({str(error).splitlines()[0][:120]}): finished "
            "runs are kept: check the machines of the cluster, then run the same command again."
        ) from error
    if error_of_sweep is not None:
        raise error_of_sweep
    reason: str | None = failure
    return reason
