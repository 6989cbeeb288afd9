"""Count images that may not be encoded as the user sees them, and warn about them."""

from __future__ import annotations

from collections import Counter
from threading import Lock

from pzsl.progress import counted, say

Counts = Counter[tuple[str, int]]
"""(`integers` or `floats`, value of white), (`TURNED`, 0) or (`TRANSPARENT`, 0) -> images."""
TURNED, TRANSPARENT = "turned", "transparent"
DOUBTS = {
    TURNED: "encoded as stored, turned or mirrored, although viewers show them upright: as in "
    "open_clip, the EXIF orientation is not applied. To encode them upright, save them so, for "
    "instance with Pillow's ImageOps.exif_transpose.",
    TRANSPARENT: "with transparent parts, which are encoded in black or in the colours that they "
    "hide: as in open_clip, transparency is dropped. To encode them on a background, save them "
    "with one.",
}


class Oddities:
    """Counts the images for each value of white and of each kind in `DOUBTS`; thread-safe.

    Attributes:
        counts: so far.
    """

    def __init__(self) -> None:
        self.counts: Counts = Counter()
        self._lock = Lock()

    def add(self, kind: str, value: int = 0) -> None:
        """Count an image: `integers` or `floats` with its white, or a key of `DOUBTS`."""
        with self._lock:
            self.counts[kind, value] += 1


def image_doubts(counts: Counts) -> list[str]:
    """Warnings about the images that were encoded; one line each."""
    doubts = [(counts[kind, 0], doubt) for kind, doubt in DOUBTS.items()]
    return [
        *_mixed_whites(counts),
        *(f"{counted(count, 'image')} {doubt}" for count, doubt in doubts if count),
    ]


def say_image_doubts(counts: Counts) -> None:
    """Print these warnings."""
    for line in image_doubts(counts):
        say(line)


def _mixed_whites(counts: Counts) -> list[str]:
    """Warnings where images of one kind were scaled from several whites.

    White is guessed from the largest value of each image, so that a dark image of 16 bits may be
    taken for a light one of 12.
    """
    lines = []
    for kind in sorted({kind for kind, _ in counts} - {*DOUBTS}):
        whites = sorted((white, count) for (other, white), count in counts.items() if other == kind)
        if len(whites) > 1:
            shares = ", ".join(f"{count:,} from {white}" for white, count in whites)
            images = sum(count for _, count in whites)
            lines.append(
                f"{images:,} grey images of {kind} were scaled to 8 bits "
                f"from several whites, guessed from the largest value of each ({shares}): equal "
                "shades differ if the images have one range: then save them all with 8 bits."
            )
    return lines
