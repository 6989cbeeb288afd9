"""Find published image paths in a local folder tree.

Publishers list paths on their own disks (`/BS/.../SUN/images/a/abbey/x.jpg`, AWA2 with a double
slash). A path is matched by its longest suffix that occurs in the tree.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pzsl.folders import common_prefix, common_suffix, walk


@dataclass(frozen=True)
class Matches:
    """Where the published images are.

    Attributes:
        ids: (N,) published path without the folders that all share; the same on every machine.
        found: (N,) path relative to the root, None if the tree has no such file.
        other_case: published id -> path of a file whose name differs only in case.
        files: number of files in the tree.
    """

    ids: tuple[str, ...]
    found: tuple[str | None, ...]
    other_case: dict[str, str]
    files: int


def match_files(root: Path, published: Sequence[str]) -> Matches:
    """Match published paths with the files below a folder.

    Among files with the right name, the one that shares the most parent folders with the published
    path is taken; ties go to the one closest to the root. If several published paths share a file
    name, the parent folder has to match too. A name that differs only in case is not a match (file
    systems disagree on it), but it is reported.

    Args:
        root: folder that is searched recursively; links to folders are followed.
        published: (N,) paths with forward slashes.
    """
    parts = [_parts(path) for path in published]
    ids = ids_of(published)
    by_name: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    by_small: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    files = walk(root)
    for file in files:
        by_name[file[-1]].append(file)
    times = Counter(path[-1] for path in set(parts))
    matched = [_best(p, by_name.get(p[-1], []), 2 if times[p[-1]] > 1 else 1) for p in parts]
    if None in matched:
        for file in files:
            by_small[file[-1].lower()].append(file)
    other_case = {
        key: "/".join(hit)
        for key, path, match in zip(ids, parts, matched, strict=True)
        if match is None and (hit := _best(path, by_small.get(path[-1].lower(), [])))
    }
    return Matches(ids, tuple("/".join(f) if f else None for f in matched), other_case, len(files))


def ids_of(published: Sequence[str]) -> tuple[str, ...]:
    """Published paths (N,) without the folders that all of them share."""
    parts = [_parts(path) for path in published]
    folders = [path[:-1] for path in parts]
    shared = common_prefix(min(folders), max(folders)) if folders else 0
    return tuple("/".join(path[shared:]) for path in parts)


def _parts(path: str) -> tuple[str, ...]:
    return tuple(part for part in path.split("/") if part not in ("", "."))


def _best(
    path: tuple[str, ...], files: list[tuple[str, ...]], least: int = 0
) -> tuple[str, ...] | None:
    """The file with the longest common suffix (at least `least` parts), nearest to the root."""
    if not files:
        return None
    file = min(files, key=lambda file: (-common_suffix(path, file), len(file), file))
    return file if common_suffix(path, file) >= least else None
