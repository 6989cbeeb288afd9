"""One run as passed to another process: file names and plain values."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch

from pzsl import plugins
from pzsl.errors import UsageError, UserError, lacks_memory
from pzsl.files import state_of, write_json
from pzsl.store import Cache, load_cache
from pzsl.training.config import RunConfig
from pzsl.training.run import FAILED, Attempt, attempt, execute, is_finished

NO_MEMORY = (
    "It lacked memory: give a smaller --set batch_size=..., a lower --memory or fewer --workers."
)


@dataclass(frozen=True)
class Job:
    """A run to do.

    Attributes:
        cache: file of the features.
        config: of the run.
        folder: of the record.
        device: to compute on.
        checkpoint_seconds: minimum time between two checkpoints.
        memory: GiB of training features kept in memory.
        threads: number of CPU threads.
    """

    cache: str
    config: RunConfig
    folder: str
    device: str
    checkpoint_seconds: float
    memory: float
    threads: int = 1


class Outcome(NamedTuple):
    """The outcome of a run: success, or the reason for its failure in one line."""

    job: Job
    failure: str | None = None


def begin(job: Job, sharing: int = 1) -> Attempt:
    """Start a run that pauses at each fit; `sharing` is the number of runs trained together."""
    plugins.enrol(job.config.plugins)
    cache = open_cache(job.cache, job.config.cache_hash)
    execution = torch.device(job.device), job.checkpoint_seconds, job.memory, sharing
    return attempt(cache, job.config, Path(job.folder), *execution)


def work(job: Job) -> str | None:
    """Do one run and write its record, or `failed.json`.

    Returns:
        None, or the reason in one line if this run failed; others may still succeed.

    Raises:
        UserError: the cache was replaced, or a plugin is missing.
        UsageError, OSError: an error that would make other runs fail as well.
    """
    if is_finished(Path(job.folder)):
        return None  # another process has done it in the meantime
    plugins.enrol(job.config.plugins)
    cache = open_cache(job.cache, job.config.cache_hash)
    execution = torch.device(job.device), job.checkpoint_seconds, job.memory, job.threads
    try:
        execute(cache, job.config, Path(job.folder), *execution)
    except (UsageError, OSError):
        raise
    except UserError as error:
        return fail(job, str(error))
    except Exception as error:
        if lacks_memory(error):
            return fail(job, NO_MEMORY)
        blamed = plugins.blame(error, _plugin_of(job.config))
        line = str(blamed or f"unexpected {type(error).__name__}: {error}; a fault in pzsl.")
        return fail(job, line, traceback.format_exc())
    return None


def _plugin_of(config: RunConfig) -> str | None:
    return config.method if f"methods {config.method}" in config.plugins else None


def fail(job: Job, reason: str, trace: str | None = None) -> str:
    """Record why a run failed; returns the reason as one line."""
    reason = " ".join(reason.split())
    failure = {"reason": reason, "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    write_json(Path(job.folder) / FAILED, failure | ({"traceback": trace} if trace else {}))
    return reason


def open_cache(path: str, cache_hash: str) -> Cache:
    """Open the cache that a run's configuration names.

    The process that started the sweep has checked its contents, so only the fingerprint is
    compared, once in each process and again if the file at the path is replaced.

    Raises:
        UserError: the file was replaced after the sweep began.
    """
    cache = _open_file(path, state_of(Path(path)))
    if cache.fingerprint != cache_hash:
        raise UserError(
            f"{path} was replaced after this sweep began: its images, labels or prompts differ "
            "now. Finished runs are kept; the same command trains on the cache that is there."
        )
    return cache


@lru_cache(maxsize=1)
def _open_file(path: str, state: tuple[int, int, int, int]) -> Cache:
    """`state` changes when the file at a path is replaced, so the new file is opened."""
    return load_cache(path, check=False)
