"""Schema version 1: what lies where in a cache file, and how an empty one is laid out.

HDF5 lays the file out once, contiguous and preallocated; from then on nothing but the contents of
`/image/{features,views,done}`, `/text/{features,done}` and `/checksum` changes, each at its place.
So a killed writer can't leave HDF5 structures half-written, and readers can map the arrays.
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
DTYPES = ("float32", "float16")
ALIGNMENT = 64
"""Data sets start at a multiple of this many bytes, so that their maps are aligned arrays."""
CHECKSUMS = "/checksum"
"""CRC-32 of the attributes, then of each `BLOCK` of each data set, by name; written at the end."""
SUMMED = "checksums"
"""Attribute of a cache that has them: one that lost them is not taken for an older one."""
BLOCK = 2**20
LONGEST = 60_000
"""Bytes of an attribute: HDF5 holds no more than 64 KB of one length."""
PACKAGES = ("numpy", "h5py", "torch", "open_clip_torch")


@dataclass(frozen=True, eq=False)
class CacheHeader:
    """All that is known of a cache before the first image is encoded.

    Attributes:
        dataset: name of the data set.
        split_hash: hash of which image is in which split with which label.
        origin: where the images came from, in words.
        classes: (C,) class names, no two alike.
        seen: (C,) bool.
        templates: (T,) prompt templates; none where attributes stand for the classes.
        paths: (N,) image ids, no two alike.
        labels: (N,) int64 rows of `classes`, -1 where unknown.
        splits: (N,) one of `SPLITS`.
        dim: D, of the embeddings.
        model: name of the encoder.
        pretrained: tag or file name of its weights.
        weights_hash: of its weights; empty where unknown.
        preprocessing: how images were prepared; anything JSON can hold.
        logit_scale: s, what cosines are multiplied with.
        precision: of the encoder's arithmetic.
        attributes: (C, A) float32 class attributes.
        candidate_offsets: (N + 1,) int64; image i has candidates
            `candidate_labels[candidate_offsets[i]:candidate_offsets[i + 1]]`.
        candidate_labels: (M,) int32 rows of `classes`.
        annotation: how the candidate sets were made, where it was by `pzsl annotate`.
        augmentation: `kinds` of the K views (each `weak` or `strong`), `seed`, and how each kind is
            made; where the views are of images.
        part: what it is a part of, see `Part`.
        versions: of the packages that made the embeddings, where it wasn't those here.
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


def provenance(header: CacheHeader) -> dict[str, Any]:
    """The file attributes that say where a cache comes from, all but versions and time."""
    told = {
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
        **{name: value for name, value in told.items() if value},
    }


def lay_out(
    path: Path,
    header: CacheHeader,
    dtype: str,
    views: int,
    virtual: Mapping[str, h5py.VirtualLayout] | None = None,
) -> None:
    """Write a cache whose embeddings are still to come (zero, and not `done`).

    Args:
        path: of the new file; an old one is replaced.
        header: what is known; valid.
        dtype: of the image embeddings: `float32` or `float16`.
        views: K, augmented views of each image; 0 for none.
        virtual: data sets that lie in other files.

    Raises:
        UserError: the disk has less room than the whole cache needs; no file stays behind.
    """
    known, still_open = known_arrays(header), open_arrays(header, dtype, views)
    here = {name: one for name, one in still_open.items() if name not in (virtual or {})}
    check_room(path, sum(array.nbytes for array in known.values()) + sum(bytes_of(here).values()))
    try:
        with explained(path), opened(path, "w") as file:
            made = _circumstances()
            made["versions"] = header.versions or made["versions"]
            for name, value in {**provenance(header), **made}.items():
                put_attribute(file, name, value)
            for name, array in known.items():
                file.create_dataset(name, data=array)
            for name, (shape, kind) in still_open.items():
                if virtual and name in virtual:
                    file.create_virtual_dataset(name, virtual[name])
                else:
                    allocate(file, name, shape, kind)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def put_attribute(file: h5py.File, name: str, value: Any) -> None:
    """Set a file attribute; a dictionary as JSON, text as UTF-8 of one length.

    HDF5 keeps text of any length in a heap, and can loop for ever where that is damaged.
    """
    value = json.dumps(value) if isinstance(value, dict) else value
    data = value.encode("utf-8") if isinstance(value, str) else None
    if data is None or len(data) > LONGEST:
        file.attrs[name] = value
    else:
        kind = h5py.string_dtype("utf-8", max(1, len(data)))
        file.attrs.create(name, data, dtype=kind)


