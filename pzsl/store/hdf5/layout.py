"""Schema version 1: the layout of a cache file, and how an empty one is created.

HDF5 lays the file out once, contiguous and preallocated. From then on only the contents of
`/image/{features,views,done}`, `/text/{features,done}` and `/checksum` are overwritten in place. So
a killed writer can't leave HDF5 structures half-written, and readers can map the arrays.
"""

from __future__ import annotations

import json
import math
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pzsl import __version__
from pzsl.store.hdf5.disk import check_room
from pzsl.store.hdf5.io_errors import explained

SCHEMA = 1
SPLITS = ("trainval", "test_seen", "test_unseen")
UNKNOWN = -1
"""The label of an image whose class isn't known."""
ALIGNMENT = 64
"""Data sets start at multiples of this many bytes, so that mapped arrays are aligned."""
FILES = "/image/file"
"""Size of each image's file, and for some a checksum: so that replaced files are noticed."""
CHECKSUMS = "/checksum"
"""CRC-32 of the attributes, then of each `BLOCK` of each data set, by name; written at the end."""
SUMMED = "checksums"
"""Attribute of a cache with checksums, so that one that lost them isn't taken for an older one."""
BLOCK = 2**20
LONGEST = 60_000
"""Most bytes of an attribute of fixed length; HDF5 allows 64 KB."""
PACKAGES = ("numpy", "h5py", "torch", "open_clip_torch")


@dataclass(frozen=True, eq=False)
class CacheHeader:
    """All that is known of a cache before the first image is encoded.

    Attributes:
        dataset: name of the data set.
        split_hash: hash of which image is in which split with which label.
        origin: where the images came from, in words.
        classes: (C,) unique class names.
        seen: (C,) bool.
        templates: (T,) prompt templates; empty if attributes describe the classes.
        paths: (N,) unique image ids.
        labels: (N,) int64 rows of `classes`, -1 where unknown.
        splits: (N,) one of `SPLITS`.
        dim: D, of the embeddings.
        model: name of the encoder.
        pretrained: tag or file name of its weights.
        weights_hash: of its weights; '' if unknown.
        preprocessing: how images were prepared; anything JSON can hold.
        logit_scale: s, the factor of cosines.
        precision: of the encoder's arithmetic.
        attributes: (C, A) float32 class attributes.
        candidate_offsets: (N + 1,) int64; image i has candidates
            `candidate_labels[candidate_offsets[i]:candidate_offsets[i + 1]]`.
        candidate_labels: (M,) int32 rows of `classes`.
        annotation: how `pzsl annotate` made the candidate sets; {} if it didn't.
        augmentation: `kinds` of the K views (each `weak` or `strong`), `seed`, and how each kind is
            made; {} if the views weren't made by `pzsl extract`.
        part: which part of a cache this is, see `Part`; {} for a complete cache.
        versions: of the packages that made the embeddings, if not those installed here.
        files: (N, 2) int64, size and checksum of each image's file, -1 where unknown; None if the
            images are in no files.
    """

    dataset: str
    split_hash: str
    origin: dict[str, str]
    classes: tuple[str, ...]
    seen: NDArray[np.bool_]
    templates: tuple[str, ...]
    paths: tuple[str, ...]
    labels: NDArray[np.int64]
    splits: NDArray[np.str_]
    dim: int
    model: str
    pretrained: str
    weights_hash: str
    preprocessing: dict[str, Any]
    logit_scale: float
    precision: str
    attributes: NDArray[np.float32] | None = None
    candidate_offsets: NDArray[np.int64] | None = None
    candidate_labels: NDArray[np.int32] | None = None
    annotation: dict[str, Any] = field(default_factory=dict)
    augmentation: dict[str, Any] = field(default_factory=dict)
    part: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    files: NDArray[np.int64] | None = None


def provenance(header: CacheHeader) -> dict[str, Any]:
    """The file attributes that say where a cache comes from, except versions and time."""
    optional = {
        "annotation": header.annotation,
        "augmentation": header.augmentation,
        "part": header.part,
    }
    return {
        "schema": SCHEMA,
        "dataset": header.dataset,
        "split_hash": header.split_hash,
        "origin": header.origin,
        "model": header.model,
        "pretrained": header.pretrained,
        "weights_hash": header.weights_hash,
        "preprocessing": header.preprocessing,
        "logit_scale": float(header.logit_scale),
        "normalised": True,
        "precision": header.precision,
        **{name: value for name, value in optional.items() if value},
    }


