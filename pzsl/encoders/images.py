"""Images as an encoder wants them, in bytes: resized, cropped and RGB; normalising comes later.

It is open_clip's evaluation transform up to its last step. The centre is cut out before resizing
(of the source, with the same filter at the same places) instead of after, which saves the work on
the margins; bytes differ by one level at most, but at a few sharp edges where Pillow takes rows and
columns in the other order. Two things are as in open_clip on purpose, so that features stay
comparable: the orientation that EXIF tells is not applied, and transparency is dropped. One is not:
16-bit grey, which it clips to white, is brought to 8 bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torch import Tensor

RESAMPLING = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
UNFILTERED = ("1", "P")
"""Modes that Pillow resizes by picking pixels, whatever the filter."""
AFTER_RESIZING = 3
"""The last steps of open_clip's transform: to RGB, to floats, normalise."""


class Preparation:
    """Brings any image to the size of the model, (3, h, w) uint8; safe to call from threads.

    Args:
        preprocessing: as in `Identity`: size, interpolation, resize_mode and so on.
    """

    def __init__(self, preprocessing: dict[str, Any]) -> None:
        config = PreprocessCfg(**preprocessing)
        size = config.size if isinstance(config.size, int) else tuple(config.size)
        height, width = (size, size) if isinstance(size, int) else size
        self._square = height if config.resize_mode == "shortest" and height == width else None
        self._filter = RESAMPLING.get(config.interpolation, Image.Resampling.BICUBIC)
        self._steps = image_transform_v2(config, False).transforms[:-AFTER_RESIZING]

    def __call__(self, image: Image.Image) -> Tensor:
        """One image, (3, h, w) uint8."""
        image = eight_bits(image)
        shrinks = self._square is not None and self._square <= min(image.size)
        if self._square and shrinks and image.mode not in UNFILTERED:
            image = resize_and_crop(image, self._square, self._filter)
        else:
            for step in self._steps:
                image = step(image)
        pixels = np.array(image.convert("RGB"))
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def resize_and_crop(image: Image.Image, size: int, resampling: Image.Resampling) -> Image.Image:
    """Resize so that the shorter side is `size`, and cut out the square in the middle, in one go.

    Rounding is torchvision's, that of `Resize(size)` and `CenterCrop(size)`.
    """
    width, height = image.size
    short = min(width, height)
    resized = [int(size * side / short) for side in (width, height)]
    box = []
    for side, new in zip((width, height), resized, strict=True):
        start = round((new - size) / 2.0)
        box.append((start * side / new, min(side, (start + size) * side / new)))
    (left, right), (top, bottom) = box
    return image.resize((size, size), resampling, box=(left, top, right, bottom))


def eight_bits(image: Image.Image) -> Image.Image:
    """Bring 16-bit grey to 8 bits; other images as they are."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))


def normalised(batch: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """What open_clip's transform makes of bytes, on the device where they are.

    Args:
        batch: (n, 3, h, w) uint8.
        mean, std: (3, 1, 1) float32.

    Returns:
        (n, 3, h, w) float32.
    """
    return batch.float().div_(255).sub_(mean).div_(std)
