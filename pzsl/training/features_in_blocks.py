"""Features that don't fit into memory: read from the cache file and shuffled in blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pzsl.methods.core import ChosenRows, TrainingFeatures
from pzsl.store.hdf5 import FileRows, in_files, release

MEMORY = 2.0
"""Gibibytes of training features kept in memory; larger ones are read in blocks."""
RUN = 256
"""Adjacent rows of the file that are read together, a run: half a megabyte."""
MIXED = 64
"""Runs whose rows are mixed with each other: 16,384 images."""

BLOCK = 1 << 16
"""Rows copied from a memory map at a time."""
SCORED, SCORES = 4096, 1 << 21
"""Most images scored at a time, and most scores: 8 MB."""


class StoredRows:
    """`TrainingFeatures` that are read from a file in blocks.

    They are read, not mapped: pages of a map count as memory of the process. The runs of rows read
    last stay in a buffer, so rows in the order of `shuffled` are read from the file once.

    Args:
        source: (N, ...) of a file, or of the parts of a virtual cache.
        rows: (n,) which of its rows, ascending.
        device: of the returned tensors.
    """

    def __init__(self, source: FileRows, rows: NDArray[np.int64], device: torch.device) -> None:
        self.source = source
        self.rows, self.device = torch.from_numpy(rows), device
        self.buffer = np.empty((2 * MIXED * RUN, *source.shape[1:]), source.dtype)
        self._clear_buffer()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> torch.Size:
        """Shape as of a tensor."""
        return torch.Size((len(self.rows), *self.source.shape[1:]))

    def new_zeros(self, *shape: int) -> Tensor:
        """Zeros on the same device, as of a tensor."""
        return torch.zeros(*shape, device=self.device)

    def subset(self, chosen: Tensor) -> StoredRows:
        """Some of these rows (n,), ascending."""
        subset = object.__new__(StoredRows)
        subset.__dict__.update(self.__dict__)
        subset.rows = self.rows[chosen.cpu()]
        subset.buffer = np.empty_like(self.buffer)
        subset._clear_buffer()
        return subset

    def __getitem__(self, key: Tensor | tuple[Tensor, Tensor]) -> Tensor:
        """Rows (B,) in any order as a tensor (B, ...); a pair gives rows and a view of each."""
        chosen, *views = key if isinstance(key, tuple) else (key,)
        rows = self.rows[chosen.cpu()].numpy()
        runs = rows // RUN
        needed_runs = np.unique(runs)
        if len(needed_runs) > 2 * MIXED:
            halves = torch.tensor_split(torch.arange(len(chosen)), 2)
            return torch.cat([self[_restricted(key, half)] for half in halves])
        self._read(needed_runs)
        slots = self.slot_of_run[runs] * RUN + rows % RUN
        values = torch.from_numpy(self.buffer[(slots, *(view.cpu().numpy() for view in views))])
        return values.to(self.device, torch.float32)

    def shuffled(self, generator: torch.Generator) -> Tensor:
        """All rows in a random order that is cheap to read: 64 random runs at a time, mixed."""
        bounds = torch.searchsorted(self.rows, torch.arange(0, int(self.rows[-1]) + RUN + 1, RUN))
        spans = [span for span in bounds.unfold(0, 2, 1).tolist() if span[1] > span[0]]
        order = torch.randperm(len(spans), generator=generator).tolist()
        mixed = []
        for start in range(0, len(order), MIXED):
            rows = torch.cat(
                [torch.arange(*spans[index]) for index in order[start : start + MIXED]]
            )
            mixed.append(rows[torch.randperm(len(rows), generator=generator)])
        return torch.cat(mixed)

    def _clear_buffer(self) -> None:
        self.slot_of_run = np.full(len(self.source) // RUN + 1, -1)
        self.used_slots = 0

    def _read(self, runs: NDArray[np.int64]) -> None:
        missing = runs[self.slot_of_run[runs] < 0]
        if self.used_slots + len(missing) > 2 * MIXED:
            self._clear_buffer()
            missing = runs
        if not len(missing):
            return
        for run in missing.tolist():
            block = self.buffer[self.used_slots * RUN : (self.used_slots + 1) * RUN]
            self.source.read_into(run * RUN, block[: min(RUN, len(self.source) - run * RUN)])
            self.slot_of_run[run] = self.used_slots
            self.used_slots += 1


def _restricted(key: Tensor | tuple[Tensor, Tensor], rows: Tensor) -> Any:
    return tuple(indices[rows] for indices in key) if isinstance(key, tuple) else key[rows]


def in_blocks(array: NDArray[Any], count: int, memory: float) -> bool:
    """Whether `count` rows of an array take more than `memory` GiB, and are read in blocks."""
    size = count * (array.nbytes // max(len(array), 1))
    return size > memory * 2**30 and in_files(array) is not None


def scored_together(classes: int) -> int:
    """How many images are scored at a time, so that their scores take little memory."""
    return max(1, min(SCORED, SCORES // max(classes, 1)))


def load_rows(
    array: NDArray[np.float32], rows: NDArray[np.int64], device: torch.device, memory: float
) -> TrainingFeatures:
    """Rows of an array as a tensor, or as `StoredRows` if they take more than `memory` GiB."""
    source = in_files(array)
    if source is not None and in_blocks(array, len(rows), memory):
        return StoredRows(source, rows, device)
    features = torch.empty(len(rows), *array.shape[1:], device=device)
    for start in range(0, len(rows), BLOCK):
        block = np.array(array[rows[start : start + BLOCK]], dtype=np.float32)
        features[start : start + BLOCK] = torch.from_numpy(block)
        release(array)
    return features


def choose_rows(images: TrainingFeatures, rows: Tensor) -> TrainingFeatures:
    """A view of some training rows (n,), ascending: no copy is made."""
    if isinstance(images, StoredRows):
        return images.subset(rows)
    return ChosenRows(images, rows)
