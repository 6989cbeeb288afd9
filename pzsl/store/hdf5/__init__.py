"""The cache as an HDF5 file: layout, raw reading and writing, virtual caches, disk errors."""

from __future__ import annotations

from pzsl.store.hdf5.checksums import block_sums, checksum_problems, write_checksums
from pzsl.store.hdf5.disk import check_room, locked, put_rows, release, sync_folder
from pzsl.store.hdf5.file_rows import FileRows, in_files
from pzsl.store.hdf5.io_errors import explained
from pzsl.store.hdf5.layout import (
    CHECKSUMS,
    FILES,
    SCHEMA,
    SPLITS,
    SUMMED,
    UNKNOWN,
    CacheHeader,
    allocate,
    known_arrays,
    lay_out,
    opened,
    provenance,
    put_attribute,
    sums_needed,
    unfilled_arrays,
    utc_now,
)
from pzsl.store.hdf5.raw_file import (
    OF_CANDIDATES,
    OPTIONAL,
    OPTIONAL_JSON,
    RECREATE_HINT,
    Stored,
    decoded,
    read_stored,
)
from pzsl.store.hdf5.virtual import VIRTUAL, layouts, read_attributes, relative_part, sources_json

__all__ = [
    "CHECKSUMS",
    "FILES",
    "OF_CANDIDATES",
    "OPTIONAL",
    "OPTIONAL_JSON",
    "RECREATE_HINT",
    "SCHEMA",
    "SPLITS",
    "SUMMED",
    "UNKNOWN",
    "VIRTUAL",
    "CacheHeader",
    "FileRows",
    "Stored",
    "allocate",
    "block_sums",
    "check_room",
    "checksum_problems",
    "decoded",
    "explained",
    "in_files",
    "known_arrays",
    "lay_out",
    "layouts",
    "locked",
    "opened",
    "provenance",
    "put_attribute",
    "put_rows",
    "read_attributes",
    "read_stored",
    "relative_part",
    "release",
    "sources_json",
    "sums_needed",
    "sync_folder",
    "unfilled_arrays",
    "utc_now",
    "write_checksums",
]
