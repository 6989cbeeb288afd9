"""Open a cache file: its attributes and data sets, with types and shapes checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import h5py
from numpy.typing import NDArray

from pzsl.errors import UserError
from pzsl.files import check_regular, parse_json, state_of
from pzsl.progress import shell_word
from pzsl.requests import PUBLISHED
from pzsl.store.hdf5.heap import check_heaps
from pzsl.store.hdf5.io_errors import explained, unreadable
from pzsl.store.hdf5.layout import CHECKSUMS, FILES, SCHEMA, SUMMED
from pzsl.store.hdf5.virtual import (
    VIRTUAL,
    check_sizes,
    joined,
    mapped,
    open_local,
    read_attributes,
)

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
"""The data sets of every cache, each with one letter per dimension of its shape."""
OPTIONAL = {
    "/image/done": "N",
    "/text/done": "C",
    "/image/views": "NKD",
    "/image/candidates/offsets": "P",
    "/image/candidates/labels": "M",
    "/class/attributes": "CA",
    FILES: "NF",
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
    FILES: "i",
    CHECKSUMS: "u",
}
"""Data set -> NumPy's letters of the allowed types; all others are text."""
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
NUMBERS = {"normalised", "logit_scale"}
STRUCTURED = ("origin", "preprocessing", "versions")
"""The attributes that are JSON objects."""
OPTIONAL_JSON = ("annotation", "augmentation")
"""Attributes with JSON objects that a cache may have; {} if it doesn't."""
PART_JSON = ("part", "sources")
"""Likewise: which part of a cache it is (`Part`), and the parts that a virtual cache reads."""
RECREATE_HINT = "extract or import it again with --overwrite"


class Stored(NamedTuple):
    """Attributes and data sets of a cache file; arrays are maps or `FileRows` where possible."""

    attributes: dict[str, Any]
    arrays: dict[str, NDArray[Any]]


def read_stored(path: Path) -> Stored:
    """Open a cache and check its schema and the shapes of its data sets, but not their contents.

    It is opened twice, by HDF5 and to be mapped: if it was replaced in between, as `pzsl annotate`
    does, its new file is read.

    Raises:
        UserError: the file is missing, cut off, not HDF5 or of another schema, or a data set is
            missing or has a wrong shape or type.
    """
    device_and_inode = state_of(path)[:2]
    try:
        stored = _read_once(path)
    except UserError:
        if state_of(path)[:2] == device_and_inode:
            raise
    else:
        if state_of(path)[:2] == device_and_inode:
            return stored
    return read_stored(path)


