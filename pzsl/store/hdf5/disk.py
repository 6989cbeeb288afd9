"""What the writer does to the disk: lock a file, put rows into their places, sync a folder."""

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
"""Bytes of a file beside its data sets, and of what stands beside it: more than is ever needed."""
UNSUPPORTED = {errno.EINVAL, errno.ENOSYS, getattr(errno, "EOPNOTSUPP", errno.ENOSYS)}
"""What a disk answers that allocates nothing on trial."""
TRIED = 2**26
"""Bytes that are really allocated on trial: some network disks write a byte of each block."""


def locked(path: Path) -> BaseFileLock:
    """Take the lock of a cache, `path.lock`; any thread may release it.

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
    """Write rows of a mapped array through the file, so that a full disk is an error, not a crash.

    Args:
        file: unbuffered and writable.
        target: the map (N, ...) into the same file, which says where and in which type.
        rows: (n,) which rows, in any order; runs of neighbours become one write.
        block: (n, ...) their values.
    """
    assert isinstance(target, np.memmap)
    order = np.argsort(rows, kind="stable")
    rows, data = rows[order], np.ascontiguousarray(block[order], dtype=target.dtype)
    stride = target.nbytes // len(target)
    for part in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(rows) != 1) + 1):
        if len(part):
            file.seek(target.offset + int(rows[part[0]]) * stride)
            left = data[part[0] : part[-1] + 1].data.cast("B")
            while left:
                left = left[file.write(left) :]


def check_room(path: Path, needed: int) -> None:
    """Find out now that the disk is too small: HDF5 itself can crash where it fills up.

    Args:
        path: of the file to be written.
        needed: bytes of its data sets; room for what else it holds is added.

    Raises:
        UserError: less is free.
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
    """Write as much for a moment: a quota and a limit for files are not told of as free room.

    Raises:
        OSError: there is no such room.
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


def release(array: NDArray[Any]) -> None:
    """Let go of what was read of a mapped array: its pages count as memory of the process."""
    held = getattr(array, "_mmap", None)
    if held is not None and hasattr(mmap, "MADV_DONTNEED"):
        held.madvise(mmap.MADV_DONTNEED)


def sync_folder(folder: Path) -> None:
    """Make sure that a rename outlives a power cut, where the system lets folders be synced."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
