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

from pzsl.store.disk import locked, sync_folder
from pzsl.store.faults import explained
from pzsl.store.layout import opened

GROUP = "/image/candidates"


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
    scratch = target.with_name(target.name + ".annotating")
    try:
        with explained(target):
            shutil.copyfile(source, scratch)
            with opened(scratch, "r+") as file:
                if GROUP in file:
                    del file[GROUP]
                file.create_dataset(f"{GROUP}/offsets", data=offsets.astype("<i8"))
                file.create_dataset(f"{GROUP}/labels", data=labels.astype("<i4"))
                file.attrs["annotation"] = json.dumps(annotation)
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
