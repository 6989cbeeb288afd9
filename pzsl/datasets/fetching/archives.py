"""Unpack untrusted archives safely: nothing outside the target, no links, all or nothing.

Members are unpacked into a temporary folder and moved to their places only when all of them are
complete; a damaged or hostile archive leaves nothing behind.
"""

from __future__ import annotations

import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple, Self

from pzsl.datasets.tar_headers import CheckedHeader
from pzsl.errors import UserError
from pzsl.files import check_unpacked

Damage = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError)
"""Raised for damaged or encrypted archives and bombs, beside OSError without an errno."""
OF_NAMES = (
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.SOLARIS_XHDTYPE),
    b"x",
    b"g",
)
LONGEST = 2**20
"""Bytes that the names and notes of a member may have."""


class _Header(CheckedHeader):
    """One whose long name, which is read as a whole, is as long as names are."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        header = super().frombuf(buf, encoding, errors)
        if header.type in OF_NAMES and header.size > LONGEST:
            raise tarfile.ReadError(f"a name of {header.size:,} bytes")
        return header


class Member(NamedTuple):
    """A file of an archive: its path, length and content."""

    name: str
    size: int
    content: IO[bytes]


def unpack(archive: Path, root: Path, only: str = "") -> int:
    """Unpack a .zip or (compressed) .tar into a folder; existing files are replaced.

    Args:
        archive: the file.
        root: the target folder.
        only: unpack only members whose path starts with this.

    Returns:
        Number of files that were unpacked.

    Raises:
        UserError: the archive is damaged, holds a path or link that leads out of `root`, or has no
            member that starts with `only`; then nothing is left in `root`.
    """
    stage = root / f".{archive.name}.unpacking"
    shutil.rmtree(stage, ignore_errors=True)
    try:
        count = 0
        for member in _members(archive, only):
            target = stage.joinpath(*_safe_parts(archive, member.name))
            target.parent.mkdir(parents=True, exist_ok=True)
            with member.content as content, target.open("wb") as file:
                shutil.copyfileobj(content, file, 1 << 20)
            if target.stat().st_size != member.size:
                raise EOFError(f"'{member.name}' ends too early")
            count += 1
        if not count:
            raise UserError(f"{archive} holds no file{f' below {only}' if only else ''}.")
        _move(stage, root)
    except UserError:
        raise
    except (*Damage, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise UserError(f"{archive} can't be unpacked to {root}: {error.strerror}.") from None
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(":")
        raise UserError(
            f"{archive} is not a complete archive ({reason}): delete it and fetch it again."
        ) from None
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return count


def _members(archive: Path, only: str) -> Iterator[Member]:
    with archive.open("rb") as start:
        is_zip = start.read(2) == b"PK"  # `is_zipfile` looks at the end, which may be cut off
    if is_zip:
        with zipfile.ZipFile(archive) as file:
            yield from _zip_members(archive, file, only)
    else:
        with tarfile.open(archive, tarinfo=_Header) as file:
            yield from _tar_members(archive, file, only)


def _zip_members(archive: Path, file: zipfile.ZipFile, only: str) -> Iterator[Member]:
    members = file.infolist()
    check_unpacked(sum(info.file_size for info in members), archive)
    for info in members:
        _safe_parts(archive, info.filename)
        if info.is_dir() or not info.filename.startswith(only):
            continue
        if stat.S_ISLNK(info.external_attr >> 16):
            raise UserError(f"{archive}: '{info.filename}' is a link; nothing was unpacked.")
        yield Member(info.filename, info.file_size, file.open(info))


def _tar_members(archive: Path, file: tarfile.TarFile, only: str) -> Iterator[Member]:
    """Regular files; links to files of the same archive are unpacked as copies."""
    total = 0
    for info in file:
        total += info.size
        check_unpacked(total, archive)
        name = info.name.removeprefix("./")
        _safe_parts(archive, name)
        if info.isdir() or not name.startswith(only):
            continue
        try:
            content = file.extractfile(info)
        except (KeyError, RecursionError):
            content = None
        if content is None:
            raise UserError(
                f"{archive}: '{name}' is not a file, or a link out of the archive; nothing was "
                "unpacked."
            )
        size = content.seek(0, 2)
        content.seek(0)
        yield Member(name, size, content)


def _safe_parts(archive: Path, name: str) -> tuple[str, ...]:
    """The parts of a member's path; raises if it leads out of the target folder."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in "".join(path.parts[:1]) or "\0" in name:
        raise UserError(
            f"{archive}: the member '{name}' leads out of the folder; nothing was unpacked. "
            "Don't trust this archive."
        )
    return path.parts


def _move(stage: Path, root: Path) -> None:
    """Move every file of a folder to the same relative path below another folder."""
    for source in sorted(path for path in stage.rglob("*") if path.is_file()):
        target = root / source.relative_to(stage)
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)
