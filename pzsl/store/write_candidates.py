"""Put candidate sets into a finished cache without changing its embeddings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pzsl.errors import UserError
from pzsl.locks import unlock
from pzsl.store.hdf5 import (
    CHECKSUMS,
    OF_CANDIDATES,
    RECREATE_HINT,
    SUMMED,
    allocate,
    check_room,
    checksum_problems,
    explained,
    locked,
    opened,
    put_attribute,
    read_attributes,
    read_stored,
    sums_needed,
    sync_folder,
    write_checksums,
)


def write_candidates(
    source: Path,
    target: Path,
    offsets: NDArray[np.int64],
    labels: NDArray[np.int32],
    annotation: dict[str, Any],
) -> Path:
    """Copy a cache with new candidate sets; source and target may be the same file.

    The copy is renamed when it is complete, so a kill at any moment leaves `target` as it was.
    Close all maps of `target` first: not every system can replace a mapped file.

    Args:
        source: a finished cache.
        target: the annotated cache; an existing one is replaced.
        offsets: (N + 1,) where the candidates of each image begin; see `CacheHeader`.
        labels: (M,) the candidates, rows of `classes`.
        annotation: how the sets were made; anything JSON can hold.

    Returns:
        `target`.

    Raises:
        UserError: the disk is full, the folder can't be written, or another process writes there.
    """
    with explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    file_lock = locked(target)
    sets = dict(zip(OF_CANDIDATES, (offsets.astype("<i8"), labels.astype("<i4")), strict=True))
    scratch = target.with_name(target.name + ".annotating")
    try:
        with explained(target):
            stored = read_stored(source)
            for problem in checksum_problems(stored):
                raise UserError(f"{source}: {problem}: {RECREATE_HINT}.")
            added_bytes = sum(array.nbytes for array in sets.values())
            check_room(target, source.stat().st_size + added_bytes)
            arrays = {name: array for name, array in stored.arrays.items() if name != CHECKSUMS}
            _copy(source, scratch, annotation, arrays | sets)
            write_checksums(scratch)  # in the same folder, as a virtual cache names its parts by it
            with scratch.open("rb+") as file:
                os.fsync(file.fileno())
            del stored, arrays  # some systems can't replace a mapped file
            scratch.replace(target)
            sync_folder(target.parent)
    finally:
        scratch.unlink(missing_ok=True)
        unlock(file_lock)
    return target


def _copy(
    source: Path, scratch: Path, annotation: dict[str, Any], arrays: dict[str, NDArray[Any]]
) -> None:
    """Copy a cache into a new file, as HDF5 does not free the space of deleted data sets."""
    sizes = {name: array.nbytes for name, array in arrays.items()}
    with opened(source, "r") as original, opened(scratch, "w") as copy:
        for name, value in read_attributes(original).items():
            put_attribute(copy, name, value)
        put_attribute(copy, "annotation", annotation)
        put_attribute(copy, SUMMED, True)
        for name in _data_sets(original):
            copy.require_group(name.rpartition("/")[0] or "/")
            original.copy(original[name], copy, name)
        for name in OF_CANDIDATES:
            copy.create_dataset(name, data=arrays[name])
        allocate(copy, CHECKSUMS, (sums_needed(sizes),), "<u4")


def _data_sets(file: h5py.File) -> list[str]:
    """Names of the data sets that are copied unchanged."""
    names: list[str] = []
    file.visititems(
        lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None
    )
    return [name for name in names if f"/{name}" not in (*OF_CANDIDATES, CHECKSUMS)]
