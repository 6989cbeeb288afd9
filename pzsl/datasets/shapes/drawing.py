"""Draw an image of a coloured, textured shape: pure functions of (composition, generator).

Everything is computed from signed distances on a pixel grid, so the images do not depend on the
version of a graphics library. Coordinates are (x right, y down); a shape about fills the unit
circle.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SIZE = 64
"""Height and width of a drawn image, in pixels."""


class Composition(NamedTuple):
    """What an image shows; its text form, `red striped star`, is the class name."""

    colour: str
    texture: str
    shape: str

    def __str__(self) -> str:
        return " ".join(self)


COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (212, 38, 38),
    "orange": (240, 138, 24),
    "yellow": (238, 222, 48),
    "green": (46, 160, 56),
    "cyan": (48, 205, 214),
    "blue": (40, 70, 210),
    "purple": (132, 44, 176),
    "pink": (246, 140, 190),
    "brown": (118, 70, 34),
    "white": (240, 240, 240),
}


def _polygon(points: Array, x: Array, y: Array) -> Array:
    """Signed distance (negative inside) of a grid to a closed polygon, points (P, 2)."""
    distance = np.full(x.shape, np.inf)
    inside = np.zeros(x.shape, dtype=bool)
    for (ax, ay), (bx, by) in zip(points, np.roll(points, -1, axis=0), strict=True):
        ex, ey, px, py = bx - ax, by - ay, x - ax, y - ay
        along = np.clip((px * ex + py * ey) / (ex * ex + ey * ey), 0.0, 1.0)
        distance = np.minimum(distance, (px - ex * along) ** 2 + (py - ey * along) ** 2)
        crosses = (ay > y) != (by > y)
        if ay != by:
            inside ^= crosses & (x < ex * (y - ay) / ey + ax)
    root: Array = np.sqrt(distance)
    return np.where(inside, -root, root)


def _regular(corners: int, radius: float = 1.0) -> Array:
    angle = np.arange(corners) * 2 * np.pi / corners - np.pi / 2
    return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _star() -> Array:
    points = _regular(10, 1.05)
    points[1::2] *= 0.42
    return points


def _heart() -> Array:
    t = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return np.stack([x, y], axis=1) / 17


_CROSS = [(-1, 1), (-1, 3), (1, 3), (1, 1), (3, 1), (3, -1), (1, -1), (1, -3)]
_CROSS += [(-1, -3), (-1, -1), (-3, -1), (-3, 1)]
_ARROW = [(0, -1), (0.85, -0.1), (0.35, -0.1), (0.35, 1), (-0.35, 1), (-0.35, -0.1), (-0.85, -0.1)]

_OUTLINES: dict[str, Array] = {
    "square": np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * 0.82,
    "triangle": _regular(3, 1.1),
    "hexagon": _regular(6),
    "star": _star(),
    "heart": _heart(),
    "cross": np.array(_CROSS, dtype=float) / 3.1,
    "arrow": np.array(_ARROW, dtype=float),
}


def _circle(x: Array, y: Array) -> Array:
    return np.hypot(x, y) - 0.95


def _ring(x: Array, y: Array) -> Array:
    return np.abs(np.hypot(x, y) - 0.75) - 0.25


def _crescent(x: Array, y: Array) -> Array:
    return np.maximum(np.hypot(x, y) - 1.0, 0.8 - np.hypot(x - 0.5, y))


_CURVES: dict[str, Callable[[Array, Array], Array]] = {
    "circle": _circle,
    "ring": _ring,
    "crescent": _crescent,
}
SHAPES: tuple[str, ...] = (*_CURVES, *_OUTLINES)

# A texture says which part of the plane (period 1) takes the darker shade of the colour.
_TEXTURES: dict[str, Callable[[Array, Array], Array]] = {
    "plain": lambda x, y: np.zeros_like(x),
    "striped": lambda x, y: (x % 1.0 < 0.5).astype(float),
    "dotted": lambda x, y: (np.hypot(x % 1.0 - 0.5, y % 1.0 - 0.5) < 0.3).astype(float),
    "checkered": lambda x, y: ((x % 1.0 < 0.5) ^ (y % 1.0 < 0.5)).astype(float),
}
TEXTURES: tuple[str, ...] = tuple(_TEXTURES)


def signed_distance(shape: str, x: Array, y: Array) -> Array:
    """Distance of each grid point to the outline of `shape`, negative inside."""
    if shape in _CURVES:
        return _CURVES[shape](x, y)
    return _polygon(_OUTLINES[shape], x, y)


def _background(rng: np.random.Generator, x: Array, y: Array) -> Array:
    """A tinted grey gradient with a few soft blobs, (SIZE, SIZE, 3) in 0..255."""
    direction = rng.uniform(0, 2 * np.pi)
    ramp = np.cos(direction) * x + np.sin(direction) * y
    tint = rng.uniform(60, 190) + rng.uniform(-25, 25, 3)
    image = tint + rng.uniform(0, 35) * ramp[..., None] * rng.uniform(0.5, 1.0, 3)
    for _ in range(int(rng.integers(0, 4))):
        cx, cy, width = rng.uniform(-1, 1), rng.uniform(-1, 1), rng.uniform(0.1, 0.35)
        blob = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / width**2)
        image = image + blob[..., None] * rng.uniform(-45, 45, 3)
    return np.asarray(image)


def draw(composition: Composition, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw a composition with random place, size, rotation, light, background and noise.

    Args:
        composition: colour, texture and shape, each of the names above.
        rng: the only source of randomness.

    Returns:
        RGB image (SIZE, SIZE, 3), uint8.
    """
    axis = (np.arange(SIZE) + 0.5) / SIZE * 2 - 1
    x, y = np.meshgrid(axis, axis)
    image = _background(rng, x, y)
    radius = rng.uniform(0.5, 0.8)
    dx, dy = rng.uniform(-0.9, 0.9, 2) * (1 - radius)
    angle = rng.uniform(-np.pi / 6, np.pi / 6)
    u = (np.cos(angle) * (x - dx) + np.sin(angle) * (y - dy)) / radius
    v = (-np.sin(angle) * (x - dx) + np.cos(angle) * (y - dy)) / radius
    pixel = 2 / SIZE / radius
    alpha = np.clip(0.5 - signed_distance(composition.shape, u, v) / pixel, 0, 1)
    period, phase = rng.uniform(0.45, 0.65), rng.uniform(0, 1, 2)
    dark = _TEXTURES[composition.texture](u / period + phase[0], v / period + phase[1])
    light = rng.uniform(0.8, 1.05) * (1 - 0.5 * dark)
    colour = np.array(COLOURS[composition.colour]) + rng.uniform(-12, 12, 3)
    image = image * (1 - alpha[..., None]) + (light * alpha)[..., None] * colour
    image = image + rng.normal(0, rng.uniform(2, 14), image.shape)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def out_of_focus(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Blur an image (H, W, 3) with the filter 1 2 1 in both directions, like a lens out of focus.

    Integer arithmetic, so that every machine gets the same bits; edge pixels are repeated.
    """
    padded = np.pad(image.astype(np.uint16), ((1, 1), (1, 1), (0, 0)), mode="edge")
    rows = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    total = rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]
    return np.asarray((total + 8) // 16, dtype=np.uint8)
