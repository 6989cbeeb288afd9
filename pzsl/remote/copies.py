"""Whole files to and from addresses: the parts of a cache, and caches."""

from __future__ import annotations

import os
from collections.abc import Iterable
from filecmp import cmp
from pathlib import Path, PurePath

from pzsl.errors import UserError
from pzsl.files import replacing
from pzsl.progress import say
from pzsl.remote.paths import RemotePath, as_path

FOLDER = Path("cache")
"""Where this machine keeps its copies of files at addresses."""


def local_copies(files: Iterable[str | PurePath], folder: Path) -> list[Path]:
    """The given files on a local disk; those at addresses are fetched into a folder.

    Args:
        files: paths, or addresses, in whose last part `*` stands for any text.
        folder: gets the copies, under their own names; one of the same size and time that is there
            already is not fetched again.

    Raises:
        UserError: there is no file at an address, it can't be fetched, or another file is in its
            copy's place.
    """
    local: list[Path] = []
    for file in map(as_path, files):
        if not isinstance(file, RemotePath):
            local.append(file)
            continue
        matches = file.parent.glob(file.name) if "*" in file.name else [file]
        matches = [path for path in matches if path.is_file()]
        if not matches:
            raise UserError(f"{file}: there is no such file: check the address.")
        local += [fetch(path, folder / path.name) for path in matches]
    return local


def fetch(address: RemotePath, file: Path) -> Path:
    """Copy a file from an address, unless a copy of the same size and time exists already.

    Raises:
        UserError: another file is in the copy's place.
    """
    size, time = address.info.size, address.modified()
    there = file.stat() if file.is_file() else None
    if there is not None:
        if (there.st_size, int(there.st_mtime)) == (size, time):
            return file
        if there.st_size != size:
            raise _in_the_way(file, address)
    say(f"{address}: {size / 1e6:,.1f} MB are downloaded to {file}.")
    with replacing(file) as temporary:
        address.fetch(temporary)
        if there is not None and not cmp(file, temporary, shallow=False):
            raise _in_the_way(file, address)
        os.utime(temporary, (time, time))
    return file


def _in_the_way(file: Path, address: RemotePath) -> UserError:
    return UserError(
        f"{file} exists, and is not the file at {address}: move it away, or delete it if it is an "
        "older copy of that."
    )


def upload(file: Path, address: RemotePath) -> None:
    """Copy a local file to an address.

    Raises:
        RemoteError: it can't be written there; the local file is kept.
    """
    say(f"{address}: {file.stat().st_size / 1e6:,.1f} MB are uploaded from {file}.")
    address.put(file)
