"""Find tar files, and list their images with their annotations; image data are skipped."""

from __future__ import annotations

import re
import tarfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from pzsl.datasets.names import normal_form
from pzsl.datasets.own.folder_files import SUFFIXES, is_hidden, kinds_of, say_other_kinds
from pzsl.datasets.tar_headers import CheckedHeader, check_end
from pzsl.errors import UserError
from pzsl.files import parse_json
from pzsl.progress import counted, progress, say
from pzsl.remote import as_path, as_remote

CLASSES = "classnames.txt"
"""The list of classes beside tar files."""
NUMBERS = re.compile(r"\{(\d+)\.\.(\d+)\}")
ANNOTATIONS = (".cls", ".json")
SMALL = 1 << 20
"""Largest label file that is read, in bytes."""
AT_ONCE = 8
"""Tar files at addresses whose headers are read at a time."""


class Place(NamedTuple):
    """Position of an image: number of its tar file, offset and length of its bytes."""

    tar: int
    offset: int
    length: int


@dataclass
class Sample:
    """One image and its annotation: the text of a `.cls` file, the object of a `.json` file."""

    path: str = ""
    place: Place = field(default_factory=lambda: Place(0, 0, 0))
    annotation: dict[str, Any] = field(default_factory=dict)


@dataclass
class Content:
    """What a tar file holds.

    Attributes:
        tar: its path.
        number: of the tar file.
        samples: by their names; those without an image have an annotation only.
        kinds: how many other files have each ending.
        links: names of images and annotations that are links, or sparse: they are not read.
    """

    tar: Path
    number: int
    samples: dict[str, Sample] = field(default_factory=dict)
    kinds: Counter[str] = field(default_factory=Counter)
    links: list[str] = field(default_factory=list)


def find_tars(root: Path) -> tuple[Path, ...]:
    """The absolute paths of the tar files that a root stands for.

    Raises:
        UserError: one is missing, or there is none.
    """
    numbers = NUMBERS.search(root.name)
    if numbers:
        first, last = numbers.groups()
        texts = (f"{n:0{len(first)}d}" for n in range(int(first), int(last) + 1))
        start, end = numbers.span()
        names = [root.name[:start] + text + root.name[end:] for text in texts]
        folder = as_remote(root.parent)
        existing = folder.below(names) if folder else {}
        tars = [as_path(existing.get(name, root.with_name(name))) for name in names]
    else:
        tars = _tars_in(root) if root.is_dir() else [root]
    missing = [tar for tar in tars if not tar.is_file()]
    if missing or not tars:
        absent = missing[0] if missing else f"{root}/*.tar"
        raise UserError(
            f"--root {root}: {absent} is not there: give a tar file, a folder of them, or several "
            "as 'data-{000..009}.tar'."
        )
    return tuple(tar.resolve() for tar in tars)


def _tars_in(folder: Path) -> list[Path]:
    """The tar files directly in a folder, sorted; others, such as compressed ones, are counted."""
    tars: list[Path] = []
    others: list[Path] = []
    for entry in folder.iterdir():
        if not is_hidden(entry.name) and entry.name != CLASSES:
            (tars if entry.suffix.lower() == ".tar" else others).append(entry)
    say_other_kinds(f"Folder '{folder}'", kinds_of(entry for entry in others if entry.is_file()))
    return sorted(tars)


def read_samples(root: Path, tars: tuple[Path, ...]) -> list[Sample]:
    """The images of all tar files in order, with their annotations; what is left out is counted.

    The headers of several tar files are read at a time if they are remote.

    Raises:
        UserError: a tar file is damaged, or an annotation can't be read.
    """
    numbers = range(len(tars))
    if as_remote(tars[0]):
        contents = []
        with ThreadPoolExecutor(AT_ONCE) as pool, progress(len(tars), "tar files") as bar:
            for content in pool.map(_content, tars, numbers):
                contents.append(content)
                bar.update(1)
    else:
        contents = list(map(_content, tars, numbers))
    _say_left_out(root, contents)
    samples = (sample for content in contents for sample in content.samples.values())
    return [sample for sample in samples if sample.path]


