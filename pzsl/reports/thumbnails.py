"""Thumbnails of training images, embedded in the page."""

from __future__ import annotations

import base64
import io
from pathlib import Path

SIDE = 96


def thumbnail(folder: Path, name: str) -> str:
    """A thumbnail of at most `SIDE` pixels per side as a data URI; '' if it can't be read.

    Args:
        folder: of the images; files outside it are not opened.
        name: the image's id, a path relative to the folder.
    """
    from PIL import Image, ImageOps

    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        return ""
    buffer = io.BytesIO()
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image).convert("RGB")
        upright.thumbnail((SIDE, SIDE))
        upright.save(buffer, "JPEG", quality=80)
    except Exception:  # a broken image can raise anything in a decoder
        return ""
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
