"""Count what was taken for white in grey images of more than 8 bits, which don't tell it."""

from __future__ import annotations

from collections import Counter
from threading import Lock

Counts = Counter[tuple[str, int]]
"""(`integers` or `floats`, value of white) -> images."""


class Whites:
    """Counts the images for each value of white; thread-safe.

    Attributes:
        counts: so far.
    """

    def __init__(self) -> None:
        self.counts: Counts = Counter()
        self._lock = Lock()

    def add(self, kind: str, white: int) -> None:
        """Count an image of `integers` or `floats`."""
        with self._lock:
            self.counts[kind, white] += 1


def mixed_whites(counts: Counts) -> list[str]:
    """Warnings where images of one kind were scaled from several whites; one line each.

    White is told from the largest value of each image, so that a dark image of 16 bits may be
    taken for a light one of 12.
    """
    lines = []
    for kind in sorted({kind for kind, _ in counts}):
        found = sorted((white, count) for (other, white), count in counts.items() if other == kind)
        if len(found) > 1:
            shares = ", ".join(f"{count:,} from {white}" for white, count in found)
            lines.append(
                f"{sum(count for _, count in found):,} grey images of {kind} were scaled to 8 bits "
                f"from several whites, guessed from the largest value of each ({shares}): equal "
                "shades differ if the images have one range: then save them all with 8 bits."
            )
    return lines
