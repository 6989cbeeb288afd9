"""Pictures as small data URIs, which a page can hold."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

QUALITY = 80


def thumbnail(image: Image, side: int) -> str:
    """A picture of 8 bits as a JPEG data URI, on white where it is transparent.

    Args:
        image: the right way up.
        side: largest width and height, in pixels.
    """
    import PIL.Image

    small = image.copy()
    small.thumbnail((side, side))
    if "transparency" in small.info or small.mode in ("RGBA", "LA", "PA"):
        small = small.convert("RGBA")
        small = PIL.Image.alpha_composite(PIL.Image.new("RGBA", small.size, "white"), small)
    file = io.BytesIO()
    small.convert("RGB").save(file, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")
