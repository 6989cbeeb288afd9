"""`tar`: images in tar files with the webdataset layout; read in place, nothing is unpacked.

    data-000.tar: 0001.jpg  0001.cls      the class's name, or its number in the list of classes
                  0002.jpg  0002.json     {"label": "red fox", "split": "test_seen"}

The files of one image share their name up to the first dot. Either every image gives its split, or
none does, and the split is drawn as for folders of class folders. Tar files at addresses, such as
`s3://bucket/data-000.tar`, are read by ranges.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pzsl.datasets.base import Dataset
from pzsl.datasets.names import join_spellings, joined_spellings_message, normal_form, tidy
from pzsl.datasets.own.class_list import read_class_list, say_without_images
from pzsl.datasets.own.folder import TEST, UNSEEN, check_shares, draw_share
from pzsl.datasets.own.folder_files import SUFFIXES
from pzsl.datasets.own.tar_files import CLASSES, Place, Sample, find_tars, read_samples
from pzsl.datasets.reading import Reader, RemoteReader, check_length, open_image
from pzsl.errors import UserError
from pzsl.files import digest
from pzsl.progress import say
from pzsl.remote import Range, as_path, as_remote
from pzsl.requests import say_unused, unless

MOST_DIGITS = re.compile(r"\d{1,9}")
"""Class numbers: Python refuses to read some thousand digits as a number."""


@dataclass(frozen=True)
class TarReader:
    """Opens images inside tar files by id; picklable."""

    tars: tuple[Path, ...]
    places: Mapping[str, Place]

    def __call__(self, path: str) -> Image.Image:
        """Open an image.

        Raises:
            OSError: it is not a complete image, or its tar file is missing or cut short.
        """
        place = self.places[path]
        check_length(place.length)
        content = self.start_of(path, place.length)
        if len(content) < place.length:
            raise OSError(f"{self.tars[place.tar].name} is cut short")
        return open_image(io.BytesIO(content))

    def size_of(self, path: str) -> int:
        """Bytes of an image."""
        return self.places[path].length

    def start_of(self, path: str, count: int) -> bytes:
        """The first bytes of an image; OSError if its tar file can't be read."""
        place = self.places[path]
        with self.tars[place.tar].open("rb") as file:
            file.seek(place.offset)
            return file.read(min(count, place.length))


def load_tar(
    root: str | Path,
    classes: str | Path | None = None,
    seed: int = 0,
    unseen: float = UNSEEN,
    test: float = TEST,
) -> Dataset:
    """Images in tar files; files that are neither images nor annotations are counted.

    Args:
        root: a tar file, a folder of them, or several as `data-{000..009}.tar`; or an address.
        classes: names of all classes in order, one per line; needed if labels are numbers. By
            default `classnames.txt` beside the tar files, if it exists.
        seed, unseen, test: of a drawn split, if the images give none; see `load_folder`.

    Raises:
        UsageError: a share is below 0, or not below 1.
        UserError: a tar file is missing or damaged, an image has no label, or a label no name.
    """
    check_shares(unseen, test)
    root = as_path(root)
    tars = find_tars(root)
    samples = read_samples(root, tars)
    if not samples:
        raise UserError(f"{root}: the tar files hold no image ({', '.join(sorted(SUFFIXES))}).")
    beside = tars[0].parent / CLASSES
    file = as_path(classes) if classes else (beside if beside.is_file() else None)
    labels = [_label(sample) for sample in samples]
    names, rows = _number(labels, samples, read_class_list(file) if file else None)
    say_without_images(str(file), names, {names[row] for row in rows})
    splits = _annotated_splits(samples)
    origin = {"root": str(root), "tar_files": str(len(tars))}
    if splits is None:
        splits = _drawn_splits(samples, rows, names, seed, unseen, test)
        origin |= {"seed": str(seed), "unseen": str(unseen), "test": str(test)}
    else:
        shares = {"unseen": unless(UNSEEN, unseen), "test_share": unless(TEST, test)}
        say_unused("the images give their splits", split_seed=unless(0, seed), **shares)
    trained = {row for row, split in zip(rows, splits, strict=True) if split != "test_unseen"}
    hashed = digest(*(f"{s.path}\t{s.place.length}" for s in samples))
    return Dataset(
        name="tar",
        classes=names,
        seen=np.array([row in trained for row in range(len(names))]),
        paths=tuple(sample.path for sample in samples),
        labels=np.array(rows, dtype=np.int64),
        splits=np.array(splits),
        reader=_reader(tars, samples),
        origin=tuple({**origin, "listing": hashed[:12]}.items()),
    )


def _reader(tars: tuple[Path, ...], samples: Sequence[Sample]) -> Reader:
    places = {sample.path: sample.place for sample in samples}
    files = [file for file in map(as_remote, tars) if file]
    if not files:
        return TarReader(tars, places)
    return RemoteReader(
        {id: Range(files[at.tar], at.offset, at.offset + at.length) for id, at in places.items()}
    )


def _label(sample: Sample) -> str:
    label = sample.annotation.get("label", sample.annotation.get("cls"))
    if isinstance(label, bool) or not isinstance(label, int | float | str) or not tidy(str(label)):
        raise UserError(
            f"'{sample.path}' has no label: put its class into a .cls file beside it, or as "
            "'label' into a .json file."
        )
    return tidy(str(label))


def _number(
    labels: list[str], samples: list[Sample], listed: Sequence[str] | None
) -> tuple[tuple[str, ...], list[int]]:
    """Class names, and the class id of each image, whose label is a name or a number."""
    spelling = join_spellings(labels, listed or ())
    joined = joined_spellings_message(spelling)
    if joined:
        say(joined)
    names = listed or sorted(set(spelling.values()))
    if listed is None and all(label.isdecimal() for label in labels):
        raise UserError(
            "The labels in the tar files are numbers: give the class names in their order, one a "
            "line, with --classes FILE."
        )
    row = {normal_form(name): number for number, name in enumerate(names)}
    rows = []
    for label, sample in zip(labels, samples, strict=True):
        number = row.get(normal_form(label), int(label) if MOST_DIGITS.fullmatch(label) else -1)
        if not 0 <= number < len(names):
            raise UserError(
                f"'{sample.path}' has the label '{label[:60]}', which is none of the {len(names)} "
                "classes: correct it, or the list of classes."
            )
        rows.append(number)
    return tuple(names), rows


def _annotated_splits(samples: list[Sample]) -> list[str] | None:
    """The splits that the annotations give; None if none gives one."""
    splits = [sample.annotation.get("split") for sample in samples]
    if not any(splits):
        return None
    if not all(isinstance(split, str) for split in splits):
        silent = next(s.path for s in samples if not isinstance(s.annotation.get("split"), str))
        raise UserError(f"'{silent}' has no split, but others do: give all of them one, or none.")
    return [str(split) for split in splits]


def _drawn_splits(
    samples: list[Sample],
    rows: list[int],
    names: tuple[str, ...],
    seed: int,
    unseen: float,
    test: float,
) -> list[str]:
    """Draw unseen classes and test images by seed and name, as for folders."""
    hidden = draw_share(names, unseen, seed)
    of_class: dict[int, list[str]] = {}
    for sample, row in zip(samples, rows, strict=True):
        of_class.setdefault(row, []).append(sample.path)
    tested = {path for paths in of_class.values() for path in draw_share(paths, test, seed)}
    return [
        "test_unseen"
        if names[row] in hidden
        else ("test_seen" if sample.path in tested else "trainval")
        for sample, row in zip(samples, rows, strict=True)
    ]
