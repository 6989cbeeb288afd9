"""Read classes, image list and split of an xlsa17 data set from its two files, without images."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pzsl.datasets.base import SPLITS, Dataset
from pzsl.datasets.published.apy import object_ids
from pzsl.datasets.published.class_names import prompt_names, published_names
from pzsl.datasets.published.mat_files import ImageFile, SplitFile, read_image_file, read_split_file
from pzsl.datasets.published.matching import ids_of
from pzsl.datasets.reading import FileReader
from pzsl.errors import UserError
from pzsl.progress import shell_word


class Counts(NamedTuple):
    """Size of a proposed split, as its authors print it."""

    seen: int
    unseen: int
    trainval: int
    test_seen: int
    test_unseen: int


PROPOSED = {
    "sun": Counts(645, 72, 10320, 2580, 1440),
    "cub": Counts(150, 50, 7057, 1764, 2967),
    "awa2": Counts(40, 10, 23527, 5882, 7913),
    "apy": Counts(20, 12, 5932, 1483, 7924),
    "flo": Counts(82, 20, 5631, 1403, 1155),
}


class Listing(NamedTuple):
    """A published data set whose image files have not been located yet.

    Attributes:
        data: ids, labels, splits, classes and attributes; its reader opens only images in the
            folder of the two files.
        files: (N,) path of each image on the publisher's disk.
        published: (C,) the publisher's class names.
    """

    data: Dataset
    files: tuple[str, ...]
    published: tuple[str, ...]


def read_listing(name: str, folder: Path, names: Path | None = None) -> Listing:
    """Read `att_splits.mat` and `res101.mat`.

    Args:
        name: of the data set; for others than the five, class names follow the rule alone.
        folder: that holds the two files.
        names: the user's class names; by default `names.tsv` in the folder, if there is one.

    Raises:
        UserError: a file is missing, damaged or of another data set.
    """
    split, images = read_split_file(folder / "att_splits.mat"), read_image_file(_images_of(folder))
    of_row = _splits_of_rows(folder, split, images)
    published = _published(name, folder, split)
    names_file = names or (folder / "names.tsv" if (folder / "names.tsv").is_file() else None)
    ids = ids_of(images.files)
    seen = np.isin(np.arange(len(published)), images.labels[split.rows["trainval"]])
    data = Dataset(
        name=name,
        classes=prompt_names(name, published, Path(names_file) if names_file else None),
        seen=seen,
        paths=object_ids(ids) if name == "apy" else ids,
        labels=images.labels,
        splits=of_row,
        reader=FileReader(folder.resolve()),
        attributes=split.attributes,
        origin=(
            ("split", _kind_of_split(name, split, seen)),
            ("split_file", str((folder / "att_splits.mat").resolve())),
            ("split_file_sha256", split.sha256),
            ("class_names", str(names_file) if names_file else "shipped"),
        ),
    )
    return Listing(data, images.files, published)


def find_splits(name: str, root: Path, splits: Path | None = None) -> Path:
    """Find the folder that holds a data set's `att_splits.mat`.

    Raises:
        UserError: it is in none of the usual folders.
    """
    upper = name.upper()
    if not root.is_dir():
        raise UserError(f"--root {root} is not a folder: give the folder of {upper}'s images.")
    if splits is not None:
        above = Path(splits).parent if Path(splits).is_file() else Path(splits)
        places = [above, above / upper, above / "data" / upper]
    else:
        parents = [root / "xlsa17", root / "xlsa17/data", root / "cvpr18xian/data"]
        places = [parent / upper for parent in parents]
    for place in places:
        if (place / "att_splits.mat").is_file():
            return place
    raise UserError(
        f"{upper}'s att_splits.mat is not in {places[0]}: give its folder with --splits DIR, or "
        f"get it with 'pzsl datasets fetch {name} --root {shell_word(root)}'."
    )


def _images_of(folder: Path) -> Path:
    file = folder / "res101.mat"
    if not file.is_file():
        raise UserError(
            f"{file} is missing: it lists the images and their labels, and is published beside "
            "att_splits.mat (xlsa17.zip; for FLO cvpr18xian.zip). Put it there."
        )
    return file


def _published(name: str, folder: Path, split: SplitFile) -> tuple[str, ...]:
    """The publisher's class names: from the split file, or those that pzsl ships."""
    names = split.names or published_names(name) or ()
    if len(names) != len(split.attributes):
        raise UserError(
            f"{folder / 'att_splits.mat'}: {len(split.attributes)} classes, of which "
            f"{len(names)} have a name: is it the file of {name}?"
        )
    return names


def _splits_of_rows(folder: Path, split: SplitFile, images: ImageFile) -> NDArray[np.str_]:
    """The split of each image; checks that each image is in one split, and each label valid."""
    file, count = folder / "att_splits.mat", len(images.files)
    of_row = np.full(count, "", dtype="<U11")
    for name in SPLITS:
        rows = split.rows[name]
        if len(rows) and rows.max() >= count:
            raise UserError(
                f"{file}: {name}_loc points to image {rows.max() + 1}, but {folder / 'res101.mat'} "
                f"lists {count}: the two files belong to different data sets."
            )
        if len(np.unique(rows)) != len(rows) or (of_row[rows] != "").any():
            raise UserError(f"{file}: {name}_loc lists an image that is listed before.")
        of_row[rows] = name
    unassigned = int((of_row == "").sum())
    if unassigned:
        raise UserError(
            f"{file}: {unassigned} of {count} images are in no split: fetch the file again."
        )
    if images.labels.max() >= len(split.attributes):
        raise UserError(
            f"{folder / 'res101.mat'}: label {images.labels.max() + 1} is beyond the "
            f"{len(split.attributes)} classes of {file}."
        )
    return of_row


def _kind_of_split(name: str, split: SplitFile, seen: NDArray[np.bool_]) -> str:
    """`xlsa17 proposed split` if the counts are the published ones, with the date of the file.

    All versions of the proposed split have the same counts; the stored date and hash of the file
    tell them apart.
    """
    counts = Counts(int(seen.sum()), int((~seen).sum()), *(len(split.rows[s]) for s in SPLITS))
    dated = f", file of {split.created}" if split.created else ""
    return f"{'xlsa17 proposed' if counts == PROPOSED.get(name) else 'another'} split{dated}"
