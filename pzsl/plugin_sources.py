"""The source of a plugin: its file, and the modules of its own that it imports.

A method spread over several files has other numbers when any of them changes. The imports are read
from the source, without running it; what is imported by other means doesn't count.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from pzsl.files import digest, sha256_of
from pzsl.progress import shell_word

_INSTALLED = {"site-packages", "dist-packages"}
"""Folders in which modules lie beside those of others."""


def own_files(file: Path) -> list[Path]:
    """A plugin's file, and the files of its package and beside it that it imports, or these do."""
    files: dict[Path, None] = {}
    waiting = [file]
    while waiting:
        if (here := waiting.pop()) not in files:
            files[here] = None
            waiting += _imported_by(here)
    return list(files)


def source_hash(files: Sequence[Path]) -> str:
    """SHA-256 of a plugin's source, wherever it lies: of its file, or of all of `own_files`."""
    if len(files) == 1:
        return sha256_of(files[0])
    base = Path(os.path.commonpath([file.parent for file in files]))
    return digest(
        "\n".join(sorted(f"{f.relative_to(base).as_posix()} {sha256_of(f)}" for f in files))
    )


def and_others(files: Sequence[Path]) -> str:
    """The names of all files of a plugin but the first, for a message; '' for one alone."""
    return (
        f", or what it imports: {', '.join(file.name for file in files[1:])}" if files[1:] else ""
    )


def _imported_by(file: Path) -> Iterator[Path]:
    """The files of the plugin's own that one of them imports."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return  # to import it will say what is wrong
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _own_modules(file, alias.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            parts = node.module.split(".") if node.module else []
            for alias in node.names:
                words = [*parts, alias.name]  # a module of a package, or a name in a module
                if node.level:
                    yield from _modules(file.parents[node.level - 1], words)
                else:
                    yield from _own_modules(file, words)


def _own_modules(file: Path, parts: Sequence[str]) -> Iterator[Path]:
    """The files of a module that is in the same package as a file, or beside it."""
    if parts[0] == "pzsl":
        return
    above = [folder.parent for folder in file.parents if folder.name == parts[0]]
    beside = [] if file.parent.name in _INSTALLED else [file.parent]
    for folder in [*above[:1], *beside]:
        yield from _modules(folder, parts)


def _modules(folder: Path, parts: Sequence[str]) -> Iterator[Path]:
    """The files that importing a dotted name below a folder runs, as far as there are some."""
    for part in parts:
        yield from filter(Path.is_file, (folder / f"{part}.py", folder / part / "__init__.py"))
        folder /= part


def naming(group: str, at: str) -> str:
    """The command in which a user names a plugin, so that records may load it, too."""
    command = {
        "methods": "train --cache CACHE --method",
        "candidates": "train --cache CACHE --noise",
        "datasets": "extract --dataset",
        "encoders": "extract --model",
    }[group]
    return f"pzsl {command} {shell_word(at)}"
