"""How many runs share a GPU: the memory each will needed, compared with what is free."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from pzsl.candidates import FROM_DATA
from pzsl.device import free_memory
from pzsl.methods.core import KEPT
from pzsl.store import Cache
from pzsl.training.candidate_sets import training_rows
from pzsl.training.engines.job import Job, open_cache

TOGETHER = 32
"""Most runs trained together: more save no time."""
USABLE = 0.8
"""Share of the free memory to plan with; the rest is lost to fragmentation."""
FOLD = 1.6
"""Factor on memory that grows with images and classes, for a run and its fold: 1 + 3/4 x 3/4."""
ENTRY, OUTSIDERS = 64, 32
"""Bytes of a candidate entry including cached indices; entries that a noise model adds."""
COPIES = 8
"""Arrays of the size of a batch's logits that a step needs."""
WEIGHTS = 10
"""Matrices (D, D) of a network, with its gradients and two moments."""
FLOAT = 4


def groups_of(jobs: Sequence[Job], device: torch.device) -> list[list[Job]]:
    """Groups of runs to do together: similar ones, and as many as fit into memory.

    If the free memory is unknown, groups have 32 runs; a run that is too large has its own group.
    """
    free = free_memory(device)
    sorted_jobs = sorted(jobs, key=similarity)
    if free is None:
        starts = range(0, len(sorted_jobs), TOGETHER)
        return [sorted_jobs[start : start + TOGETHER] for start in starts]
    return fill(sorted_jobs, int(USABLE * free), shared_bytes, own_bytes)


def similarity(job: Job) -> tuple[str, str, str]:
    """A sorting key that brings runs which can be trained together next to each other."""
    return job.config.method, job.config.preset, job.config.labels


def fill(
    jobs: Sequence[Job], budget: int, shared: Callable[[Job], int], own: Callable[[Job], int]
) -> list[list[Job]]:
    """Split runs, in order, into groups within a budget of bytes; a single run may exceed it.

    Args:
        jobs: the runs.
        budget: bytes per group.
        shared: bytes that the runs of a group share.
        own: bytes that each run adds.
    """
    groups: list[list[Job]] = []
    unused = 0
    for job in jobs:
        needed = own(job)
        if not groups or len(groups[-1]) == TOGETHER or needed > unused:
            groups.append([])
            unused = budget - shared(job)
        groups[-1].append(job)
        unused -= needed
    return groups


def shared_bytes(job: Job) -> int:
    """Bytes of the features, and of temporaries of one run's closed-form parts."""
    cache = _cache(job)
    (images, dim), classes = _size(job, cache), len(cache.seen)
    views = 0 if cache.views is None else cache.views.shape[1]
    features = 0 if job.config.blocks else images * dim * (1 + views)
    temporaries = [images * dim, images * dim, images * classes]
    return FLOAT * (features + sum(min(numbers, KEPT) for numbers in temporaries))


def own_bytes(job: Job) -> int:
    """Bytes that a run needs for itself while its group is running."""
    cache = _cache(job)
    (images, dim), classes, seen = _size(job, cache), len(cache.seen), int(cache.seen.sum())
    cosines = images * seen if images * seen <= KEPT and not job.config.blocks else 0
    entries = images * min(seen, _candidates(job, cache, seen) + OUTSIDERS)
    step = COPIES * int(job.config.options.get("batch_size", 512)) * classes
    per_image = FLOAT * cosines + ENTRY * entries
    own_images = images * dim if job.config.imbalance != 1 and not job.config.blocks else 0
    return int(FOLD * per_image) + FLOAT * (own_images + step + WEIGHTS * dim * dim)


def _candidates(job: Job, cache: Cache, seen: int) -> int:
    """The approximate number of candidates per image."""
    if job.config.noise not in FROM_DATA:
        rate = job.config.rate or 0.0
        return 1 + int(rate if rate > 1 else rate * seen)
    if cache.candidate_offsets is None:
        return 1
    return 1 + int(np.diff(cache.candidate_offsets).mean())


def _size(job: Job, cache: Cache) -> tuple[int, int]:
    rows = training_rows(cache, job.config.imbalance, job.config.seed)
    return len(rows), int(cache.images.shape[1])


def _cache(job: Job) -> Cache:
    return open_cache(job.cache, job.config.cache_hash)
