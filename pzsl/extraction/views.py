"""Weakly and strongly augmented views of training images, drawn from (seed, image id, number).

A weak view is a random crop of most of the image, resized to the encoder's size and mirrored with
probability one half. A strong view is cropped more tightly, then distorted twice as in RandAugment
(Cubuk et al. 2020), and has a grey square cut out (DeVries and Taylor 2017). No distortion changes
the hue, because many classes are named after their colour.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from pzsl.datasets import Dataset
from pzsl.encoders.image_warnings import Oddities
from pzsl.errors import UsageError, nearest
from pzsl.files import digest

if TYPE_CHECKING:
    from torch import Tensor

WEAK, STRONG = "weak", "strong"
POLICIES = {
    "weak": "all views are weak",
    "strong": "all views are strong",
    "mixed": "the first half of the views is weak, the others are strong",
}
GREY = (128, 128, 128)
DISTORTIONS = 2
"""Number of distortions of a strong view."""

Random = np.random.Generator


class Policy(NamedTuple):
    """How a kind of view is made.

    Attributes:
        area: smallest and largest share of the image's area in the crop.
        ratio: largest change of the crop's aspect ratio.
        distortions: number of distortions.
        cutout: largest side of the grey square, as a share of the view's side.
    """

    area: tuple[float, float]
    ratio: float
    distortions: int
    cutout: float


KINDS = {
    WEAK: Policy((0.8, 1.0), 1.1, 0, 0.0),
    STRONG: Policy((0.5, 1.0), 1.25, DISTORTIONS, 0.4),
}


@dataclass(frozen=True)
class Augmentation:
    """The K views of each training image.

    Attributes:
        kinds: (K,) `weak` or `strong`.
        seed: of all draws.
    """

    kinds: tuple[str, ...]
    seed: int = 0

    def record(self) -> dict[str, Any]:
        """Everything that the views depend on, as stored in the cache."""
        used = {kind: KINDS[kind]._asdict() for kind in dict.fromkeys(self.kinds)}
        return {"kinds": list(self.kinds), "seed": self.seed, **used}

    def views(self, image: Image.Image, name: str, size: tuple[int, int]) -> list[Image.Image]:
        """Make the views of an image.

        Args:
            image: in any mode.
            name: its id.
            size: (width, height) of a view.

        Returns:
            K RGB images; a view depends only on the seed, the id, its number and its kind.
        """
        image = image.convert("RGB")
        views = []
        for number, kind in enumerate(self.kinds):
            random = np.random.default_rng(int(digest(str(self.seed), name, str(number)), 16))
            views.append(_view(image, size, KINDS[kind], random))
        return views


class ImageReader:
    """Reads images and makes the views of training images; thread-safe.

    Args:
        data: the images.
        preprocess: prepares one image for the encoder, (3, h, w).
        augmentation: the views of a training image, if any.

    Attributes:
        viewed: (N,) which images have views.
        oddities: images whose shades or orientation may surprise.
    """

    def __init__(
        self,
        data: Dataset,
        preprocess: Callable[[Image.Image], Tensor],
        augmentation: Augmentation | None,
    ) -> None:
        self.viewed: NDArray[np.bool_] = data.splits == "trainval"
        self.oddities = Oddities()
        self._reader, self._preprocess, self._augmentation = data.reader, preprocess, augmentation
        self._names = {data.paths[row] for row in np.flatnonzero(self.viewed)}

    def __call__(self, path: str) -> Tensor:
        """An image (3, h, w). With views: (1 + K, 3, h, w), or (1, 3, h, w) for a test image."""
        import torch

        from pzsl.encoders.preprocessing import eight_bits

        image = eight_bits(self._reader(path), self.oddities)
        prepared = self._preprocess(image)
        if self._augmentation is None:
            return prepared
        views: list[Image.Image] = []
        if path in self._names:
            height, width = prepared.shape[1:]
            views = self._augmentation.views(image, path, (width, height))
        return torch.stack([prepared, *map(self._preprocess, views)])


def choose_views(count: int, policy: str = "mixed", seed: int = 0) -> Augmentation | None:
    """The requested views of a training image.

    Args:
        count: K; 0 for none.
        policy: a key of `POLICIES`.
        seed: random seed.

    Raises:
        UsageError: the count is negative, or the policy is unknown.
    """
    if policy not in POLICIES:
        raise UsageError(f"Unknown --view-policy '{policy}'.{nearest(policy, list(POLICIES))}")
    if count < 0:
        raise UsageError(f"--views should be at least 0, not {count}.")
    weak_count = {"weak": count, "strong": 0, "mixed": count - count // 2}[policy]
    kinds = (WEAK,) * weak_count + (STRONG,) * (count - weak_count)
    return Augmentation(kinds, seed) if count else None


def _view(image: Image.Image, size: tuple[int, int], policy: Policy, random: Random) -> Image.Image:
    box = _crop(image.size, policy, random)
    view = image.resize(size, Image.Resampling.BICUBIC, box=box, reducing_gap=2.0)
    if random.random() < 0.5:
        view = ImageOps.mirror(view)
    for _ in range(policy.distortions):
        distort = ALL_DISTORTIONS[int(random.integers(len(ALL_DISTORTIONS)))]
        view = distort(view, random.uniform(-1, 1))
    if policy.cutout:
        view.paste(GREY, _square(size, policy.cutout, random))
    return view


def _crop(
    size: tuple[int, int], policy: Policy, random: Random
) -> tuple[float, float, float, float]:
    """Draw a crop box (left, upper, right, lower) inside the image."""
    width, height = size
    share = math.sqrt(random.uniform(*policy.area))
    stretch = math.sqrt(policy.ratio ** random.uniform(-1, 1))
    wide, high = min(1.0, share * stretch) * width, min(1.0, share / stretch) * height
    left, upper = random.uniform(0, width - wide), random.uniform(0, height - high)
    return left, upper, min(width, left + wide), min(height, upper + high)


def _square(size: tuple[int, int], largest: float, random: Random) -> tuple[int, int, int, int]:
    """Draw a square around a point of the view, clipped at the border."""
    half = largest * random.random() * min(size) / 2
    x, y = random.uniform(0, size[0]), random.uniform(0, size[1])
    left, upper = max(0, round(x - half)), max(0, round(y - half))
    return left, upper, min(size[0], round(x + half)), min(size[1], round(y + half))


def _enhanced(kind: Callable[[Image.Image], Any]) -> Callable[[Image.Image, float], Image.Image]:
    def distort(image: Image.Image, strength: float) -> Image.Image:
        changed: Image.Image = kind(image).enhance(1 + 0.5 * strength)
        return changed

    return distort


def _posterise(image: Image.Image, strength: float) -> Image.Image:
    return ImageOps.posterize(image, 8 - round(4 * abs(strength)))


def _rotated(image: Image.Image, strength: float) -> Image.Image:
    return image.rotate(30 * strength, Image.Resampling.BILINEAR, fillcolor=GREY)


def _moved(
    matrix: Callable[[float, int, int], tuple[float, ...]],
) -> Callable[[Image.Image, float], Image.Image]:
    """An affine distortion: pixel (x, y) is taken from (a x + b y + c, d x + e y + f)."""

    def distort(image: Image.Image, strength: float) -> Image.Image:
        coefficients = matrix(strength, image.width, image.height)
        return image.transform(
            image.size,
            Image.Transform.AFFINE,
            coefficients,
            Image.Resampling.BILINEAR,
            fillcolor=GREY,
        )

    return distort


ALL_DISTORTIONS: tuple[Callable[[Image.Image, float], Image.Image], ...] = (
    _enhanced(ImageEnhance.Brightness),
    _enhanced(ImageEnhance.Contrast),
    _enhanced(ImageEnhance.Color),
    _enhanced(ImageEnhance.Sharpness),
    _posterise,
    _rotated,
    _moved(lambda s, w, h: (1, 0.3 * s, -0.15 * s * h, 0, 1, 0)),
    _moved(lambda s, w, h: (1, 0, 0, 0.3 * s, 1, -0.15 * s * w)),
    _moved(lambda s, w, h: (1, 0, 0.3 * s * w, 0, 1, 0)),
    _moved(lambda s, w, h: (1, 0, 0, 0, 1, 0.3 * s * h)),
)
"""The distortions, each with a strength in -1..1: colours, then rotation, shear and shift."""