def _read_once(path: Path) -> Stored:
    if path.is_dir():
        raise UserError(f"{path}: this is a folder, but a cache is one file: give its .h5 file.")
    with explained(path):
        check_regular(path)
    if not path.exists():
        raise UserError(
            f"{path}: no such file: make it with 'pzsl extract --dataset {_dataset(path)} --out "
            f"{shell_word(path)}' or 'pzsl import'."
        )
    try:
        with h5py.File(path, "r", locking=False) as file:
            schema = _schema(file, path)
            datasets = _datasets(file, path)
            check_heaps(file, datasets.values(), path)
            attributes = {"schema": schema, **_attributes(file, path)}
            _check_shapes(datasets, path)
            check_sizes(datasets, path)
            sources = attributes["sources"]
            arrays = {
                name: joined(data, path, sources)
                if name in VIRTUAL and data.is_virtual
                else mapped(data, path)
                for name, data in datasets.items()
            }
            return Stored(attributes, arrays)
    except UserError:
        raise
    except MemoryError as error:
        raise UserError(f"{path}: there is not enough memory to read it.") from error
    except (OSError, RuntimeError, LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise unreadable(error, path) from error


def _schema(file: h5py.File, path: Path) -> int:
    if "schema" not in file.attrs:
        raise UserError(
            f"{path}: this HDF5 file is not a feature cache (it has no attribute 'schema'): give a "
            "file that 'pzsl extract' or 'pzsl import' wrote."
        )
    is_integer = isinstance(file.attrs.get_id("schema").get_type(), h5py.h5t.TypeIntegerID)
    schema = int(file.attrs["schema"]) if is_integer else -1
    if schema != SCHEMA:
        newer = "update pzsl, or " if schema > SCHEMA else ""
        raise UserError(
            f"{path}: schema version {schema}, but this pzsl reads version {SCHEMA}: "
            f"{newer}{RECREATE_HINT}."
        )
    return schema


def _attributes(file: h5py.File, path: Path) -> dict[str, Any]:
    raw = read_attributes(file)
    values: dict[str, Any] = {}
    for name in ATTRIBUTES:
        if name not in raw:
            raise UserError(f"{path}: the attribute '{name}' is missing: {RECREATE_HINT}.")
        values[name] = raw[name]
    values["logit_scale"] = float(values["logit_scale"])
    values |= {name: raw.get(name, "{}") for name in (*OPTIONAL_JSON, *PART_JSON)}
    for name in values.keys() - NUMBERS:
        if not isinstance(values[name], str):
            raise UserError(f"{path}: the attribute '{name}' should be text: {RECREATE_HINT}.")
    for name in (*STRUCTURED, *OPTIONAL_JSON, *PART_JSON):
        values[name] = parse_json(values[name])
        if not isinstance(values[name], dict):
            raise UserError(
                f"{path}: the attribute '{name}' should be a JSON object: {RECREATE_HINT}."
            )
    lists = (values["augmentation"].get("kinds", []), [*values["origin"].values()])
    if not all(
        isinstance(entries, list) and all(isinstance(text, str) for text in entries)
        for entries in lists
    ):
        raise UserError(
            f"{path}: its 'origin' or 'augmentation' should hold text: {RECREATE_HINT}."
        )
    return values


def _datasets(file: h5py.File, path: Path) -> dict[str, h5py.Dataset]:
    datasets, file_number = {}, h5py.h5o.get_info(file.id).fileno
    for name in [*REQUIRED, *OPTIONAL]:
        data = open_local(file, name, path)
        if isinstance(data, h5py.Dataset):
            properties = data.id.get_create_plist()
            virtual = name not in VIRTUAL and properties.get_layout() == h5py.h5d.VIRTUAL
            elsewhere = h5py.h5o.get_info(data.id).fileno != file_number
            if properties.get_external_count() or virtual or elsewhere:
                raise UserError(
                    f"{path}: {name} lies in another file, which isn't read: {RECREATE_HINT}."
                )
            datasets[name] = data
        elif name in REQUIRED or (name == CHECKSUMS and SUMMED in file.attrs):
            raise UserError(f"{path}: the data set {name} is missing: {RECREATE_HINT}.")
        elif name in file:
            raise UserError(f"{path}: the data set {name} is damaged: {RECREATE_HINT}.")
    candidate_arrays = [name for name in OF_CANDIDATES if name in datasets]
    if len(candidate_arrays) == 1:
        raise UserError(
            f"{path}: {candidate_arrays[0]} is missing its other half: {RECREATE_HINT}."
        )
    return datasets


def _check_shapes(datasets: dict[str, h5py.Dataset], path: Path) -> None:
    """Check that the same letter stands for the same size in all shapes."""
    sizes = {"F": 2}
    for name, data in datasets.items():
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
                f"{RECREATE_HINT}."
            )
        text = h5py.check_string_dtype(data.dtype) is not None
        if not (data.dtype.kind in KINDS[name] if name in KINDS else text):
            raise UserError(f"{path}: {name} has the wrong type {data.dtype}: {RECREATE_HINT}.")


def decoded(array: NDArray[Any], path: Path) -> list[str]:
    """Decode the strings of a data set, whether of fixed or variable length.

    Raises:
        UserError: a string is not valid UTF-8 or holds a zero byte.
    """
    if not len(array):
        return []
    try:  # all at once: decoding a million names one by one takes longer than their embeddings
        names = b"\0".join(array.tolist()).decode("utf-8").split("\0")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: a name in it is not valid UTF-8 ({error}): {RECREATE_HINT}."
        ) from error
    if len(names) != len(array):
        raise UserError(f"{path}: a name in it holds a zero byte: {RECREATE_HINT}.")
    return names


def _dataset(path: Path) -> str:
    """The published data set that a cache is named after; else the placeholder NAME."""
    return path.stem if path.stem in PUBLISHED else "NAME"
