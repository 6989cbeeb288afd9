"""The images to classify: image files, folders, tables of images, or precomputed features."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from pzsl.datasets.own import (
    SUFFIXES,
    folder_of,
    is_hidden,
    is_named_image,
    kinds_of,
    read_paths,
    say_other_kinds,
)
from pzsl.errors import UsageError, UserError
from pzsl.exchange.vectors import check_vectors, read_vectors
from pzsl.files import digest
from pzsl.folders import spelt_on_disk, walk
from pzsl.progress import counted, say

TABLES = (".csv", ".tsv", ".txt", ".parquet", ".pq", ".json", ".jsonl", ".ndjson")
FEATURES = ".npy"


@dataclass(frozen=True)
class Source:
    """The images to classify, in order.

    Attributes:
        names: (N,) their names in answers: the path as given, of a table's file in full where
            another table has the same; or, for features, `FILE[ROW]`.
        files: (N,) the image files; empty for features.
        vectors: (N, D) features, memory-mapped; None for images.
        tables: whether some of the paths are those of a table.
    """

    names: tuple[str, ...]
    files: tuple[str, ...]
    vectors: NDArray[np.floating] | None = None
    tables: bool = False

    @property
    def digest(self) -> str:
        """A hash of this list of images, and of when each file was last changed."""
        files = self.files or (self.names[0].rpartition("[")[0],)
        return digest(*self.names, *files, *map(_state, files))


def find_images(arguments: Sequence[str | Path], root: str | Path | None = None) -> Source:
    """Find the images named by arguments.

    Args:
        arguments: image files, folders that are searched at any depth, tables with a column of
            paths; or a single `.npy` file (N, D) of features.
        root: folder that the paths of tables are relative to; by default that of each table.

    Raises:
        UsageError: nothing is given, or features together with other arguments.
        UserError: a file or a folder is missing, empty, or not what its ending says.
    """
    for argument in arguments:
        if not isinstance(argument, str | PurePath):
            raise UsageError(
                f"Images are paths, not {type(argument).__name__}: save pictures as files, and "
                "features with numpy.save as one .npy."
            )
    places = [Path(argument) for argument in arguments]
    if not places:
        raise UsageError("Name at least one image, a folder or table of some, or features (.npy).")
    if any(place.suffix.lower() == FEATURES for place in places):
        if len(places) > 1:
            raise UsageError("Features (.npy) are answered alone: name one file and nothing else.")
        return _features(places[0])
    pairs = [pair for place in places for pair in _images(place, Path(root) if root else None)]
    unique = dict.fromkeys(pairs)
    if len(unique) < len(pairs):
        again = counted(len(pairs) - len(unique), "image")
        say(f"{again} named again, by another argument: one answer for each image.")
    times = Counter(name for name, _ in unique)  # two tables may call different files the same
    names = tuple(name if times[name] == 1 else file for name, file in unique)
    files = tuple(file for _, file in unique)
    return Source(names, files, tables=any(map(_is_table, places)))


def _images(place: Path, root: Path | None) -> Iterator[tuple[str, str]]:
    """Name and file of each image of an argument."""
    if place.is_dir():
        yield from ((str(file), str(file)) for file in _image_files(place))
    elif not place.is_file():
        raise UserError(f"No image '{place}'.")
    elif _is_table(place):
        paths = read_paths(place)
        if not paths:
            raise UserError(f"{place} names no image.")
        base = place.parent if root is None else root
        spelt = spelt_on_disk(base, paths)
        files = [base / spelt.get(path, path) for path in paths]
        if not any(file.exists() for file in files):
            near = folder_of(paths[0], base)
            way = f"they are below {near}: give that" if near else "give their folder"
            raise UserError(
                f"{place}: none of its {counted(len(paths), 'image')} is below {base}, such as "
                f"'{paths[0]}': {way} as --root."
            )
        yield from zip(paths, map(str, files), strict=True)
    else:
        yield str(place), str(place)


def _image_files(folder: Path) -> list[Path]:
    """The files below a folder with the ending of an image, sorted; all others are counted.

    Those that can't be read, such as links to nothing, are among them: each fails by itself.
    """
    visible = [parts for parts in walk(folder, _say_unreadable) if not any(map(is_hidden, parts))]
    files = sorted(folder.joinpath(*parts) for parts in visible)
    images = [file for file in files if is_named_image(file)]
    others = kinds_of(file for file in files if not is_named_image(file))
    say_other_kinds(f"Folder '{folder}'", others)
    if not images:
        raise UserError(f"{folder} holds no image ({', '.join(sorted(SUFFIXES))}).")
    return images


def _say_unreadable(error: OSError) -> None:
    say(f"Folder '{error.filename}' is left out: it can't be read ({error.strerror}).")


def _state(file: str) -> str:
    """Size and time of change of a file; '' if it is missing, which its answer tells."""
    try:
        about = Path(file).stat()
    except OSError:
        return ""
    return f"{about.st_size} {about.st_mtime_ns}"


def _is_table(place: Path) -> bool:
    return place.suffix.lower() in TABLES and not place.is_dir()


def _features(file: Path) -> Source:
    vectors = read_vectors(file)
    check_vectors(str(file), vectors, normalise=True)
    if not len(vectors):
        raise UserError(f"{file} holds no row.")
    return Source(tuple(f"{file}[{row}]" for row in range(len(vectors))), (), vectors)
