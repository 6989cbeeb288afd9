"""`RemotePath`: the path of a file at an address, with the few operations that reading needs."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path, PurePath, PurePosixPath
from types import SimpleNamespace
from typing import Any, NamedTuple, TypeVar, cast

from pzsl.remote.clients import filesystem
from pzsl.remote.retries import RemoteError, attempt

ADDRESS = re.compile(r"([a-z][a-z0-9+]+):(/{1,2})[^/]")
"""How an address begins; `Path` reduces its two slashes to one."""
VERSION = ("ETag", "etag", "generation", "md5Hash", "blob_id", "mtime", "created", "LastModified")
"""What servers say about a file that changes with its contents; the first one given counts."""
BLOCK = 4 << 20
"""Bytes read at a time where a file is read in order."""
SMALLEST = 16 << 10
"""Fewest bytes of a piece that is read after a break."""
CONNECTIONS = 16
"""Requests at a time."""

Result = TypeVar("Result")


class Info(NamedTuple):
    """What a server says about a file: `file` or `directory`, bytes, and a mark of its version.

    The version is empty in a listing: some servers tell it in other words there.
    """

    kind: str
    size: int
    version: str


class RemotePath(PurePosixPath):
    """The path of a file or folder at an address, with the methods of `Path` that data sets need.

    Its size is that of the first look at it, or of the listing that named it; its version is that
    of its opening, so that reading notices a file replaced since. Picklable, with both.
    """

    def __str__(self) -> str:
        return super().__str__().replace(":/", "://", 1)

    def __fspath__(self) -> str:
        raise TypeError(f"{self} is not a path on a disk")

    def __reduce__(self) -> Any:
        return _restored, (str(self), self.__dict__.get("info"))

    @cached_property
    def info(self) -> Info:
        """Kind, size and version; FileNotFoundError if there is nothing."""
        return _info(self._call(lambda files, path: files.info(path)))

    def exists(self) -> bool:
        """Whether there is a file or a folder."""
        try:
            return bool(self.info)
        except FileNotFoundError:
            return False

    def is_file(self) -> bool:
        """Whether there is a file."""
        return self.exists() and self.info.kind == "file"

    def is_dir(self) -> bool:
        """Whether there is a folder: files whose names begin with this one and a slash."""
        return self.exists() and self.info.kind == "directory"

    def is_symlink(self) -> bool:
        """False: servers have no links."""
        return False

    def resolve(self) -> RemotePath:
        """The same path: servers have no links."""
        return self

    def stat(self) -> SimpleNamespace:
        """The size, as `st_size`."""
        return SimpleNamespace(st_size=self.info.size)

    def iterdir(self) -> list[RemotePath]:
        """Files and folders directly below, sorted by name; [] if there are none."""
        try:
            entries = self._call(_list)
        except FileNotFoundError:
            return []
        infos = {name: _info(entry)._replace(version="") for name, entry in entries.items()}
        return [_with_info(self / name, infos[name]) for name in sorted(infos)]

    def glob(self, pattern: str) -> list[RemotePath]:
        """Files and folders directly below whose names match a pattern."""
        return [path for path in self.iterdir() if fnmatchcase(path.name, pattern)]

    def below(self, names: Iterable[str]) -> dict[str, RemotePath]:
        """The files below by relative name, as far as they exist; lists each folder once."""
        wanted = {name: self / name for name in names}
        folders = list(dict.fromkeys(path.parent for path in wanted.values()))
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            listings = pool.map(RemotePath.iterdir, folders)
            files = {path: path for paths in listings for path in paths if path.info.kind == "file"}
        return {name: files[path] for name, path in wanted.items() if path in files}

    def open(self, mode: str = "rb") -> io.BufferedReader:
        """Open for reading in blocks of 4 MiB; what is skipped within a block costs no request."""
        if mode != "rb":
            raise ValueError(f"{self} is opened for reading only")
        if not self.info.version:  # as a listing leaves it
            _with_info(self, RemotePath(str(self)).info)
        return io.BufferedReader(_RawReader(self), BLOCK)

    def read_bytes(self) -> bytes:
        """All bytes."""
        return self.read(0, self.info.size)

    def read_text(self, encoding: str = "utf-8") -> str:
        """The whole text."""
        return self.read_bytes().decode(encoding)

    def read(self, start: int, stop: int, check: bool = True) -> bytes:
        """Bytes `start` to `stop`.

        Args:
            start, stop: stop may lie beyond the end.
            check: that part of a file still is of the version that was opened.

        Raises:
            FileNotFoundError: the file is gone.
            RemoteError: it was replaced since, or the server gives no answer.
        """
        opened = self.info
        stop = min(stop, opened.size)
        try:
            pieces = list(self._pieces(start, stop))
        except RemoteError:
            self._check_version(opened)
            raise
        whole = (start, stop) == (0, opened.size) and len(pieces) == 1
        if check and not whole:  # never bytes of two versions
            self._check_version(opened)
        return b"".join(pieces)

    def modified(self) -> int:
        """When the file was put there, in seconds since 1970."""
        return int(self._call(lambda files, path: files.modified(path)).timestamp())

    def _pieces(self, start: int, stop: int) -> Iterator[bytes]:
        """The bytes in one piece; after a break in smaller ones, so that any connection gets on."""
        length = stop - start

        def piece(files: Any, path: str) -> bytes:
            nonlocal length
            end = min(stop, start + length)
            length = max(length // 4, SMALLEST)  # in case this piece breaks off
            content = bytes(files.cat_file(path, start=start, end=end))
            if len(content) != end - start:
                raise OSError(f"{len(content)} of {end - start} bytes came")
            length = 2 * len(content)
            return content

        while start < stop:
            content = self._call(piece)
            start += len(content)
            yield content

    def fetch(self, file: Path) -> None:
        """Copy to a local file."""
        self._call(lambda files, path: files.get_file(path, str(file)))

    def put(self, file: Path) -> None:
        """Copy a local file to this address, where it appears when it is complete."""
        self._call(lambda files, path: files.put_file(str(file), path))
        self.__dict__.pop("info", None)

    def _check_version(self, opened: Info) -> None:
        now = RemotePath(str(self)).info
        if now != (opened if opened.version else opened._replace(version=now.version)):
            raise RemoteError(
                f"{self} was replaced while it was read ({opened.size:,} bytes before, "
                f"{now.size:,} now): run the same command again with --overwrite."
            )

    def _call(self, action: Callable[[Any, str], Result]) -> Result:
        files, path = filesystem(str(self))
        return attempt(str(self), lambda: action(files, path))


class _RawReader(io.RawIOBase):
    """A remote file as a raw stream, each read of which is a request.

    For listing a tar file: reading its images later tells whether it is still the same.
    """

    def __init__(self, path: RemotePath) -> None:
        self.path, self.position = path, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.path.info.size}
        self.position = start[whence] + offset
        return self.position

    def readinto(self, buffer: Any) -> int:
        content = self.path.read(self.position, self.position + len(buffer), check=False)
        buffer[: len(content)] = content
        self.position += len(content)
        return len(content)


def as_path(text: str | PurePath) -> Path:
    """The `Path` of a path, or the `RemotePath` of an address, which has the same methods.

    Args:
        text: a path; or an address, whose double slash may be a single one, as in a `Path` of it.

    Raises:
        UserError: no client of this protocol is installed.
    """
    if isinstance(text, RemotePath) or not is_address(text):
        return cast("Path", text) if isinstance(text, RemotePath) else Path(text)
    path = RemotePath(text if isinstance(text, str) else text.as_posix())
    filesystem(str(path))
    return cast("Path", path)


def as_remote(path: PurePath) -> RemotePath | None:
    """The path itself if it is a `RemotePath`, else None."""
    return path if isinstance(path, RemotePath) else None


def is_address(text: str | PurePath) -> bool:
    """Whether this is an address; one with a single slash has to be of a known protocol."""
    if isinstance(text, RemotePath):
        return True
    match = ADDRESS.match(text if isinstance(text, str) else text.as_posix())
    if match is None:
        return False
    if match[2] == "//":
        return True
    from fsspec.registry import known_implementations

    return match[1] in known_implementations


def _list(files: Any, folder: str) -> dict[str, dict[str, Any]]:
    """What lies directly below a folder, by name; not the empty file that marks some folders."""
    entries = {str(entry["name"]).rstrip("/"): entry for entry in files.ls(folder, detail=True)}
    entries.pop(folder.rstrip("/"), None)
    return {name.rpartition("/")[2]: entry for name, entry in entries.items()}


def _info(entry: dict[str, Any]) -> Info:
    """What a server says about a file, in one form for all of them."""
    version = next((str(entry[name]) for name in VERSION if entry.get(name)), "")
    return Info(str(entry["type"]), int(entry.get("size") or 0), version)


def _with_info(path: RemotePath, info: Info | None) -> RemotePath:
    if info is not None:
        path.__dict__["info"] = info
    return path


def _restored(text: str, info: Sequence[Any] | None) -> RemotePath:
    return _with_info(RemotePath(text), Info(*info) if info else None)
