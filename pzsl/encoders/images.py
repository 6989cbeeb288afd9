"""Images as an encoder wants them, in bytes: resized, cropped and RGB; normalising comes later.

It is open_clip's evaluation transform up to its last step. The centre is cut out before resizing
(of the source, with the same filter at the same places) instead of after, which saves the work on
the margins; bytes differ by one level at most, but at a few sharp edges where Pillow takes rows and
columns in the other order. Two things are as in open_clip on purpose, so that features stay
comparable: the orientation that EXIF tells is not applied, and transparency is dropped. One is not:
grey of 16 and more bits or of floats, which it clips to white or black, is brought to 8 bits.
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
INTEGER_WHITES = (2**8 - 1, 2**12 - 1, 2**16 - 1, 2**24 - 1, 2**31 - 1)
FLOAT_WHITES = (1, 255, 65535)
"""Largest values of grey images, by the kinds of numbers that they are written in."""
LARGEST = 1 << 24
"""Pixels of a resized image beyond which it is cut out before resizing, or refused."""
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
        self._by_shortest, self._longest = config.resize_mode == "shortest", max(height, width)
        self._filter = RESAMPLING.get(config.interpolation, Image.Resampling.BICUBIC)
        self._steps = image_transform_v2(config, False).transforms[:-AFTER_RESIZING]

    def __call__(self, image: Image.Image) -> Tensor:
        """One image, (3, h, w) uint8."""
        image = eight_bits(image)
        shrinks = self._square is not None and self._square <= min(image.size)
        thin = self._resized_pixels(image.size) > LARGEST
        if thin and self._square is None:
            raise OSError(f"{image.width} x {image.height} pixels: too thin to be prepared")
        if thin and image.mode in UNFILTERED:
            image = image.convert("RGB")
        if self._square and (shrinks or thin) and image.mode not in UNFILTERED:
            image = resize_and_crop(image, self._square, self._filter)
        else:
            for step in self._steps:
                image = step(image)
        pixels = np.array(image.convert("RGB"))
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))

    def _resized_pixels(self, size: tuple[int, int]) -> float:
        """Pixels of an image of this size once its shorter side is that of the model."""
        return self._longest**2 * max(size) / min(size) if self._by_shortest else 0.0


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
    """Bring grey of integers or floats to 8 bits with its shades kept; other images as they are.

    The range follows from the largest value: integers of 8, 12, 16, 24 or 31 bits; floats from 0 to
    1, 255 or 65535.

    Raises:
        OSError: values are below 0, not finite or beyond these, so that white is unknown.
    """
    if not image.mode.startswith(("I", "F")):
        return image
    grey = np.asarray(image)
    low, high = grey.min(), grey.max()
    whites = FLOAT_WHITES if image.mode == "F" else INTEGER_WHITES
    white = next((white for white in whites if high <= white), None)
    if white is None or not low >= 0:
        raise OSError(
            f"grey values from {low:g} to {high:g}: write them from 0 to 1, 255 or 65535, as it "
            "can't be told what is white"
        )
    if image.mode == "F":
        return Image.fromarray((grey * np.float32(255 / white)).round().astype(np.uint8))
    return Image.fromarray((grey >> (int(white).bit_length() - 8)).astype(np.uint8))


def normalised(batch: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """What open_clip's transform makes of bytes, on the device where they are.

    Args:
        batch: (n, 3, h, w) uint8.
        mean, std: (3, 1, 1) float32.

    Returns:
        (n, 3, h, w) float32.
    """
    return batch.float().div_(255).sub_(mean).div_(std)
