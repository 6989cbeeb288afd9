"""Arrays of a cache: mapped from its file or, for a virtual cache, left in its parts.

HDF5 would follow a virtual data set to any file, and return zeros if that file is gone. So its
mechanism isn't used: only what `pzsl merge --virtual` writes is accepted, and the parts are opened
here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, cast

import h5py
import numpy as np
from numpy.typing import NDArray

from pzsl.errors import UserError
from pzsl.files import check_unpacked, state_of
from pzsl.store.hdf5.file_rows import FileRows, Section
from pzsl.store.hdf5.heap import check_heaps

VIRTUAL = ("/image/features", "/image/views")
"""The data sets that a virtual cache leaves in its parts."""
MERGE = "merge the parts again with --overwrite"


def read_attributes(file: h5py.File) -> dict[str, Any]:
    """The attributes of a file, as plain Python numbers and text."""
    values = {}
    for name, stored in file.attrs.items():
        value = stored.item() if isinstance(stored, np.generic) else stored
        values[name] = value.decode("utf-8") if isinstance(value, bytes) else value
    return values


def open_local(file: h5py.File, name: str, path: Path) -> Any:
    """The object with a name in a file, None if there is none; links are not followed.

    Raises:
        UserError: the name, or a group above it, is a link, which may lead into another file.
    """
    groups = name.strip("/").split("/")
    for depth in range(1, len(groups) + 1):
        link = file.get("/".join(groups[:depth]), getlink=True)
        if link is None:
            return None
        if not isinstance(link, h5py.HardLink):
            raise UserError(f"{path}: {name} lies in another file, which isn't read.")
    return file.get(name)


def check_sizes(datasets: Mapping[str, h5py.Dataset], path: Path) -> None:
    """Refuse data sets that declare more bytes than the file can hold, before allocating memory.

    Raises:
        UserError: a data set does so.
    """
    file_size, compressed = path.stat().st_size, 0
    for name, data in datasets.items():
        declared, stored = data.size * data.dtype.itemsize, data.id.get_storage_size()
        contiguous = data.chunks is None and not data.is_virtual
        offset = data.id.get_offset() or 0
        compressed += 0 if contiguous or data.is_virtual else declared
        if (contiguous and stored < declared) or offset + stored > file_size:
            raise UserError(
                f"{path}: {name} should have {declared / 1e6:,.1f} MB, which the file does not "
                "hold: it is damaged: copy it again, or extract it again with --overwrite."
            )
    check_unpacked(compressed, path)


def mapped(data: h5py.Dataset, path: Path) -> NDArray[Any]:
    """A read-only map into the file; a copy if the data aren't contiguous there."""
    offset = data.id.get_offset()
    aligned = offset is not None and (data.dtype.kind == "S" or offset % data.dtype.itemsize == 0)
    if not aligned or data.dtype.hasobject:
        return np.asarray(data[()])
    return np.memmap(path, dtype=data.dtype, mode="r", offset=offset, shape=data.shape)


def relative_part(part: Path, cache: Path) -> str:
    """The name of a part in a virtual cache: relative to its folder, with forward slashes.

    Raises:
        UserError: the part is outside that folder, or HDF5 can't use its name.
    """
    folder = cache.parent.resolve()
    if not part.resolve().is_relative_to(folder):
        raise UserError(
            f"{part} lies outside {cache.parent}: a virtual cache needs its parts in its own "
            "folder or below: choose another --out, or leave out --virtual."
        )
    name = part.resolve().relative_to(folder).as_posix()
    if "%" in name:  # HDF5 replaces it by numbers
        raise UserError(f"{part}: a virtual cache can't name files with '%': rename it.")
    return name


