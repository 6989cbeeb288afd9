"""Files that are either whole or not there."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

ENDING = ".tmp"


def check_regular(path: Path) -> None:
    """Refuse to open what is there but no file: opening a named pipe waits for ever.

    Raises:
        OSError: it is a pipe, a device, a socket or a folder.
    """
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "a pipe or a device"
        error = OSError(f"this is no regular file, but {kind}")
        error.strerror = str(error)  # as errors of the system have it
        raise error


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """What a file of text says.

    Raises:
        OSError: it can't be read, or is no regular file. ValueError: it is no such text.
    """
    check_regular(path)
    return path.read_text(encoding)


def real_path(path: Path) -> Path:
    """Where a path leads; unlike `Path.resolve`, links that go in a circle are no error here.

    Opening such a file then fails with an `OSError`, as that of any unreadable file.
    """
    return Path(os.path.realpath(path))


def state_of(path: Path) -> tuple[int, int, int, int]:
    """Device, inode, size and time of change: what tells one file at a path from the next.

    All are 0 where there is none: who opens it says what is wrong.
    """
    try:
        at = path.stat()
    except OSError:
        return 0, 0, 0, 0
    return at.st_dev, at.st_ino, at.st_size, at.st_mtime_ns


def unfit_text(texts: Sequence[str]) -> tuple[int, str] | None:
    """The first text that no file keeps as UTF-8 which a zero byte ends.

    Args:
        texts: (n,) names or prompts.

    Returns:
        Its row and what is wrong with it; None where all are fit.
    """
    joined = "".join(texts)
    if "\0" not in joined and _is_unicode(joined):
        return None  # a million names one by one would take a second
    for row, text in enumerate(texts):
        if "\0" in text:
            return row, "a zero byte"
        if not _is_unicode(text):
            return row, "a character that is no Unicode"
    return None


def _is_unicode(text: str) -> bool:
    """Whether it can be written as UTF-8: half of a surrogate pair can't."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def parse_json(text: str | bytes) -> Any:
    """What a JSON text says, of whoever's making.

    Raises:
        ValueError: it is no JSON, nested deeper than Python can follow, or holds half a
            surrogate pair, which nothing can write again.
    """
    try:
        value = json.loads(text)
        escapes = b"\\ud" if isinstance(text, bytes) else "\\ud"
        if escapes in text.lower():  # type: ignore[operator]
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise ValueError("its lists or objects are nested too deep") from None
    except UnicodeEncodeError:
        raise ValueError("a text in it holds a character that is no Unicode") from None
    return value


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file that becomes `path` when the block ends well, and goes where it fails.

    Args:
        path: where to; its folder is made when missing.

    Yields:
        The temporary file, beside `path`.

    Raises:
        OSError: the folder can't be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(path)
    handle, temporary = _temporary_beside(path)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # a full disk doesn't say of which file
        raise
    finally:
        if handle is not None:
            os.close(handle)


def _temporary_beside(path: Path) -> tuple[int | None, Path]:
    """A new file, and the handle that holds its lock for as long as its process lives."""
    while True:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=ENDING)
        if fcntl is None:  # such systems let nobody remove a file in use
            os.close(handle)
            return None, Path(name)
        with suppress(OSError):  # a disk without locks
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if Path(name).exists():  # another process may have taken it for a stale one just now
            return handle, Path(name)
        os.close(handle)


def _remove_stale(path: Path) -> None:
    """Remove what killed processes left of this file: temporaries that nobody has locked."""
    pattern = re.compile(re.escape(f".{path.name}.") + r"[a-z0-9_]{8}" + re.escape(ENDING))
    with suppress(OSError):
        for found in path.parent.iterdir():
            if pattern.fullmatch(found.name):
                with suppress(OSError):
                    _remove_unlocked(found)


def _remove_unlocked(path: Path) -> None:
    if fcntl is None:
        path.unlink()
        return
    handle = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
    finally:
        os.close(handle)


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, never half of it.

    Args:
        path: where to; its folder is made when missing.
        content: text (written as UTF-8) or bytes.

    Raises:
        OSError: the folder can't be written or the disk is full; no partial file stays behind.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, atomically. NaN is refused: JSON has none."""
    write_atomic(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def sha256_of(file: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hex digits.

    Raises:
        OSError: it can't be read.
    """
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def digest(*parts: str | bytes) -> str:
    """SHA-256 of the parts, each preceded by its length, as 64 hex digits."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8") if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "little"))
        total.update(data)
    return total.hexdigest()
