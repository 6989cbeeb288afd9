"""Who may write: one process at a time, also on a disk that has no locks."""

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
"""Ending of the file that stands in for a lock."""
_NO_LOCKS = {
    getattr(errno, name, errno.ENOSYS) for name in ("ENOLCK", "ENOSYS", "ENOTSUP", "EOPNOTSUPP")
}
"""What network disks answer that have no locks, or whose server for locks is down."""


def lock(path: Path, busy: str, remedy: str = "wait for it") -> BaseFileLock:
    """Take a lock without waiting; any thread may release it.

    Args:
        path: of the lock's file. On a disk without locks another file, which is there while the
            lock is held, stands in for it, and a line says so.
        busy: what is the matter where another process holds it. remedy: what to do then.

    Raises:
        UserError: another process holds it.
        OSError: the folder can't be written.
    """
    if _no_locks(path):
        return _stand_in(path, busy, remedy)
    held = FileLock(path, timeout=0, thread_local=False)
    try:
        held.acquire()
    except Timeout:
        raise UserError(f"{busy} (it holds {path.name}): {remedy}.") from None
    return held


def unlock(held: BaseFileLock) -> None:
    """Give a lock back and remove its file, where the system lets a file in use be removed."""
    with suppress(OSError):
        Path(held.lock_file).unlink()
    held.release()


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Wait until no other process is in such a block for the same folder.

    Where the system can't lock folders, nobody waits.
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


def _no_locks(path: Path) -> bool:
    """Whether a disk has no locks: versions of `filelock` take that for a held one, or warn."""
    if fcntl is None:
        return False
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno in _NO_LOCKS
    return False


def _stand_in(path: Path, busy: str, remedy: str) -> BaseFileLock:
    """A file that is there while the lock is held; one of a killed process stays."""
    path.unlink(missing_ok=True)  # the question made it, and it locks nothing
    taken = path.with_name(path.name + TAKEN)
    held = SoftFileLock(taken, timeout=0, thread_local=False)
    try:
        held.acquire()
    except Timeout:
        raise UserError(
            f"{busy} (it has made {taken}): {remedy}; if none is at work, a killed one left that "
            "file: remove it."
        ) from None
    say(f"The disk of {path.parent} has no locks: the file {taken.name} stands in for one.")
    return held
