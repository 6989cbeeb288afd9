"""Prepare images for an encoder: resized, cropped, RGB, as bytes; normalised later on the device.

This is open_clip's evaluation transform without its last step. The centre is cut out before
resizing (from the source, with the same filter at the same positions) instead of after, which saves
work on the margins. Bytes differ by one level at most, except at a few sharp edges where Pillow
processes rows and columns in the other order. To keep features comparable, two things are as in
open_clip: the EXIF orientation is not applied, and transparency is dropped. One thing is not: grey
images with 16 or more bits or floats, which open_clip clips to white or black, are scaled to 8
bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torch import Tensor

from pzsl.encoders.image_warnings import TRANSPARENT, TURNED, Oddities

RESAMPLING = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
UNFILTERED = ("1", "P")
"""Modes that Pillow resizes by nearest neighbour, whatever the filter."""
INTEGER_WHITES = (2**8 - 1, 2**12 - 1, 2**16 - 1, 2**24 - 1, 2**31 - 1)
FLOAT_WHITES = (1, 255, 65535)
"""Possible values of white in grey images of integers and of floats."""
LARGEST = 1 << 24
"""If a resized image would have more pixels, it is cropped before resizing, or refused."""
MIDDLE = 16
"""Length of the middle of a thin image, in units of its width."""
TILE = 1 << 20
"""Pixels of a grey image that are scaled at a time."""
ORIENTATION = 0x0112
"""EXIF's tag: 1 is upright, 2 to 8 are turned or mirrored."""
OPAQUE = 255
TEXTS = "clean_texts"
"""An entry of `Identity.preprocessing` that is about texts, not images."""
AFTER_RESIZING = 3
"""The last steps of open_clip's transform: to RGB, to floats, normalise."""


class Preparation:
    """Resizes and crops any image to the model's size, (3, h, w) uint8; thread-safe.

    Args:
        preprocessing: as in `Identity`: size, interpolation, resize_mode and so on.
    """

    def __init__(self, preprocessing: dict[str, Any]) -> None:
        config = PreprocessCfg(**{k: v for k, v in preprocessing.items() if k != TEXTS})
        size = config.size if isinstance(config.size, int) else tuple(config.size)
        height, width = (size, size) if isinstance(size, int) else size
        self._square = height if config.resize_mode == "shortest" and height == width else None
        self._by_shortest, self._longest = config.resize_mode == "shortest", max(height, width)
        self._filter = RESAMPLING.get(config.interpolation, Image.Resampling.BICUBIC)
        self._steps = image_transform_v2(config, False).transforms[:-AFTER_RESIZING]

    def __call__(self, image: Image.Image) -> Tensor:
        """Prepare one image, (3, h, w) uint8.

        Raises:
            OSError: the image is too thin, or its grey values have no known white.
        """
        image = eight_bits(image)
        shrinks = self._square is not None and self._square <= min(image.size)
        thin = self._resized_pixels(image.size) > LARGEST
        if thin and self._square is None:
            raise OSError(f"{image.width} x {image.height} pixels: too thin to be prepared")
        if thin and image.mode in UNFILTERED:
            image = _middle(image).convert("RGB")
        if self._square and (shrinks or thin) and image.mode not in UNFILTERED:
            image = resize_and_crop(image, self._square, self._filter)
        else:
            for step in self._steps:
                image = step(image)
        pixels = np.array(image.convert("RGB"))
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))

    def _resized_pixels(self, size: tuple[int, int]) -> float:
        """Pixels of an image of this size after resizing its shorter side to the model's."""
        return self._longest**2 * max(size) / min(size) if self._by_shortest else 0.0


def resize_and_crop(image: Image.Image, size: int, resampling: Image.Resampling) -> Image.Image:
    """Resize the shorter side to `size` and crop the central square, in one step.

    Rounds as torchvision's `Resize(size)` and `CenterCrop(size)` do.
    """
    width, height = image.size
    short = min(width, height)
    resized = [int(size * side / short) for side in (width, height)]
    box = []
    for side, new_side in zip((width, height), resized, strict=True):
        start = round((new_side - size) / 2.0)
        box.append((start * side / new_side, min(side, (start + size) * side / new_side)))
    (left, right), (top, bottom) = box
    return image.resize((size, size), resampling, box=(left, top, right, bottom))


