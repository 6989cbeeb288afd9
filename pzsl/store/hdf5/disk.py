"""Disk operations of the writer: lock a file, check free space, write rows, sync a folder."""

from __future__ import annotations

import errno
import mmap
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import BaseFileLock
from numpy.typing import NDArray

from pzsl.errors import UserError
from pzsl.locks import lock
from pzsl.store.hdf5.io_errors import explained

MARGIN = 2**18
"""Upper bound of the bytes of a file beside its data sets, and of its lock files."""
UNSUPPORTED = {errno.EINVAL, errno.ENOSYS, getattr(errno, "EOPNOTSUPP", errno.ENOSYS)}
"""Errors of file systems that can't allocate space in advance."""
TRIED = 2**26
"""Most bytes to allocate for a test; some network disks then write a byte of each block."""


def locked(path: Path) -> BaseFileLock:
    """Acquire the lock of a cache, `path.lock`; any thread may release it.

    Raises:
        UserError: another process holds it, or the folder can't be written.
    """
    with explained(path):
        return lock(
            path.with_name(path.name + ".lock"),
            f"{path}: another process is writing it",
            "wait for it, or choose another file with --out",
        )


def put_rows(
    file: BinaryIO, target: NDArray[Any], rows: NDArray[np.int64], block: NDArray[Any]
) -> None:
    """Write rows of a mapped array with file operations: writing to the map would crash on a full
    disk, this raises an OSError.

    Args:
        file: unbuffered and writable.
        target: the map (N, ...) into the same file; gives position and type of the rows.
        rows: (n,) which rows, in any order; consecutive rows become one write.
        block: (n, ...) their values.
    """
    assert isinstance(target, np.memmap)
    order = np.argsort(rows, kind="stable")
    rows, data = rows[order], np.ascontiguousarray(block[order], dtype=target.dtype)
    stride = target.nbytes // len(target)
    for run in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(rows) != 1) + 1):
        if len(run):
            file.seek(target.offset + int(rows[run[0]]) * stride)
            remaining = data[run[0] : run[-1] + 1].data.cast("B")
            while remaining:
                remaining = remaining[file.write(remaining) :]


def check_room(path: Path, needed: int) -> None:
    """Check free disk space in advance, because HDF5 itself can crash when the disk fills up.

    Args:
        path: of the file to write.
        needed: bytes of its data sets; a margin for the rest is added.

    Raises:
        UserError: less space is free.
    """
    needed, free = needed + MARGIN, shutil.disk_usage(path.parent).free
    if needed > free:
        raise UserError(
            f"{path}: it needs {needed / 1e6:,.1f} MB, but the disk has only {free / 1e6:,.1f} MB "
            "free (the disk is full): free some space or choose another place with --out."
        )
    with explained(path):
        _try_room(path, needed)


def _try_room(path: Path, needed: int) -> None:
    """Create a file of this size for a moment, as quotas and size limits don't show as free space.

    Raises:
        OSError: there is not enough space.
    """
    trial = path.with_name(path.name + ".room")
    try:
        with trial.open("wb") as file:
            file.truncate(needed)
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, min(needed, TRIED))
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
    finally:
        trial.unlink(missing_ok=True)


def release(array: Any) -> None:
    """Free the pages of a mapped array that were read; they count as memory of the process."""
    mapping = getattr(array, "_mmap", None)
    if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)


def sync_folder(folder: Path) -> None:
    """Make sure that a rename survives a power cut, if the system can sync folders."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
