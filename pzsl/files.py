"""Read files safely, and write them atomically: a file is complete or does not exist."""

from __future__ import annotations

import codecs
import hashlib
import io
import json
import os
import re
import secrets
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from pzsl.errors import UserError

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

ENDING = ".tmp"
DENSEST, SLACK = 50, 2**28
"""Times that what is compressed may unpack to its size, and bytes that it may come to anyway."""


def check_regular(path: Path) -> None:
    """Refuse a path that exists but is not a regular file; opening a named pipe would hang.

    Raises:
        OSError: it is a pipe, a device, a socket or a folder.
    """
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "a pipe or a device"
        error = OSError(f"this is not a regular file, but {kind}")
        error.strerror = str(error)  # as errors of the system have it
        raise error


def check_unpacked(size: int, path: Path) -> None:
    """Refuse what unpacks to far more than its file holds, before memory or disk is taken for it.

    Args:
        size: bytes of its contents, as it declares them.
        path: of the file.

    Raises:
        ValueError: it is taken for a decompression bomb.
    """
    packed_size = path.stat().st_size
    if size > DENSEST * packed_size + SLACK:
        raise ValueError(
            f"{packed_size / 1e6:,.1f} MB that unpack to {size / 1e6:,.0f} MB are taken for a "
            "decompression bomb"
        )


def check_zip(path: Path) -> None:
    """The same of a zip file, such as `.npz`; what is not a zip file passes.

    Raises:
        OSError, ValueError: it is damaged, or taken for a decompression bomb.
    """
    if zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as file:
                check_unpacked(sum(info.file_size for info in file.infolist()), path)
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
            raise ValueError(str(error)) from None


def read_text(path: Path) -> str:
    """Read a text file in UTF-8, or in UTF-16 with a byte order mark as Windows writes it.

    Raises:
        OSError: it can't be read, or is not a regular file. ValueError: it isn't UTF-8.
    """
    check_regular(path)
    content = path.read_bytes()
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("not text in UTF-8, save it as such") from None
    return io.StringIO(text, newline=None).read()  # any end of a line becomes \n


def read_lines(path: Path, what: str) -> list[str]:
    """The lines of a user's text file.

    Args:
        path: of the file. what: what it holds, for the message.

    Raises:
        UserError: it can't be read, or isn't text.
    """
    try:
        return read_text(path).splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{what} '{path}' can't be read: {reason}.") from None


def real_path(path: Path) -> Path:
    """Resolve a path; unlike `Path.resolve`, circular links raise no error here.

    Opening such a file later fails with an `OSError`, like any unreadable file.
    """
    return Path(os.path.realpath(path))


def state_of(path: Path) -> tuple[int, int, int, int]:
    """Device, inode, size and modification time of a file: they change when it is replaced.

    All are 0 if there is no such file; opening it will then say what is wrong.
    """
    try:
        at = path.stat()
    except OSError:
        return 0, 0, 0, 0
    return at.st_dev, at.st_ino, at.st_size, at.st_mtime_ns


def unfit_text(texts: Sequence[str]) -> tuple[int, str] | None:
    """Find the first text that can't be stored as zero-terminated UTF-8.

    Args:
        texts: (n,) names or prompts.

    Returns:
        Its index and what is wrong with it; None if all can be stored.
    """
    joined = "".join(texts)
    if "\0" not in joined and _is_unicode(joined):
        return None  # checking a million names one by one would take a second
    for row, text in enumerate(texts):
        if "\0" in text:
            return row, "a zero byte"
        if not _is_unicode(text):
            return row, "a character that is no Unicode"
    return None


def _is_unicode(text: str) -> bool:
    """Whether a text can be encoded as UTF-8: an unpaired surrogate can't."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def parse_json(text: str | bytes) -> Any:
    """Parse JSON from an untrusted source.

    Raises:
        ValueError: it is no JSON, is nested deeper than Python can follow, gives a key twice, or
            holds an unpaired surrogate, which can't be written again.
    """
    try:
        value = json.loads(text, object_pairs_hook=_object)
        escapes = b"\\ud" if isinstance(text, bytes) else "\\ud"
        if escapes in text.lower():  # type: ignore[operator]
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise ValueError("its lists or objects are nested too deep") from None
    except UnicodeEncodeError:
        raise ValueError("a text in it holds a character that is no Unicode") from None
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; of a key that is there twice, Python would keep the last value."""
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key '{twice[:60]}' is there twice in one object")
    return value


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file that replaces `path` if the block succeeds, and is removed if it fails.

    Args:
        path: of the final file; a missing folder is created.

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
        if path.exists():  # what was made private, or shared with a group, stays so
            shutil.copymode(path, temporary)
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # the error of a full disk doesn't name the file
        raise
    finally:
        if handle is not None:
            os.close(handle)


def _temporary_beside(path: Path) -> tuple[int | None, Path]:
    """Create a temporary file, with a handle that keeps it locked while this process lives."""
    while True:
        name = path.with_name(f".{path.name}.{secrets.token_hex(4)}{ENDING}")
        try:  # unlike those of `tempfile`, as private as the user's umask says
            handle = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            continue
        if fcntl is None:  # Windows: a file in use can't be removed
            os.close(handle)
            return None, name
        with suppress(OSError):  # a disk without locks
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if name.exists():  # another process may just have removed it as stale
            return handle, name
        os.close(handle)


def _remove_stale(path: Path) -> None:
    """Remove temporary files of this path that killed processes left: those without a lock."""
    pattern = re.compile(re.escape(f".{path.name}.") + r"[a-z0-9_]{8}" + re.escape(ENDING))
    with suppress(OSError):
        for candidate in path.parent.iterdir():
            if pattern.fullmatch(candidate.name):
                with suppress(OSError):
                    _remove_unlocked(candidate)


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
    """Write a file atomically: a reader sees the old or the new content, never half of it.

    Args:
        path: of the file; a missing folder is created.
        content: text (written as UTF-8) or bytes.

    Raises:
        OSError: the folder can't be written or the disk is full; no partial file is left.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, atomically. NaN raises ValueError: JSON has none."""
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
