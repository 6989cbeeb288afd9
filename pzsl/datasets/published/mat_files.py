"""The two MATLAB files of an xlsa17 data set: `att_splits.mat` (classes, split) and `res101.mat`.

Field names and conventions are those of Xian et al. (TPAMI 2019): locations and labels count from
1, `att` is (attributes x classes), strings are in nested cells. The functions of this file return
plain NumPy arrays that count from 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pzsl.datasets.base import SPLITS
from pzsl.datasets.published.mat_process import TOO_NEW, load_apart
from pzsl.errors import UserError
from pzsl.files import sha256_of


@dataclass(frozen=True)
class SplitFile:
    """What `att_splits.mat` says.

    Attributes:
        attributes: (C, A) float32, a row for each class.
        names: (C,) the publisher's class names; None where the file has none (FLO).
        rows: of each split, the 0-based rows of its images.
        created: the date that MATLAB wrote into the file's head, '' if none.
        sha256: of the file's bytes.
    """

    attributes: NDArray[np.float32]
    names: tuple[str, ...] | None
    rows: dict[str, NDArray[np.int64]]
    created: str
    sha256: str


@dataclass(frozen=True)
class ImageFile:
    """What `res101.mat` says of the images.

    Attributes:
        files: (N,) path of each image on the publisher's disk, in forward slashes.
        labels: (N,) int64, 0-based row of the class list.
    """

    files: tuple[str, ...]
    labels: NDArray[np.int64]


def read_split_file(path: Path) -> SplitFile:
    """Read an `att_splits.mat`.

    Raises:
        UserError: the file isn't readable, or a field is missing or invalid.
    """
    location_fields = [f"{split}_loc" for split in SPLITS]
    fields = _load(path, ["att", *location_fields], optional=["allclasses_names"])
    names = _strings(fields["allclasses_names"]) if "allclasses_names" in fields else None
    attributes = np.asarray(fields["att"])
    if attributes.ndim != 2 or attributes.dtype.kind not in "fiu":
        raise UserError(
            f"{path}: 'att' should be (attributes x classes), but is {attributes.shape}."
        )
    if names is not None and len(names) != attributes.shape[1]:
        raise UserError(
            f"{path}: 'att' has {attributes.shape[1]} columns for {len(names)} class names: "
            "it should be (attributes x classes)."
        )
    if not np.isfinite(attributes).all():
        raise UserError(f"{path}: 'att' holds values that are not finite: fetch the file again.")
    created = str(fields["__header__"]).partition("Created on:")[2].strip()
    return SplitFile(
        attributes=np.ascontiguousarray(attributes.T, dtype=np.float32),
        names=names,
        rows={split: _zero_based(path, f"{split}_loc", fields) for split in SPLITS},
        created=" ".join(created.split()),
        sha256=sha256_of(path),
    )


def read_image_file(path: Path) -> ImageFile:
    """Read image paths and labels of a `res101.mat`, without its features.

    Raises:
        UserError: the file isn't readable, a field is missing, or the two differ in length.
    """
    fields = _load(path, ["image_files", "labels"])
    files = tuple(file.replace("\\", "/") for file in _strings(fields["image_files"]))
    labels = _zero_based(path, "labels", fields)
    if len(files) != len(labels):
        raise UserError(
            f"{path}: {len(files)} image_files, but {len(labels)} labels: fetch the file again."
        )
    return ImageFile(files, labels)


def read_features(path: Path) -> NDArray[np.floating] | None:
    """The ResNet-101 features of a `res101.mat`, (N, 2048), not normalised; None if it has none.

    Raises:
        UserError: the file isn't readable, or the field isn't a matrix of numbers.
    """
    features = _load(path, [], optional=["features"]).get("features")
    if features is None:
        return None
    values = np.asarray(features)
    if values.ndim != 2 or values.dtype.kind != "f":
        raise UserError(
            f"{path}: 'features' should be (dimensions x images) numbers, but is {values.shape} "
            f"{values.dtype}: fetch the file again."
        )
    return values.T


def _load(path: Path, fields: Sequence[str], optional: Sequence[str] = ()) -> dict[str, Any]:
    try:
        contents = load_apart(path, [*fields, *optional])
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror or error}.") from None
    except ValueError as error:
        if str(error) == TOO_NEW:
            raise UserError(f"{path}: {error}.") from None
        raise UserError(
            f"{path} is not a complete MATLAB file ({error}): fetch it again."
        ) from None
    missing = [field for field in fields if field not in contents]
    if missing:
        raise UserError(
            f"{path} lacks {', '.join(missing)}: is it the file of that name from xlsa17?"
        )
    return contents


def _strings(texts: Any) -> tuple[str, ...]:
    return tuple(str(text).strip() for text in np.asarray(texts).ravel())


def _zero_based(path: Path, field: str, fields: dict[str, Any]) -> NDArray[np.int64]:
    """Convert a field that counts from 1 to int64 counting from 0."""
    values = np.asarray(fields[field])
    if values.dtype.kind not in "iuf" or not np.array_equal(values, np.round(values)):
        raise UserError(f"{path}: '{field}' should hold whole numbers: fetch the file again.")
    rows = values.ravel().astype(np.int64) - 1
    if len(rows) and rows.min() < 0:
        raise UserError(f"{path}: '{field}' should count from 1, but holds {rows.min() + 1}.")
    return rows
