"""Open image files by id; the reader is picklable, so that worker processes can use it."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from PIL import Image

from pzsl.files import check_regular, real_path
from pzsl.remote import Range, ReadAhead, as_remote

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM")
"""Accepted formats, recognised by content; some of Pillow's others run external programs."""

Reader = Callable[[str], Image.Image]
"""Opens the image of an id; picklable."""

PHOTOMETRIC = 262
"""Tag of a TIFF that tells what its values mean."""
LARGEST = 2**30
"""Bytes of a file beyond which it is taken for no photograph."""

Image.init()  # otherwise Pillow knows only the five most common formats when given a list


def open_image(source: Path | IO[bytes]) -> Image.Image:
    """Decode an image file in its own colour mode; of an animation, the first frame.

    Raises:
        OSError: it is not a regular file or not a complete image of an accepted format, or larger
            than Pillow's limit for decompression bombs.
    """
    if isinstance(source, Path):
        check_regular(source)
        check_length(source.stat().st_size)
    with Image.open(source, formats=FORMATS) as image:
        limit = Image.MAX_IMAGE_PIXELS
        if limit is not None and image.width * image.height > limit:
            raise OSError(
                f"{image.width} x {image.height} pixels: more than {limit} are taken for a "
                "decompression bomb"
            )
        image.load()
        if _inverted(image):
            raise OSError("grey of more than 8 bits in which 0 is white: write it with 0 as black")
        return image


def _inverted(image: Image.Image) -> bool:
    """Whether 0 is white in a TIFF of more than 8 bits, where Pillow doesn't turn it round."""
    tags = getattr(image, "tag_v2", None)
    return tags is not None and image.mode.startswith(("I", "F")) and tags.get(PHOTOMETRIC) == 0


def check_length(size: int) -> None:
    """Refuse files of so many bytes: some kinds are read as a whole.

    Raises:
        OSError: it is too large.
    """
    if size > LARGEST:
        raise OSError(f"{size / 1e9:,.1f} GB are too much for a photograph")


@dataclass(frozen=True)
class FileReader:
    """Opens the image of an id, in the colour mode of its file.

    Attributes:
        root: folder that holds all images.
        base: folder below the root that ids are relative to.
        moved: id -> path below the root, for images that are elsewhere.
    """

    root: Path
    base: str = "."
    moved: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, path: str) -> Image.Image:
        """Open an image.

        Raises:
            OSError: the file is missing, is not a complete image, or a link leads out of the root.
        """
        return open_image(self._inside(path))

    def size_of(self, path: str) -> int:
        """Bytes of an image's file; OSError if it isn't there, or no regular file."""
        state = os.stat(self._file(path))  # noqa: PTH116 - a Path takes twice as long
        if not stat.S_ISREG(state.st_mode):
            raise OSError("not a regular file")
        return state.st_size

    def start_of(self, path: str, count: int) -> bytes:
        """The first bytes of an image's file; OSError if it can't be read."""
        with self._inside(path).open("rb") as file:
            return file.read(count)

    def _file(self, path: str) -> str:
        return f"{self.root}/{self.moved.get(path) or f'{self.base}/{path}'}"

    def _inside(self, path: str) -> Path:
        file = real_path(Path(self._file(path)))
        if not file.is_relative_to(self.root.resolve()):
            raise OSError(f"a link leads out of the root to {file}")
        return file


@dataclass(frozen=True)
class RemoteReader:
    """Opens images at addresses: whole files, or ranges of tar files.

    Attributes:
        ranges: id -> where its bytes are.
        ahead: fetches them; in each process anew.
    """

    ranges: Mapping[str, Range]
    ahead: ReadAhead = field(default_factory=ReadAhead, compare=False, repr=False)

    def __call__(self, path: str) -> Image.Image:
        """Open an image.

        Raises:
            OSError: it is gone, or no whole image.
            RemoteError: the server gives no answer, or the file was replaced since it was listed.
        """
        part = self.ranges.get(path)
        if part is None:
            raise FileNotFoundError(f"{path} is not there")
        check_length(part.stop - part.start)
        return open_image(io.BytesIO(self.ahead.read(part)))

    def size_of(self, path: str) -> int:
        """Bytes of an image; KeyError if it isn't there."""
        return self.ranges[path].stop - self.ranges[path].start

    def fetch_ahead(self, paths: Iterable[str]) -> None:
        """Begin to fetch the bytes of images that are opened soon."""
        self.ahead.fetch(self.ranges[path] for path in paths)


def reader_below(
    root: Path, paths: Sequence[str], moved: Mapping[str, str] | None = None
) -> Reader:
    """The reader of images by their paths below a folder or an address.

    Args:
        root: the folder. paths: of all images. moved: see `FileReader`.
    """
    address = as_remote(root)
    if address is None:
        return FileReader(root.resolve(), moved=moved or {})
    files = address.below(paths)
    return RemoteReader({path: Range(file, 0, file.info.size) for path, file in files.items()})
