"""Whether an encoder knows the images at all: how often its first guess is an allowed one."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

SAMPLE = 4096
"""Images that are looked at, spread evenly; the share is then known to about one percent."""
FEWEST = 20
"""Images below which a share says nothing."""
LEAST = 0.05
"""Share of the way from chance to certainty that an encoder should have come, at least."""


class EncoderFit(NamedTuple):
    """Shares of images, 0 to 1.

    Attributes:
        agreement: the encoder's first guess among seen classes is the label or a candidate.
        chance: what guesses at random would have.
        images: that were looked at.
    """

    agreement: float
    chance: float
    images: int

    @property
    def warning(self) -> str | None:
        """One line where the encoder is hardly better than chance; else None."""
        if self.images < FEWEST or self.agreement - self.chance >= LEAST * (1 - self.chance):
            return None
        return (
            f"The encoder does not seem to fit these images: its first guess is an allowed class "
            f"for {100 * self.agreement:.0f} % of {self.images:,} training images, where chance "
            f"has {100 * self.chance:.0f} %. Don't trust results on it: extract with another "
            "--model, or check labels and class names."
        )


class Embedded(Protocol):
    """What is read of a cache."""

    @property
    def labels(self) -> NDArray[np.int64]: ...  # noqa: D102
    @property
    def splits(self) -> NDArray[np.str_]: ...  # noqa: D102
    @property
    def images(self) -> NDArray[np.float32]: ...  # noqa: D102
    @property
    def seen(self) -> NDArray[np.bool_]: ...  # noqa: D102
    @property
    def templates(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def candidate_offsets(self) -> NDArray[np.int64] | None: ...  # noqa: D102
    @property
    def candidate_labels(self) -> NDArray[np.int32] | None: ...  # noqa: D102
    @property
    def annotation(self) -> dict[str, Any]: ...  # noqa: D102
    def label_embeddings(self) -> NDArray[np.float32]: ...  # noqa: D102


def encoder_fit(cache: Embedded) -> EncoderFit:
    """Compare an encoder's first guesses with labels and, where these are unknown, candidates.

    Args:
        cache: its training images are looked at; sets that the encoder itself made say nothing.
    """
    rows = np.flatnonzero(cache.splits == "trainval")
    rows = rows[:: -(-len(rows) // SAMPLE) or 1]
    allowed = [(row, found) for row in rows.tolist() if len(found := _allowed(row, cache))]
    if not (allowed and cache.templates and cache.seen.any()):
        return EncoderFit(1.0, 0.0, 0)
    classes = np.flatnonzero(cache.seen)
    vectors = cache.images[[row for row, _ in allowed]]
    guesses = classes[(vectors @ cache.label_embeddings()[classes].T).argmax(axis=1)]
    hits = [guess in found for guess, (_, found) in zip(guesses, allowed, strict=True)]
    shares = [cache.seen[found].sum() / len(classes) for _, found in allowed]
    return EncoderFit(float(np.mean(hits)), float(np.mean(shares)), len(allowed))


def _allowed(row: int, cache: Embedded) -> NDArray[np.integer]:
    if cache.labels[row] >= 0:
        return cache.labels[row : row + 1]
    offsets, found = cache.candidate_offsets, cache.candidate_labels
    if offsets is None or found is None or cache.annotation:
        return np.empty(0, np.int64)
    return found[offsets[row] : offsets[row + 1]]
