"""Put candidate sets into a cache that is whole, without touching its embeddings."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pzsl.store.hdf5 import OF_CANDIDATES, explained, locked, opened, read_stored, sync_folder


def write_candidates(
    source: Path,
    target: Path,
    offsets: NDArray[np.int64],
    labels: NDArray[np.int32],
    annotation: dict[str, Any],
) -> Path:
    """Copy a cache, with other candidate sets; the two may be the same file.

    The copy gets its name when it is whole: a kill at any moment leaves the old file as it was.
    Close what maps `target` before: not every system replaces a mapped file.

    Args:
        source: a whole cache.
        target: the annotated one; one that exists is replaced.
        offsets: (N + 1,); labels: (M,) of the sets; see `CacheHeader`.
        annotation: how they were made; anything JSON can hold.

    Returns:
        `target`.

    Raises:
        UserError: the disk is full, the folder can't be written, or another process writes there.
    """
    with explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    lock = locked(target)
    offsets, labels = offsets.astype("<i8"), labels.astype("<i4")
    scratch = target.with_name(target.name + ".annotating")
    try:
        with explained(target):
            shutil.copyfile(source, scratch)
            with opened(scratch, "r+") as file:
                for name, values in zip(OF_CANDIDATES, (offsets, labels), strict=True):
                    if name in file:
                        del file[name]
                    file.create_dataset(name, data=values)
                file.attrs["annotation"] = json.dumps(annotation)
            read_stored(scratch)  # a virtual cache doesn't find its parts from everywhere
            with scratch.open("rb+") as whole:
                os.fsync(whole.fileno())
            scratch.replace(target)
            sync_folder(target.parent)
    finally:
        scratch.unlink(missing_ok=True)
        with suppress(OSError):
            Path(lock.lock_file).unlink()
        lock.release()
    return target