def sums_needed(sizes: Mapping[str, int]) -> int:
    """Numbers in `/checksum`: one for the attributes, and one for each block of each data set.

    Args:
        sizes: bytes of each data set that is read.
    """
    return 1 + sum(-(-size // BLOCK) for size in sizes.values())


def opened(path: Path, mode: str) -> h5py.File:
    """The file, so opened that new data sets in it start where maps want them."""
    return h5py.File(path, mode, locking=False, alignment_threshold=1, alignment_interval=ALIGNMENT)


def _circumstances() -> dict[str, Any]:
    """Package versions and UTC time."""
    versions = {"pzsl": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {"versions": versions, "created": utc_now(), SUMMED: True}


def utc_now() -> str:
    """UTC time as ISO 8601; that of SOURCE_DATE_EPOCH where it is set."""
    now = float(os.environ.get("SOURCE_DATE_EPOCH") or time.time())
    return datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")


def known_arrays(header: CacheHeader) -> dict[str, NDArray[Any]]:
    """The data sets that are whole from the start."""
    known: dict[str, NDArray[Any]] = {
        "/image/label": header.labels.astype("<i8"),
        "/image/path": _encoded(header.paths),
        "/image/split": _encoded(header.splits.tolist()),
        "/class/id": np.arange(len(header.classes), dtype="<i8"),
        "/class/name": _encoded(header.classes),
        "/class/seen": header.seen.astype(np.bool_),
        "/text/template": _encoded(header.templates),
    }
    if header.attributes is not None:
        known["/class/attributes"] = header.attributes.astype("<f4")
    if header.candidate_offsets is not None and header.candidate_labels is not None:
        known["/image/candidates/offsets"] = header.candidate_offsets.astype("<i8")
        known["/image/candidates/labels"] = header.candidate_labels.astype("<i4")
    return known


def open_arrays(
    header: CacheHeader, dtype: str, views: int
) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and type of the data sets that are filled as encoding goes on."""
    rows, dim = len(header.paths), header.dim
    kind = np.dtype(dtype).newbyteorder("<").str
    arrays: dict[str, tuple[tuple[int, ...], str]] = {
        "/image/done": ((rows,), "|u1"),
        "/text/done": ((len(header.classes),), "|u1"),
        "/text/features": ((len(header.classes), len(header.templates), dim), "<f4"),
        "/image/features": ((rows, dim), kind),
    }
    arrays |= {"/image/views": ((rows, views, dim), kind)} if views else {}
    known = known_arrays(header)
    sizes = {name: array.nbytes for name, array in known.items() if name != "/class/id"}
    sizes |= bytes_of(arrays)
    return arrays | {CHECKSUMS: ((sums_needed(sizes),), "<u4")}


def bytes_of(arrays: Mapping[str, tuple[tuple[int, ...], str]]) -> dict[str, int]:
    """Bytes of data sets, from their shapes and types."""
    return {name: math.prod(shape) * np.dtype(of).itemsize for name, (shape, of) in arrays.items()}


def _encoded(strings: Sequence[str]) -> NDArray[np.bytes_]:
    """Strings as UTF-8 of one length: lies in one piece, reads faster than HDF5's heap."""
    data = [text.encode("utf-8") for text in strings]
    longest = max([1, *map(len, data)])
    return np.array(data, dtype=h5py.string_dtype("utf-8", longest))


def allocate(file: h5py.File, name: str, shape: tuple[int, ...], dtype: str) -> None:
    """A data set that has its place in the file at once, and no bytes written to it yet."""
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plan.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    plan.set_obj_track_times(False)  # equal contents shall be equal bytes
    file.create_dataset(name, shape=shape, dtype=dtype, dcpl=plan)
