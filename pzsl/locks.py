"""File locks: one process writes at a time, even on a disk without locks."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from pzsl.errors import UserError
from pzsl.progress import say

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

TAKEN = ".taken"
"""Ending of the marker file that replaces a lock."""
_NO_LOCKS = {
    getattr(errno, name, errno.ENOSYS) for name in ("ENOLCK", "ENOSYS", "ENOTSUP", "EOPNOTSUPP")
}
"""Errors of network disks without locks, or whose lock server is down."""


def lock(path: Path, busy: str, remedy: str = "wait for it") -> BaseFileLock:
    """Acquire a lock without waiting; any thread may release it.

    Args:
        path: of the lock's file. On a disk without locks, a marker file that exists while the lock
            is held replaces it, and a message says so.
        busy: the error message if another process holds the lock. remedy: what to do then.

    Raises:
        UserError: another process holds the lock.
        OSError: the folder can't be written.
    """
    if _lacks_locks(path):
        return _marker_file_lock(path, busy, remedy)
    file_lock = FileLock(path, timeout=0, thread_local=False)
    try:
        file_lock.acquire()
    except Timeout:
        raise UserError(f"{busy} (it holds {path.name}): {remedy}.") from None
    return file_lock


def unlock(file_lock: BaseFileLock) -> None:
    """Release a lock and remove its file, if the system allows removing a file in use."""
    with suppress(OSError):
        Path(file_lock.lock_file).unlink()
    file_lock.release()


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Wait until no other process is in such a block for the same folder.

    On systems that can't lock folders, the block starts at once.
    """
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _lacks_locks(path: Path) -> bool:
    """Whether a disk has no locks; `filelock` would report a held lock, or only warn."""
    if fcntl is None:
        return False
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno in _NO_LOCKS
    return False


def _marker_file_lock(path: Path, busy: str, remedy: str) -> BaseFileLock:
    """Create a marker file that exists while the lock is held; a killed process leaves its own."""
    path.unlink(missing_ok=True)  # left by `_lacks_locks`; it locks nothing
    marker = path.with_name(path.name + TAKEN)
    file_lock = SoftFileLock(marker, timeout=0, thread_local=False)
    try:
        file_lock.acquire()
    except Timeout:
        raise UserError(
            f"{busy} (it has made {marker}): {remedy}; if none is at work, a killed one left that "
            "file: remove it."
        ) from None
    say(f"The disk of {path.parent} has no locks: the file {marker.name} stands in for one.")
    return file_lock
