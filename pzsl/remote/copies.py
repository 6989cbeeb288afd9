"""Whole files to and from addresses: the parts of a cache, and caches."""

from __future__ import annotations

import os
from collections.abc import Iterable
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
        UserError: there is no file at an address, or it can't be fetched.
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
    """Copy a file from an address, unless a copy of the same size and time exists already."""
    size, time = address.info.size, address.modified()
    if file.is_file():
        copy = file.stat()
        if (copy.st_size, int(copy.st_mtime)) == (size, time):
            return file
    say(f"{address}: {size / 1e6:,.1f} MB are downloaded to {file}.")
    with replacing(file) as temporary:
        address.fetch(temporary)
        os.utime(temporary, (time, time))
    return file


def upload(file: Path, address: RemotePath) -> None:
    """Copy a local file to an address.

    Raises:
        RemoteError: it can't be written there; the local file is kept.
    """
    say(f"{address}: {file.stat().st_size / 1e6:,.1f} MB are uploaded from {file}.")
    address.put(file)
