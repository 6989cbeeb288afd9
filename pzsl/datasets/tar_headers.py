"""Notice damaged and cut tar files: `tarfile` stops at their faults as it does at their end."""

from __future__ import annotations

import tarfile
from typing import Self

PADDING = 4 << 20
"""Most zeros behind the end of a tar file: programs fill up its last block, of 1 MiB at most."""


class CheckedHeader(tarfile.TarInfo):
    """The header of a member; one that is damaged, cut or missing is an error.

    Zeros mark the end: two blocks by the standard, but other programs do with one, too.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """The header in a block; ReadError if it is none."""
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):
                raise
            reason = str(error) if buf else "the mark of its end is missing"
            raise tarfile.ReadError(reason) from None


def check_end(archive: tarfile.TarFile) -> None:
    """Check that only zeros follow the end of an archive whose members have all been read.

    Raises:
        ReadError: there is more, as in joined files, or where zeros have replaced a part.
    """
    rest = archive.fileobj.read(PADDING + 1) if archive.fileobj else b""
    if len(rest) > PADDING or rest.strip(b"\0"):
        raise tarfile.ReadError("it goes on after the mark of its end")
