"""Check HDF5's global heaps before HDF5 reads them: on a damaged heap it loops for ever.

Older versions of pzsl store attributes there, other tools perhaps their texts. Format: HDF5 File
Format Specification 3.0, section III.E, 'Disk Format: Level 1E - Global Heap'.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

import h5py

SIGNATURE = b"GCOL"
HEADER = 16
"""Bytes of the header of a heap, and of each object in it."""


def check_heaps(file: h5py.File, datasets: Iterable[h5py.Dataset], path: Path) -> None:
    """Refuse a file with a heap that HDF5 could not read to its end.

    Args:
        file: just opened; no text of variable length has been read from it yet.
        datasets: of the file; their contents are not searched for heaps.
        path: of the file.

    Raises:
        ValueError: a heap is damaged.
    """
    data = list(datasets)
    if not (any(dataset.dtype.hasobject for dataset in data) or _has_text_in_heap(file)):
        return
    with path.open("rb") as opened:
        size = path.stat().st_size
        with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
            for start, stop in _gaps(data, size):
                heap = content.find(SIGNATURE, start, stop)
                while heap >= 0:
                    _check_heap(content, heap)
                    heap = content.find(SIGNATURE, heap + 1, stop)


def _has_text_in_heap(file: h5py.File) -> bool:
    kinds = [file.attrs.get_id(name).get_type() for name in file.attrs]
    return any(isinstance(kind, h5py.h5t.TypeStringID) and kind.is_variable_str() for kind in kinds)


def _gaps(data: list[h5py.Dataset], size: int) -> Iterator[tuple[int, int]]:
    """The byte ranges of a file that belong to no data set."""
    extents = [(dataset.id.get_offset(), dataset.id.get_storage_size()) for dataset in data]
    start = 0
    for offset, length in sorted(extent for extent in extents if extent[0] is not None):
        if offset > start:
            yield start, min(offset, size)
        start = max(start, offset + length)
    if start < size:
        yield start, size


def _check_heap(content: mmap.mmap, start: int) -> None:
    """Visit the objects of a heap as HDF5 would; each has to end inside the heap."""
    end = start + _read_number(content, start + 8)
    offset = start + HEADER
    while offset + HEADER <= end:
        index = int.from_bytes(content[offset : offset + 2], "little")
        size = _read_number(content, offset + 8)
        # Object 0 is the free space, whose size includes its header.
        length = size if index == 0 else HEADER + -(-size // 8) * 8
        if length < HEADER or offset + length > end:
            raise ValueError("a heap of text in it can't be read to its end")
        offset += length


def _read_number(content: mmap.mmap, offset: int) -> int:
    data = content[offset : offset + 8]
    if len(data) < 8:
        raise ValueError("a heap of text in it is cut off")
    return int(struct.unpack("<Q", data)[0])
