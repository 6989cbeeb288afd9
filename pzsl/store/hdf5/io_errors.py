"""Turn errors of the operating system and of HDF5 into one line that a user can act on."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pzsl.errors import UserError

_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_MISPLACED = {errno.ENOTDIR, errno.EISDIR, errno.EEXIST}


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an OSError about `path` into a UserError that says what to do.

    Raises:
        UserError: instead of any OSError in the block.
    """
    try:
        yield
    except OSError as error:
        raise UserError(_explain(error, path)) from error


def _explain(error: OSError, path: Path) -> str:
    number = error.errno
    if number is None and (match := re.search(r"errno = (\d+)", str(error))):
        number = int(match[1])  # HDF5 says it only in its text
    if number in _FULL:
        return (
            f"{path}: the disk is full. Rows already written are kept: free some space and "
            "run the same command again."
        )
    if number in _DENIED:
        return (
            f"{path}: the folder {path.parent} can't be written (read-only or not yours): "
            "choose another place with --out."
        )
    if number in _MISPLACED:
        return f"{path}: this is a folder, or lies below a file: choose another place with --out."
    text = " ".join(str(error.strerror or error).split())
    return f"{path}: {text[:200]}."


def unreadable(error: Exception, path: Path) -> UserError:
    """The error for a file that HDF5 can't open or can't read to its end."""
    text = " ".join(str(error).split())
    if isinstance(error, PermissionError):
        return UserError(f"{path}: no permission to read it.")
    if path.stat().st_size == 0:
        return UserError(f"{path}: the file is empty: extract or import it again.")
    if cut := re.search(r"truncated file: eof = (\d+).*stored_eof = (\d+)", text):
        return UserError(
            f"{path}: the file is cut off: {int(cut[1]):,} of {int(cut[2]):,} bytes are there: "
            "copy it again, or extract it again with --overwrite."
        )
    if "signature not found" in text:
        return UserError(
            f"{path}: this is not an HDF5 file, so no feature cache: give a file that "
            "'pzsl extract' or 'pzsl import' wrote."
        )
    return UserError(
        f"{path}: the file is damaged ({text[:160]}): copy it again, or extract it again "
        "with --overwrite."
    )
