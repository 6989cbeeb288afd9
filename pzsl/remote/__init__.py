"""Files at addresses such as `s3://bucket/a.tar`, read and written through fsspec.

`place` tells addresses from paths; everything here imports fsspec only when there is an address.
"""

from __future__ import annotations

from pzsl.remote.attempts import RemoteError
from pzsl.remote.copies import FOLDER, fetch, local_copies, put_up
from pzsl.remote.paths import RemotePath, as_remote, place
from pzsl.remote.read_ahead import Range, ReadAhead

__all__ = [
    "FOLDER",
    "Range",
    "ReadAhead",
    "RemoteError",
    "RemotePath",
    "as_remote",
    "fetch",
    "local_copies",
    "place",
    "put_up",
]
