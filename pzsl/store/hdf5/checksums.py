"""Checksums of a finished cache: of its attributes, and of each megabyte of each data set."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pzsl.store.hdf5.disk import put_rows, release
from pzsl.store.hdf5.file_rows import FileRows
from pzsl.store.hdf5.layout import BLOCK, CHECKSUMS, sums_needed
from pzsl.store.hdf5.raw_file import Stored, read_stored

DAMAGED = "not what was written (their checksum differs): a disk or a copy has changed them"

PIECE = 8 * BLOCK
"""Bytes that are read at a time from an array in several files."""


def block_sums(array: NDArray[Any] | FileRows) -> NDArray[np.uint32]:
    """CRC-32 of each megabyte: eight times faster than SHA-256, and enough to detect accidents.

    Args:
        array: of any shape and type; one in files is read a few megabytes at a time.

    Returns:
        (B,) one for each `BLOCK` bytes.
    """
    if array.dtype.hasobject:  # text of variable length, written by other tools
        words = [str(word) for word in np.asarray(array)]
        array = np.frombuffer(json.dumps(words).encode(), np.uint8)
    sums, crc, filled = [], 0, 0
    for data in _pieces(array):
        start = 0
        while start < len(data):
            stop = min(len(data), start + BLOCK - filled)
            crc = zlib.crc32(data[start:stop].data, crc)
            filled, start = filled + stop - start, stop
            if filled == BLOCK:
                sums.append(crc)
                crc = filled = 0
            release(array)
    return np.array(sums + [crc] * (filled > 0), dtype="<u4")


def _pieces(array: NDArray[Any] | FileRows) -> Iterator[NDArray[np.uint8]]:
    """The bytes of an array, (b,); of one in several files a few rows at a time."""
    rows = max(1, len(array))
    if isinstance(array, FileRows):
        rows = max(1, PIECE * len(array) // max(1, array.nbytes))
    for start in range(0, len(array), rows):
        yield np.ascontiguousarray(array[start : start + rows]).reshape(-1).view(np.uint8)


def write_checksums(path: Path) -> None:
    """Compute the checksums of a complete cache and write them into its data set for them.

    A file that an older version created has no such data set, and gets no checksums.

    Raises:
        OSError: the file can't be written.
        UserError: it can't be read.
    """
    stored = read_stored(path)
    if (target := stored.arrays.get(CHECKSUMS)) is not None:
        sums = np.concatenate([[_attributes_sum(stored)], *_sums(stored).values()]).astype("<u4")
        with path.open("r+b", buffering=0) as file:
            put_rows(file, target, np.arange(len(sums)), sums)


def checksum_problems(stored: Stored) -> Iterator[str]:
    """Report rows that differ from what was written; nothing if the cache has no checksums."""
    stored_sums = stored.arrays.get(CHECKSUMS)
    if stored_sums is None:
        return
    sums = _sums(stored)
    if len(stored_sums) != sums_needed({name: stored.arrays[name].nbytes for name in sums}):
        yield f"its checksums do not belong to its data sets: they are {DAMAGED}"
        return
    if stored_sums[0] != _attributes_sum(stored):
        yield f"its attributes, or the shapes of its data sets, are {DAMAGED}"
    start = 1
    for name, actual in sums.items():
        wrong = np.flatnonzero(stored_sums[start : start + len(actual)] != actual)
        start += len(actual)
        if len(wrong):
            array = stored.arrays[name]
            stride = array.nbytes // len(array)
            first = wrong[0] * BLOCK // stride
            last = min(len(array), -(-(wrong[0] + 1) * BLOCK // stride)) - 1
            yield f"{name}, rows {first} to {last}, are {DAMAGED}"


def _sums(stored: Stored) -> dict[str, NDArray[np.uint32]]:
    """The checksums of each data set, by name, in the order in which they are stored."""
    names = sorted(name for name in stored.arrays if name != CHECKSUMS)
    return {name: block_sums(stored.arrays[name]) for name in names}


def _attributes_sum(stored: Stored) -> int:
    """CRC-32 of types, shapes and attributes, without the time of creation."""
    shapes = {name: f"{array.dtype.str} {array.shape}" for name, array in stored.arrays.items()}
    attributes = {name: value for name, value in stored.attributes.items() if name != "created"}
    return zlib.crc32(json.dumps([attributes, shapes], sort_keys=True).encode())