def _middle(image: Image.Image) -> Image.Image:
    """The part of a thin image that is resized and cropped, and what the filter sees beside it."""
    keep = MIDDLE * min(image.size)
    left, top = (max(0, (side - keep) // 2) for side in image.size)
    return image.crop((left, top, image.width - left, image.height - top))


def eight_bits(image: Image.Image, oddities: Oddities | None = None) -> Image.Image:
    """Scale grey images of integers or floats to 8 bits; return other images unchanged.

    The range is inferred from the largest value: integers of 8, 12, 16, 24 or 31 bits; floats from
    0 to 1, 255 or 65535.

    Args:
        image: in any mode.
        oddities: counts what was taken for white, if the image was scaled, and whether it is
            shown otherwise: turned by its EXIF orientation, or transparent.

    Raises:
        OSError: a value is negative, not finite, or above these ranges, so that white is unknown.
    """
    if oddities is not None:
        _note_kinds(image, oddities)
    if not image.mode.startswith(("I", "F")):
        return image
    ends = [(tile.min(), tile.max()) for _, tile in _tiles(image)]
    low, high = np.min(ends), np.max(ends)
    whites = FLOAT_WHITES if image.mode == "F" else INTEGER_WHITES
    white = next((white for white in whites if high <= white), None)
    if white is None or not low >= 0:
        raise OSError(
            f"grey values from {low:g} to {high:g}: write them from 0 to 1, 255 or 65535, as it "
            "can't be told what is white"
        )
    if oddities is not None:
        oddities.add("floats" if image.mode == "F" else "integers", white)
    grey = np.empty((image.height, image.width), dtype=np.uint8)
    for place, tile in _tiles(image):
        if image.mode == "F":
            grey[place] = (tile * np.float32(255 / white)).round()
        else:
            grey[place] = tile >> (int(white).bit_length() - 8)
    return Image.fromarray(grey)


def _note_kinds(image: Image.Image, oddities: Oddities) -> None:
    """Count an image that is shown otherwise than it is encoded."""
    for kind, is_of_kind in ((TURNED, _is_turned), (TRANSPARENT, _is_transparent)):
        try:
            if is_of_kind(image):
                oddities.add(kind)
        except Exception:  # broken notes can raise anything, and are none of the pixels
            continue


def _is_turned(image: Image.Image) -> bool:
    """Whether viewers show the image turned or mirrored, as its EXIF orientation asks."""
    return image.getexif().get(ORIENTATION, 1) in range(2, 9)


def _is_transparent(image: Image.Image) -> bool:
    """Whether a pixel is not opaque."""
    if image.mode in ("P", "L", "RGB", "1") and "transparency" in image.info:
        image = image.convert("RGBA")
    has_alpha = image.mode in ("RGBA", "LA", "PA")
    return has_alpha and any(image.getchannel("A").histogram()[:OPAQUE])


def _tiles(image: Image.Image) -> Iterator[tuple[tuple[slice, slice], NDArray[Any]]]:
    """The values of a grey image, part by part, so that large ones take no memory twice."""
    width = min(image.width, TILE)
    height = max(1, TILE // width)
    for top in range(0, image.height, height):
        for left in range(0, image.width, width):
            right, bottom = min(image.width, left + width), min(image.height, top + height)
            tile = np.asarray(image.crop((left, top, right, bottom)))
            yield (slice(top, bottom), slice(left, right)), tile


def normalised(batch: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Normalise a batch as open_clip's transform does, on the batch's device.

    Args:
        batch: (n, 3, h, w) uint8.
        mean, std: (3, 1, 1) float32.

    Returns:
        (n, 3, h, w) float32.
    """
    return batch.float().div_(255).sub_(mean).div_(std)