def _say_left_out(root: Path, contents: list[Content]) -> None:
    place = f"In the tar files '{root}'"
    say_other_kinds(place, sum((content.kinds for content in contents), Counter()))
    links = [f"{content.tar.name}/{name}" for content in contents for name in content.links]
    if links:
        count = counted(len(links), "link or sparse file", "links or sparse files")
        say(f"{place}: left out: {count}, such as '{links[0]}'.")
    alone = [
        f"{content.tar.name}/{name}"
        for content in contents
        for name, sample in content.samples.items()
        if not sample.path
    ]
    if alone:
        count = counted(len(alone), "annotation")
        say(f"{place}: left out: {count} without an image, such as that of '{alone[0]}'.")
    _say_candidates(place, [s for content in contents for s in content.samples.values() if s.path])


def _say_candidates(place: str, samples: list[Sample]) -> None:
    """Warn about candidate sets in annotations: only those of tables are read."""
    with_sets = [
        sample.path
        for sample in samples
        if any(normal_form(key).startswith("candidate") for key in sample.annotation)
    ]
    if with_sets:
        count = counted(len(with_sets), "image")
        say(
            f"{place}: left out: the candidates of {count}, such as '{with_sets[0]}': to "
            "learn from them, unpack the images and list them in a table (--dataset table)."
        )


def _content(tar: Path, number: int) -> Content:
    """Read the headers and the annotations of a tar file."""
    content = Content(tar, number)
    try:
        with (
            tar.open("rb") as file,
            tarfile.open(
                fileobj=file, mode="r:", tarinfo=CheckedHeader, encoding="utf-8"
            ) as archive,
        ):
            for member in archive:
                _note(archive, member, content)
            check_end(archive)
    except tarfile.TarError as error:
        raise UserError(
            f"{tar} is no whole, plain tar file ({error}): fetch it again, or pack its images "
            "anew, without compression; give joined ones one by one."
        ) from None
    return content


def _note(archive: tarfile.TarFile, member: tarfile.TarInfo, content: Content) -> None:
    """Record one file of a tar: the position of an image, or an annotation."""
    folder, slash, name = member.name.rpartition("/")
    stem, ending = name.partition(".")[0], PurePosixPath(name).suffix.lower()
    if not stem or member.isdir():
        return
    if ending not in SUFFIXES and ending not in ANNOTATIONS:
        content.kinds[ending] += 1
        return
    if not member.isreg() or member.issparse():
        content.links.append(member.name)
        return
    if any("\ud800" <= letter <= "\udfff" for letter in member.name):
        raise UserError(f"{content.tar}: the name {member.name!r} is not UTF-8: rename it.")
    sample = content.samples.setdefault(folder + slash + stem, Sample())
    if ending in ANNOTATIONS:
        annotation = _annotation(archive, member, ending, content.tar)
        sample.annotation = {**sample.annotation, **annotation}
        return
    if sample.path:
        raise UserError(f"{content.tar}: '{member.name}' is a second image of '{sample.path}'.")
    sample.path = f"{content.tar.name}/{member.name}"
    sample.place = Place(content.number, member.offset_data, member.size)


def _annotation(
    archive: tarfile.TarFile, member: tarfile.TarInfo, ending: str, tar: Path
) -> dict[str, Any]:
    content = archive.extractfile(member) if member.size <= SMALL else None
    try:
        text = content.read().decode("utf-8-sig") if content else ""
        annotation = {"label": text.strip()} if ending == ".cls" else parse_json(text)
        if not isinstance(annotation, dict):
            raise ValueError("not a JSON object")
    except ValueError as error:
        raise UserError(f"{tar}: '{member.name}' can't be read: {error}.") from None
    return annotation
