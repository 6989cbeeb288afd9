"""The cache as an HDF5 file: its layout, raw reading and writing, virtual caches, disk faults."""

from __future__ import annotations

from pzsl.store.hdf5.disk import locked, put_rows, release, sync_folder
from pzsl.store.hdf5.io_errors import explained
from pzsl.store.hdf5.layout import (
    DTYPES,
    SCHEMA,
    SPLITS,
    UNKNOWN,
    CacheHeader,
    known_arrays,
    lay_out,
    open_arrays,
    opened,
    provenance,
    utc_now,
)
from pzsl.store.hdf5.raw_file import (
    AGAIN,
    OF_CANDIDATES,
    OPTIONAL,
    TOLD,
    Stored,
    decoded,
    read_stored,
)
from pzsl.store.hdf5.virtual import VIRTUAL, layouts, relative_part, told_of

__all__ = [
    "AGAIN",
    "DTYPES",
    "OF_CANDIDATES",
    "OPTIONAL",
    "SCHEMA",
    "SPLITS",
    "TOLD",
    "UNKNOWN",
    "VIRTUAL",
    "CacheHeader",
    "Stored",
    "decoded",
    "explained",
    "known_arrays",
    "lay_out",
    "layouts",
    "locked",
    "open_arrays",
    "opened",
    "provenance",
    "put_rows",
    "read_stored",
    "relative_part",
    "release",
    "sync_folder",
    "told_of",
    "utc_now",
]
