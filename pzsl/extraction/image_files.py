"""Size of each image's file, and checksums of some, so that files replaced later are noticed."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pzsl.datasets import Dataset

SUMMED = 32
"""About so many files are read, since pictures without compression often have the same size."""
START = 2**20
"""Bytes at the start of a file that its checksum covers."""
UNKNOWN = -1


def image_files(data: Dataset, part: Mapping[str, Any]) -> NDArray[np.int64] | None:
    """The state of each image's file; times are left out, since copying changes them.

    Args:
        data: the images of a cache, or of a part of one.
        part: which part that is, see `Part`; {} for all.

    Returns:
        (N, 2) size in bytes, and CRC-32 of the first `START` bytes of about `SUMMED` files of the
        complete cache, evenly spread; -1 where unknown. None if the images are in no files.
    """
    size_of, start_of = (getattr(data.reader, name, None) for name in ("size_of", "start_of"))
    if size_of is None:
        return None
    count = len(data.paths)
    files = np.full((count, 2), UNKNOWN, dtype=np.int64)
    for row, path in enumerate(data.paths):
        with suppress(OSError, LookupError):  # reported when it is encoded
            files[row, 0] = size_of(path)
    step = max(1, part.get("images", count) // SUMMED)
    for row in range(-part.get("start", 0) % step, count, step):
        if start_of is not None and files[row, 0] != UNKNOWN:
            with suppress(OSError):
                files[row, 1] = zlib.crc32(start_of(data.paths[row], START))
    return files
