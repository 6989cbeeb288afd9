"""One run as a process of its own gets it: file names and plain values."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from pzsl.store import Cache, load_cache
from pzsl.training.config import RunConfig
from pzsl.training.run import Attempt, attempt, execute


@dataclass(frozen=True)
class Job:
    """A run to be done.

    Attributes:
        cache: file of the features. config: what to do. folder: of the record.
        device: to compute on.
        checkpoint_seconds: least time between two checkpoints.
        memory: GiB of training features that are held in memory.
    """

    cache: str
    config: RunConfig
    folder: str
    device: str
    checkpoint_seconds: float
    memory: float


def begin(job: Job, sharing: int = 1) -> Attempt:
    """A run, step by step; `sharing` a program with so many."""
    how = torch.device(job.device), job.checkpoint_seconds, job.memory, sharing
    return attempt(open_cache(job.cache), job.config, Path(job.folder), *how)


def work(job: Job) -> None:
    """Do one run and write its record."""
    how = torch.device(job.device), job.checkpoint_seconds, job.memory
    execute(open_cache(job.cache), job.config, Path(job.folder), *how)


@lru_cache(maxsize=1)
def open_cache(path: str) -> Cache:
    """The cache of a worker: checked once by the process that began the sweep."""
    return load_cache(path, check=False)
