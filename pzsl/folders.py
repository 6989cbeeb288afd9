"""The files below a folder, also in folders that are linked into it; paths that others may read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath

from pzsl.progress import say


def walk(root: Path, on_error: Callable[[OSError], None] | None = None) -> list[tuple[str, ...]]:
    """Every file below a folder as the parts of its path; each folder once, even if linked.

    Args:
        root: the folder.
        on_error: is called for each folder that can't be listed; by default these are skipped.
    """
    files: list[tuple[str, ...]] = []
    visited: set[tuple[int, int]] = set()
    for folder, folders, names in os.walk(root, onerror=on_error, followlinks=True):
        status = os.stat(folder)  # noqa: PTH116  # quicker than a Path for each folder
        key = (status.st_dev, status.st_ino)
        if key in visited and status.st_ino:
            folders.clear()
            continue
        visited.add(key)
        folders.sort()
        above = PurePosixPath(Path(folder).relative_to(root).as_posix()).parts
        files.extend((*above, name) for name in names)
    return files


def files_called(name: str, root: Path) -> list[Path]:
    """Every file of this name below a folder, sorted."""
    return sorted(root.joinpath(*parts) for parts in walk(root) if parts[-1] == name)


def common_prefix(first: tuple[str, ...], second: tuple[str, ...]) -> int:
    """How many components two paths share at their beginnings."""
    length = 0
    for a, b in zip(first, second, strict=False):
        if a != b:
            break
        length += 1
    return length


def common_suffix(first: tuple[str, ...], second: tuple[str, ...]) -> int:
    """How many components two paths share at their ends."""
    return common_prefix(first[::-1], second[::-1])


def say_disclosed(where: Path, texts: Iterable[str]) -> None:
    """Warn about full paths of this machine in what is made to be shared: they often hold names."""
    words = (text.removeprefix("local-dir:") for text in texts)
    kinds = PurePosixPath, PureWindowsPath
    paths = [word for word in words if any(kind(word).is_absolute() for kind in kinds)]
    if paths:
        say(
            f"{where} names places on this machine, which all who get it can read: "
            f"{', '.join(dict.fromkeys(paths))}."
        )