def joined(data: h5py.Dataset, path: Path, sources: Any) -> NDArray[Any]:
    """A virtual data set, whose rows stay in the parts of its cache.

    Args:
        data: the data set.
        path: of the cache.
        sources: the cache's attribute: name of each part -> `rows` and `created`.

    Returns:
        `FileRows`, which act as an array.

    Raises:
        UserError: it isn't what `pzsl merge` wrote, or a part is missing or has changed.
    """
    part_records = sources if isinstance(sources, dict) else {}
    rows = [
        record.get("rows") if isinstance(record, dict) else None for record in part_records.values()
    ]
    if not rows or any(type(count) is not int for count in rows):
        raise _not_ours(data, path)
    ends = np.cumsum([0, *rows]).tolist()
    expected = [
        (name, data.name, ((start,) + (0,) * (data.ndim - 1), (stop - 1, *_last_index(data))))
        for name, start, stop in zip(sources, ends[:-1], ends[1:], strict=True)
        if stop > start
    ]
    actual = [
        (source.file_name, source.dset_name, source.vspace.get_select_bounds())
        for source in data.virtual_sources()
    ]
    if actual != expected or ends[-1] != len(data):
        raise _not_ours(data, path)
    sections = [
        _section(name, path, data, record)
        for name, record in part_records.items()
        if record["rows"] > 0
    ]
    if not sections:
        return np.empty(data.shape, data.dtype)
    return cast(NDArray[Any], FileRows(sections))


def _not_ours(data: h5py.Dataset, path: Path) -> UserError:
    return UserError(
        f"{path}: {data.name} lies in other files, but not as 'pzsl merge --virtual' writes it, "
        f"so it isn't read: {MERGE}."
    )


def _last_index(data: h5py.Dataset) -> list[int]:
    """The largest index along each axis but the first."""
    return [size - 1 for size in data.shape[1:]]


def _section(name: str, cache: Path, data: h5py.Dataset, source: dict[str, Any]) -> Section:
    """Where the values of one part lie, after checking that it is the one that was merged."""
    relative = PurePosixPath(name)
    part, folder = cache.parent / relative, cache.parent.resolve()
    if (
        relative.is_absolute()
        or ".." in relative.parts
        or not part.resolve().is_relative_to(folder)
    ):
        raise UserError(f"{cache}: its part {name} lies outside its folder, so it isn't read.")
    if not part.is_file():
        raise UserError(
            f"{cache}: its part {part} was moved or deleted: put it back there, or extract it "
            f"again and {MERGE}."
        )
    shape, state = (source["rows"], *data.shape[1:]), state_of(part)
    with h5py.File(part, "r", locking=False) as file:
        values = open_local(file, data.name, part)
        check_heaps(file, [], part)
        attributes = read_attributes(file)
        local = isinstance(values, h5py.Dataset) and values.file == file
        local = local and not (values.external or values.is_virtual or values.chunks)
        fits = local and (values.shape, values.dtype) == (shape, data.dtype)
        if (
            not fits
            or attributes.get("created") != source.get("created")
            or "part" not in attributes
        ):
            raise UserError(f"{cache}: its part {part} is not the one that was merged: {MERGE}.")
        check_sizes({data.name: values}, part)
        return Section(part, values.id.get_offset(), shape, values.dtype, state)


def layouts(
    parts: dict[str, dict[str, NDArray[Any]]], shapes: dict[str, tuple[tuple[int, ...], str]]
) -> dict[str, h5py.VirtualLayout]:
    """The virtual data sets that join some parts.

    Args:
        parts: name of each part (see `relative_part`) -> its arrays, in order.
        shapes: shape and type of the joined data sets.
    """
    virtual_layouts = {}
    for name in [name for name in VIRTUAL if name in shapes]:
        shape, kind = shapes[name]
        layout, start = h5py.VirtualLayout(shape, kind), 0
        for file, arrays in parts.items():
            stop = start + len(arrays[name])
            if stop > start:
                source = h5py.VirtualSource(file, name, shape=arrays[name].shape, dtype=kind)
                layout[start:stop] = source
            start = stop
        virtual_layouts[name] = layout
    return virtual_layouts


def sources_json(parts: dict[str, tuple[int, str]]) -> str:
    """The attribute `sources`: name of each part -> its rows and time of creation."""
    return json.dumps(
        {name: {"rows": rows, "created": time} for name, (rows, time) in parts.items()}
    )