def lay_out(
    path: Path,
    header: CacheHeader,
    dtype: str,
    views: int,
    virtual: Mapping[str, h5py.VirtualLayout] | None = None,
) -> None:
    """Create a cache without embeddings (zero, and not marked as `done`).

    Args:
        path: of the new file; an old one is replaced.
        header: already validated.
        dtype: of the image embeddings: `float32` or `float16`.
        views: K, augmented views of each image; 0 for none.
        virtual: data sets whose contents are in other files.

    Raises:
        UserError: the disk has too little space for the whole cache; no file is left behind.
    """
    header_arrays, unfilled = known_arrays(header), unfilled_arrays(header, dtype, views)
    allocated = {name: spec for name, spec in unfilled.items() if name not in (virtual or {})}
    check_room(
        path,
        sum(array.nbytes for array in header_arrays.values()) + sum(bytes_of(allocated).values()),
    )
    try:
        with explained(path), opened(path, "w") as file:
            attributes = provenance(header) | _versions_and_time()
            attributes["versions"] = header.versions or attributes["versions"]
            for name, value in attributes.items():
                put_attribute(file, name, value)
            for name, array in header_arrays.items():
                file.create_dataset(name, data=array)
            for name, (shape, kind) in unfilled.items():
                if virtual and name in virtual:
                    file.create_virtual_dataset(name, virtual[name])
                else:
                    allocate(file, name, shape, kind)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def put_attribute(file: h5py.File, name: str, value: Any) -> None:
    """Set a file attribute: a dictionary as JSON, text as UTF-8 of fixed length.

    HDF5 stores text of variable length in a heap, and can loop for ever on a damaged heap.
    """
    value = json.dumps(value) if isinstance(value, dict) else value
    data = value.encode("utf-8") if isinstance(value, str) else None
    if data is None or len(data) > LONGEST:
        file.attrs[name] = value
    else:
        kind = h5py.string_dtype("utf-8", max(1, len(data)))
        file.attrs.create(name, data, dtype=kind)


def sums_needed(sizes: Mapping[str, int]) -> int:
    """Length of `/checksum`: one for the attributes, and one for each block of each data set.

    Args:
        sizes: bytes of each data set.
    """
    return 1 + sum(-(-size // BLOCK) for size in sizes.values())


def opened(path: Path, mode: str) -> h5py.File:
    """Open a file so that new data sets are aligned for mapping."""
    return h5py.File(path, mode, locking=False, alignment_threshold=1, alignment_interval=ALIGNMENT)


def _versions_and_time() -> dict[str, Any]:
    """The file attributes that say when, and with which packages, a file was made."""
    versions = {"pzsl": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {"versions": versions, "created": utc_now(), SUMMED: True}


def utc_now() -> str:
    """UTC time as ISO 8601; SOURCE_DATE_EPOCH overrides the clock."""
    now = float(os.environ.get("SOURCE_DATE_EPOCH") or time.time())
    return datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")


def known_arrays(header: CacheHeader) -> dict[str, NDArray[Any]]:
    """The data sets that follow from the header, complete as soon as the file exists."""
    arrays: dict[str, NDArray[Any]] = {
        "/image/label": header.labels.astype("<i8"),
        "/image/path": _encoded(header.paths),
        "/image/split": _encoded(header.splits.tolist()),
        "/class/id": np.arange(len(header.classes), dtype="<i8"),
        "/class/name": _encoded(header.classes),
        "/class/seen": header.seen.astype(np.bool_),
        "/text/template": _encoded(header.templates),
    }
    if header.files is not None:
        arrays[FILES] = header.files.astype("<i8")
    if header.attributes is not None:
        arrays["/class/attributes"] = header.attributes.astype("<f4")
    if header.candidate_offsets is not None and header.candidate_labels is not None:
        arrays["/image/candidates/offsets"] = header.candidate_offsets.astype("<i8")
        arrays["/image/candidates/labels"] = header.candidate_labels.astype("<i4")
    return arrays


def unfilled_arrays(
    header: CacheHeader, dtype: str, views: int
) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and type of each data set that is filled during encoding."""
    rows, dim = len(header.paths), header.dim
    kind = np.dtype(dtype).newbyteorder("<").str
    arrays: dict[str, tuple[tuple[int, ...], str]] = {
        "/image/done": ((rows,), "|u1"),
        "/text/done": ((len(header.classes),), "|u1"),
        "/text/features": ((len(header.classes), len(header.templates), dim), "<f4"),
        "/image/features": ((rows, dim), kind),
    }
    arrays |= {"/image/views": ((rows, views, dim), kind)} if views else {}
    header_arrays = known_arrays(header)
    sizes = {name: array.nbytes for name, array in header_arrays.items() if name != "/class/id"}
    sizes |= bytes_of(arrays)
    return arrays | {CHECKSUMS: ((sums_needed(sizes),), "<u4")}


def bytes_of(arrays: Mapping[str, tuple[tuple[int, ...], str]]) -> dict[str, int]:
    """Bytes of data sets, from their shapes and types."""
    return {
        name: math.prod(shape) * np.dtype(kind).itemsize for name, (shape, kind) in arrays.items()
    }


def _encoded(strings: Sequence[str]) -> NDArray[np.bytes_]:
    """Strings as UTF-8 of fixed length: contiguous, and faster to read than HDF5's heap."""
    data = [text.encode("utf-8") for text in strings]
    longest = max([1, *map(len, data)])
    return np.array(data, dtype=h5py.string_dtype("utf-8", longest))


def allocate(file: h5py.File, name: str, shape: tuple[int, ...], dtype: str) -> None:
    """Create a data set whose space is allocated at once, without writing to it."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    properties.set_obj_track_times(False)  # equal contents give equal bytes
    file.create_dataset(name, shape=shape, dtype=dtype, dcpl=properties)
