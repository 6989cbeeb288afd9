"""A cache file as it lies on disk: its attributes and its data sets, with their shapes checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from pzsl.errors import UserError
from pzsl.store.hdf5.io_errors import unreadable
from pzsl.store.hdf5.layout import CHECKSUMS, SCHEMA
from pzsl.store.hdf5.virtual import VIRTUAL, gathered, mapped, read_attributes

REQUIRED = {
    "/image/features": "ND",
    "/image/label": "N",
    "/image/path": "N",
    "/image/split": "N",
    "/class/name": "C",
    "/class/seen": "C",
    "/text/features": "CTD",
    "/text/template": "T",
}
"""The data sets of every cache, each with the letters of its shape."""
OPTIONAL = {
    "/image/done": "N",
    "/text/done": "C",
    "/image/views": "NKD",
    "/image/candidates/offsets": "P",
    "/image/candidates/labels": "M",
    "/class/attributes": "CA",
    CHECKSUMS: "B",
}
OF_CANDIDATES = ("/image/candidates/offsets", "/image/candidates/labels")
KINDS = {
    "/image/features": "f",
    "/image/views": "f",
    "/text/features": "f",
    "/class/attributes": "f",
    "/image/label": "iu",
    "/image/candidates/offsets": "iu",
    "/image/candidates/labels": "iu",
    "/class/seen": "b",
    "/image/done": "u",
    "/text/done": "u",
    CHECKSUMS: "u",
}
"""Numpy's letters for the allowed types; what isn't here is text."""
ATTRIBUTES = (
    "dataset",
    "split_hash",
    "origin",
    "model",
    "pretrained",
    "weights_hash",
    "preprocessing",
    "precision",
    "normalised",
    "logit_scale",
    "versions",
    "created",
)
STRUCTURED = ("origin", "preprocessing", "versions")
"""The attributes that are JSON objects."""
TOLD = ("annotation", "augmentation")
"""JSON objects that a cache may have; empty where it doesn't."""
PIECES = ("part", "sources")
"""The same for what it is a part of (`Part`), and for the parts that a virtual cache reads."""
AGAIN = "extract or import it again with --overwrite"


class Stored(NamedTuple):
    """Attributes, and the data sets by name; arrays are maps into the file where they can be."""

    attributes: dict[str, Any]
    arrays: dict[str, NDArray[Any]]


def read_stored(path: Path) -> Stored:
    """Open a cache and check its schema, its data sets and their shapes, but no contents.

    Raises:
        UserError: missing, cut off, not HDF5, of another schema, or a data set is missing or has
            a wrong shape or type.
    """
    if path.is_dir():
        raise UserError(f"{path}: this is a folder: give the .h5 file in it.")
    if not path.exists():
        raise UserError(
            f"{path}: no such file: make it with 'pzsl extract --out {path}' or 'pzsl import'."
        )
    try:
        with h5py.File(path, "r", locking=False) as file:
            attributes = _attributes(file, path)
            found = _datasets(file, path)
            _check_shapes(found, path)
            sources = attributes["sources"]
            arrays = {
                name: gathered(data, path, sources)
                if name in VIRTUAL and data.is_virtual
                else mapped(data, path)
                for name, data in found.items()
            }
            return Stored(attributes, arrays)
    except UserError:
        raise
    except (OSError, RuntimeError, LookupError, TypeError, ValueError) as error:
        raise unreadable(error, path) from error


def _attributes(file: h5py.File, path: Path) -> dict[str, Any]:
    raw = read_attributes(file)
    if "schema" not in raw:
        raise UserError(
            f"{path}: this HDF5 file is no feature cache (it has no attribute 'schema'): give a "
            "file that 'pzsl extract' or 'pzsl import' wrote."
        )
    schema = int(raw["schema"])
    if schema != SCHEMA:
        newer = "update pzsl, or " if schema > SCHEMA else ""
        raise UserError(
            f"{path}: schema version {schema}, but this pzsl reads version {SCHEMA}: "
            f"{newer}{AGAIN}."
        )
    values: dict[str, Any] = {"schema": schema}
    for name in ATTRIBUTES:
        if name not in raw:
            raise UserError(f"{path}: the attribute '{name}' is missing: {AGAIN}.")
        value = raw[name]
        values[name] = value.item() if isinstance(value, np.generic) else value
    values["logit_scale"] = float(values["logit_scale"])
    values |= {name: json.loads(values[name]) for name in STRUCTURED}
    return values | {name: json.loads(raw.get(name, "{}")) for name in (*TOLD, *PIECES)}


def _datasets(file: h5py.File, path: Path) -> dict[str, h5py.Dataset]:
    found, here = {}, h5py.h5o.get_info(file.id).fileno
    for name in [*REQUIRED, *OPTIONAL]:
        data = file.get(name)
        if isinstance(data, h5py.Dataset):
            plan = data.id.get_create_plist()
            virtual = name not in VIRTUAL and plan.get_layout() == h5py.h5d.VIRTUAL
            elsewhere = h5py.h5o.get_info(data.id).fileno != here
            if plan.get_external_count() or virtual or elsewhere:
                raise UserError(f"{path}: {name} lies in another file, which isn't read: {AGAIN}.")
            found[name] = data
        elif name in REQUIRED:
            raise UserError(f"{path}: the data set {name} is missing: {AGAIN}.")
    parts = [name for name in found if name.startswith("/image/candidates/")]
    if len(parts) == 1:
        raise UserError(f"{path}: {parts[0]} is there without its other half: {AGAIN}.")
    return found


def _check_shapes(found: dict[str, h5py.Dataset], path: Path) -> None:
    """Check that letters of the same name stand for the same size everywhere."""
    sizes: dict[str, int] = {}
    for name, data in found.items():
        letters = (REQUIRED | OPTIONAL)[name]
        if name == "/image/features" and len(data.shape) == 2:
            sizes["P"] = data.shape[0] + 1
        fits = len(data.shape) == len(letters) and all(
            sizes.setdefault(letter, size) == size
            for letter, size in zip(letters, data.shape, strict=True)
        )
        if not fits:
            expected = ", ".join(str(sizes.get(letter, letter)) for letter in letters)
            comma = "," if len(letters) == 1 else ""
            raise UserError(
                f"{path}: {name} should have shape ({expected}{comma}), but has {data.shape}: "
                f"{AGAIN}."
            )
        text = h5py.check_string_dtype(data.dtype) is not None
        if not (data.dtype.kind in KINDS[name] if name in KINDS else text):
            raise UserError(f"{path}: {name} has the wrong type {data.dtype}: {AGAIN}.")


def decoded(array: NDArray[Any], path: Path) -> list[str]:
    """Strings of a data set, whether stored with one length or each with its own.

    Raises:
        UserError: one of them is not valid UTF-8 or holds a zero byte.
    """
    if not len(array):
        return []
    try:  # all at once: a million names one by one take longer than their embeddings
        words = b"\0".join(array.tolist()).decode("utf-8").split("\0")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: a name in it is not valid UTF-8 ({error}): {AGAIN}.") from error
    if len(words) != len(array):
        raise UserError(f"{path}: a name in it holds a zero byte: {AGAIN}.")
    return words
