"""The files below a folder, also in folders that are linked into it; paths that others may read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath
from unicodedata import normalize

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


def same_letters(wanted: Iterable[str], existing: Iterable[str]) -> dict[str, str]:
    """Names that exist with their letters composed otherwise (Unicode's NFC and NFD).

    macOS and Linux, and the programs on them, write `é` in one or in the other form.

    Returns:
        Each wanted name -> the one that exists in this or, if there is only one, another form.
    """
    names = set(existing)
    of_form: dict[str, list[str]] = {}
    for name in names:
        of_form.setdefault(normalize("NFC", name), []).append(name)
    spelt = {}
    for name in wanted:
        others = [name] if name in names else of_form.get(normalize("NFC", name), [])
        if len(others) == 1:
            spelt[name] = others[0]
    return spelt


def spelt_on_disk(root: Path, paths: Iterable[str]) -> dict[str, str]:
    """Paths below a folder that are files only with their letters composed otherwise.

    Args:
        root: the folder.
        paths: of files, with forward slashes; those that exist, or are ASCII, are skipped.

    Returns:
        Path as given -> as it is on disk; see `same_letters`.
    """
    listings: dict[Path, list[str]] = {}
    spelt = {}
    for path in paths:
        if path.isascii() or (root / path).exists():
            continue
        folder = root
        for part in PurePosixPath(path).parts:
            if folder not in listings:
                listings[folder] = os.listdir(folder) if folder.is_dir() else []  # noqa: PTH208
            folder /= same_letters([part], listings[folder]).get(part, part)
        if folder.is_file():
            spelt[path] = folder.relative_to(root).as_posix()
    return spelt


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
