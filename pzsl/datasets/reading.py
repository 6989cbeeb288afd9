"""Open image files by id; picklable, so that worker processes can do it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from PIL import Image

from pzsl.files import check_regular, real_path

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM")
"""Kinds of files that are read, told by content. Of Pillow's others, some run other programs."""

Image.init()  # else Pillow knows but the five commonest when it is given a list


def open_image(source: Path | IO[bytes]) -> Image.Image:
    """Decode an image file, in its own colour mode; the first picture, where it holds several.

    Raises:
        OSError: it is no regular file, no whole image of a known kind, or larger than Pillow's
            limit, that of a decompression bomb.
    """
    if isinstance(source, Path):
        check_regular(source)
    with Image.open(source, formats=FORMATS) as image:
        limit = Image.MAX_IMAGE_PIXELS
        if limit is not None and image.width * image.height > limit:
            raise OSError(
                f"{image.width} x {image.height} pixels: more than {limit} are taken for a "
                "decompression bomb"
            )
        image.load()
        return image


@dataclass(frozen=True)
class FileReader:
    """Opens the image of an id, in the colour mode of its file.

    Attributes:
        root: folder that all images lie in.
        base: folder below the root that ids are paths from.
        moved: path below the root of those ids that are found elsewhere.
    """

    root: Path
    base: str = "."
    moved: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, path: str) -> Image.Image:
        """Open an image.

        Raises:
            OSError: the file is missing, is no whole image, or a link leads out of the root.
        """
        file = real_path(self.root / (self.moved.get(path) or f"{self.base}/{path}"))
        if not file.is_relative_to(self.root.resolve()):
            raise OSError(f"a link leads out of the root to {file}")
        return open_image(file)
