"""The local engine: worker processes that do one run after the other; one that dies is replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from pzsl.training.engines.job import Job, Outcome, fail, work
from pzsl.workers import Tell, WorkerPool

REMEDY = "give fewer --workers or a lower --memory"


def run_on_processes(jobs: Sequence[Job], workers: int) -> Iterator[Outcome]:
    """Do runs in `workers` processes; yields the outcome of each as it finishes.

    A run whose processes die too often fails, and the others are done.

    Raises:
        UserError: the cache was replaced, or a plugin is missing.
        OSError: a record can't be written.
    """
    with WorkerPool(_prepare, jobs, lambda job: f"run {job.config.name}", REMEDY) as pool:
        for job, kind, value in pool.run_all([jobs[0].device] * workers):
            yield Outcome(job, fail(job, value) if kind == "lost" else value)


def _prepare(device: str, tell: Tell) -> Callable[[Job], str | None]:
    """Load nothing in advance: a run names its device, and `open_cache` caches its file."""
    return work
