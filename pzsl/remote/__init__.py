"""Files at addresses such as `s3://bucket/a.tar`, read and written through fsspec.

`as_path` tells addresses from paths; fsspec is imported only if there is an address.
"""

from __future__ import annotations

from pzsl.remote.copies import FOLDER, fetch, local_copies, upload
from pzsl.remote.paths import RemotePath, as_path, as_remote, is_address
from pzsl.remote.read_ahead import Range, ReadAhead
from pzsl.remote.retries import RemoteError

__all__ = [
    "FOLDER",
    "Range",
    "ReadAhead",
    "RemoteError",
    "RemotePath",
    "as_path",
    "as_remote",
    "fetch",
    "is_address",
    "local_copies",
    "upload",
]
