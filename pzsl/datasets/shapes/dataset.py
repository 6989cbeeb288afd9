"""`shapes`: the built-in data set of coloured, textured shapes, drawn by pzsl itself.

Its images are slightly out of focus, and the built-in encoder was trained on sharp ones. So, as on
real data, its zero-shot predictions are often wrong although its embeddings separate the classes.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pzsl.datasets.base import Dataset
from pzsl.datasets.shapes.drawing import COLOURS, SHAPES, TEXTURES, Composition, draw, out_of_focus
from pzsl.errors import UsageError

SEED = 2026
UNSEEN = 100
IMAGES = {"trainval": 16, "test_seen": 6, "test_unseen": 12}
"""Images per class in each split."""

COMPOSITIONS: tuple[Composition, ...] = tuple(
    Composition(*parts) for parts in itertools.product(COLOURS, TEXTURES, SHAPES)
)


def seen_mask() -> NDArray[np.bool_]:
    """Which compositions are seen, (C,); the same for the data set and its encoder.

    The unseen ones are spread evenly: a quarter of the compositions of each colour, texture and
    shape, so that every word of an unseen name occurs among the seen names.
    """
    grid = np.arange(len(COMPOSITIONS)).reshape(len(COLOURS), len(TEXTURES), len(SHAPES))
    colour, texture, shape = np.unravel_index(grid, grid.shape)
    seen: NDArray[np.bool_] = ((colour + texture + shape) % 4 != 3).reshape(-1)
    return seen


def draw_indexed(composition: Composition, seed: int, index: int) -> NDArray[np.uint8]:
    """The drawing of number `index` under `seed`, in focus, (64, 64, 3) uint8."""
    return draw(composition, np.random.default_rng([seed, index]))


@dataclass(frozen=True)
class ShapesReader:
    """Draws the image that a path such as `red_plain_star/000017` stands for, out of focus."""

    seed: int

    def __call__(self, path: str) -> Image.Image:
        """The image that a path stands for."""
        name, _, number = path.partition("/")
        composition = Composition(*name.split("_"))
        return Image.fromarray(out_of_focus(draw_indexed(composition, self.seed, int(number))))


def load_shapes(seed: int = SEED, unseen: float | None = None) -> Dataset:
    """Load `shapes`: 400 compositions, 100 of them unseen, 7,800 images of 64 x 64 pixels.

    Args:
        seed: of the drawings; the encoder was trained on drawings of another seed.
        unseen: 0 leaves the unseen compositions out: a closed set of 300 classes, with the same
            6,600 images of theirs.

    Raises:
        UsageError: `unseen` is neither None nor 0.
    """
    if unseen not in (None, 0):
        raise UsageError(f"--unseen {unseen:g}: shapes has its own 100 unseen classes, or 0.")
    mask = seen_mask()
    numbers = np.flatnonzero(mask) if unseen == 0 else np.arange(len(mask))
    paths, labels, splits = [], [], []
    for label, number in enumerate(numbers.tolist()):
        name, count_drawn = "_".join(COMPOSITIONS[number]), 0
        for split, count in IMAGES.items():
            if (split == "test_unseen") == bool(mask[number]):
                continue
            for _ in range(count):
                paths.append(f"{name}/{number * 1000 + count_drawn:06d}")
                labels.append(label)
                splits.append(split)
                count_drawn += 1
    return Dataset(
        name="shapes",
        classes=tuple(str(COMPOSITIONS[number]) for number in numbers),
        seen=mask[numbers],
        paths=tuple(paths),
        labels=np.array(labels, dtype=np.int64),
        splits=np.array(splits),
        reader=ShapesReader(seed),
        origin=(("seed", str(seed)),),
    )
