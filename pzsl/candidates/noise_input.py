"""The input of a kind of noise: a block of images and the seen labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pzsl.candidates.randomness import Keys

Mask = NDArray[np.bool_]
"""(n, K), True if the seen label of that column is a candidate."""


@dataclass(frozen=True)
class Images:
    """A block of n images whose candidate sets are to be drawn over the K seen labels.

    Attributes:
        keys: (n,) random key of each image, from `randomness.image_keys`.
        truth: (n,) column of each image's true label.
        labels: (K,) class ids of the columns, ascending.
        similarities: (n, K) how likely a model finds each label, not negative; for `instance`.
    """

    keys: Keys
    truth: NDArray[np.int64]
    labels: NDArray[np.int64]
    similarities: NDArray[np.floating] | None = None

    def mark_truth(self, mask: Mask, value: bool = True) -> Mask:
        """Set each image's true label in the mask, in place; return the mask."""
        mask[np.arange(len(mask)), self.truth] = value
        return mask
