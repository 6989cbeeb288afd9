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

MARK = b"GCOL"
HEAD = 16
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
    with path.open("rb") as content:
        size = path.stat().st_size
        with mmap.mmap(content.fileno(), 0, access=mmap.ACCESS_READ) as whole:
            for start, stop in _between(data, size):
                place = whole.find(MARK, start, stop)
                while place >= 0:
                    _walk(whole, place)
                    place = whole.find(MARK, place + 1, stop)


def _has_text_in_heap(file: h5py.File) -> bool:
    kinds = [file.attrs.get_id(name).get_type() for name in file.attrs]
    return any(isinstance(kind, h5py.h5t.TypeStringID) and kind.is_variable_str() for kind in kinds)


def _between(data: list[h5py.Dataset], size: int) -> Iterator[tuple[int, int]]:
    """The byte ranges of a file that belong to no data set."""
    places = [(dataset.id.get_offset(), dataset.id.get_storage_size()) for dataset in data]
    start = 0
    for place, length in sorted((at, length) for at, length in places if at is not None):
        if place > start:
            yield start, min(place, size)
        start = max(start, place + length)
    if start < size:
        yield start, size


def _walk(whole: mmap.mmap, place: int) -> None:
    """Visit the objects of a heap as HDF5 would; each has to end inside the heap."""
    end = place + _number(whole, place + 8)
    at = place + HEAD
    while at + HEAD <= end:
        index, size = int.from_bytes(whole[at : at + 2], "little"), _number(whole, at + 8)
        length = size if index == 0 else HEAD + -(-size // 8) * 8  # the free rest counts its head
        if length < HEAD or at + length > end:
            raise ValueError("a heap of text in it can't be read to its end")
        at += length


def _number(whole: mmap.mmap, place: int) -> int:
    data = whole[place : place + 8]
    if len(data) < 8:
        raise ValueError("a heap of text in it is cut off")
    return int(struct.unpack("<Q", data)[0])
