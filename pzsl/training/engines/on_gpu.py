"""Do runs on a GPU of this machine: many in one program, fewer if its memory runs out."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from pzsl.errors import lacks_memory
from pzsl.progress import say
from pzsl.training.engines.batched import run_together
from pzsl.training.engines.budget import groups_of
from pzsl.training.engines.job import Job, Outcome, work
from pzsl.training.run import is_finished


def one_by_one(jobs: Sequence[Job]) -> Iterator[Outcome]:
    """Do one run after the other, in this process; yields the outcome of each."""
    for job in jobs:
        yield Outcome(job, work(job))


def run_on_gpu(jobs: Sequence[Job], device: torch.device) -> Iterator[Outcome]:
    """Do runs in groups, as many together as the device has memory for."""
    for group in groups_of(jobs, device) if jobs else []:
        yield from _together(group)


def _together(group: Sequence[Job]) -> Iterator[Outcome]:
    """Do runs together; in two halves if memory runs out, one by one if a run fails."""
    reported = 0
    try:
        for _ in run_together(group):
            reported += 1
            yield Outcome(group[0])
        return
    except OSError:
        raise
    except Exception as error:  # done one by one below, the run at fault reports it
        unfinished = [job for job in group if not is_finished(Path(job.folder))]
        split_in_two = lacks_memory(error) and len(unfinished) > 1
    yield from (Outcome(job) for job in group[: len(group) - len(unfinished) - reported])
    if not split_in_two:
        yield from one_by_one(unfinished)
        return
    half = (len(unfinished) + 1) // 2
    say(f"Out of memory with {len(group)} runs in one program: continuing with {half}.")
    gc.collect()  # what the failed program leaves in cycles holds memory, too
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    yield from _together(unfinished[:half])
    yield from _together(unfinished[half:])
