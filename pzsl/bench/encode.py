"""Stage one beside the loops that it takes the place of: same photographs, same random ViT-B-32.

The loops are the one of open_clip's README, an image at a time, and a DataLoader with batches of
64. The bound is what reading alone and encoding alone leave: 1 / (1 / encode + 1 / read).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from open_clip.transform import PreprocessCfg
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pzsl.bench.timing import REPEATS, interleaved
from pzsl.datasets.reading import open_image
from pzsl.device import CPU_BATCH, cores
from pzsl.encoders.base import Identity
from pzsl.encoders.int8 import to_int8
from pzsl.encoders.openclip import OpenClipEncoder
from pzsl.extraction.pipeline import encode_blocks

MODEL = "ViT-B-32"
SIZE = (500, 375)
LOADER_BATCH = 64
PRODUCT = 2048
"""Side of the square matrices whose product gives the machine's rate."""
PRODUCTS = 8
PRODUCT_FLOPS = 2 * PRODUCTS * PRODUCT**3

Vectors = NDArray[np.float32]


class Sides(NamedTuple):
    """What is compared: images, and the same weights as a bare model and as our encoders."""

    files: list[Path]
    model: Any
    transform: Any
    fp32: OpenClipEncoder
    int8: OpenClipEncoder


def measure_encode(quick: bool = False) -> dict[str, Any]:
    """Images a second of stage one and of other loops, by turns on the CPU.

    Args:
        quick: half the images, once instead of three times.

    Returns:
        `setting`, `figures` (images a second, GFLOP a second) and `ratios` (above 1: ours is the
        faster; the cosines are the least ones).
    """
    with TemporaryDirectory() as folder:
        images = CPU_BATCH * cores() * (1 if quick else 2)
        sides = _prepare(draw_photographs(Path(folder), images))
        prepared = [sides.fp32.preprocess(open_image(file)) for file in sides.files]
        runs: dict[str, Callable[[], object]] = {
            "readme": partial(_readme_loop, sides),
            "loader": partial(_loader_loop, sides),
            "pzsl": partial(_pipeline, sides.fp32, sides.files),
            "int8": partial(_pipeline, sides.int8, sides.files),
            "encode": partial(_encode_alone, sides.fp32, prepared),
            "read": partial(_read_alone, sides.fp32, sides.files),
            "product": _products,
        }
        cosines = _cosines(sides)  # and so all is warm
        seconds = interleaved(runs, 1 if quick else REPEATS)
        flops = _flops(sides.model) * images
    return {
        "setting": {
            "model": f"{MODEL}, random weights, fp32",
            "images": f"{images} JPEG, {SIZE[0]} x {SIZE[1]}",
            "batch": CPU_BATCH,
            "threads": cores(),
            "repeats": 1 if quick else REPEATS,
        },
        "figures": _figures(images, flops, seconds),
        "ratios": {**_ratios(flops, seconds), **cosines},
    }


def _figures(images: int, flops: float, seconds: dict[str, float]) -> dict[str, float]:
    """Images a second, and billions of floating-point operations a second."""
    named = {
        "open_clip README": "readme",
        f"DataLoader of {LOADER_BATCH}": "loader",
        "pzsl": "pzsl",
        "pzsl int8": "int8",
        "encoding alone": "encode",
        "reading alone": "read",
    }
    return {
        **{f"{name}, images a second": images / seconds[key] for name, key in named.items()},
        "encoding alone, GFLOP a second": flops / seconds["encode"] / 1e9,
        "matrix product, GFLOP a second": PRODUCT_FLOPS / seconds["product"] / 1e9,
    }


def _ratios(flops: float, seconds: dict[str, float]) -> dict[str, float]:
    """Speeds relative to each other: above 1 the first one is the faster."""
    product = PRODUCT_FLOPS / seconds["product"]
    return {
        "pzsl / README": seconds["readme"] / seconds["pzsl"],
        "pzsl / DataLoader": seconds["loader"] / seconds["pzsl"],
        "pzsl / bound": (seconds["encode"] + seconds["read"]) / seconds["pzsl"],
        "encoding / matrix product": flops / seconds["encode"] / product,
        "int8 / README": seconds["readme"] / seconds["int8"],
        "int8 / pzsl": seconds["pzsl"] / seconds["int8"],
    }


def draw_photographs(folder: Path, count: int) -> list[Path]:
    """Draw pictures with about the detail of photographs, as JPEG files of quality 90."""
    random = np.random.default_rng(0)
    files = []
    for number in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        image = coarse.resize(SIZE, Image.Resampling.BICUBIC)
        draw = ImageDraw.Draw(image)
        for _ in range(12):
            x, y, w, h = random.integers(0, 300, 4).tolist()
            draw.ellipse((x, y, x + w, y + h), tuple(random.integers(0, 256, 3).tolist()))
        grain = random.integers(-12, 13, (SIZE[1], SIZE[0], 3))
        pixels = (np.asarray(image, dtype=np.int64) + grain).clip(0, 255).astype(np.uint8)
        files.append(folder / f"{number}.jpg")
        Image.fromarray(pixels).save(files[-1], quality=90)
    return files


def _prepare(files: list[Path]) -> Sides:
    logging.getLogger().addFilter(quiet := _Quiet())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, _, transform = open_clip.create_model_and_transforms(MODEL, pretrained=None)
    logging.getLogger().removeFilter(quiet)
    model = model.eval().requires_grad_(False)
    int8_model = deepcopy(model)
    to_int8(int8_model.visual)
    return Sides(files, model, transform, _encoder(model, "fp32"), _encoder(int8_model, "int8"))


class _Quiet(logging.Filter):
    """Drops open_clip's warning that the weights are random: here they are meant to be."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("No pretrained weights loaded")


def _encoder(model: nn.Module, precision: str) -> OpenClipEncoder:
    config = asdict(PreprocessCfg(**model.visual.preprocess_cfg))  # type: ignore[union-attr, arg-type]
    identity = Identity(MODEL, "random", "", config, precision, 512, 100.0)
    return OpenClipEncoder(model, None, identity, torch.device("cpu"))


def _pipeline(encoder: OpenClipEncoder, files: Sequence[Path]) -> Vectors:
    """As `pzsl extract` does it."""
    return _run(lambda path: encoder.preprocess(open_image(Path(path))), encoder, files)


def _encode_alone(encoder: OpenClipEncoder, prepared: Sequence[Tensor]) -> Vectors:
    return _run(lambda path: prepared[int(path)], encoder, range(len(prepared)))


def _run(load: Callable[[str], Tensor], encoder: OpenClipEncoder, ids: Sequence[object]) -> Vectors:
    paths, pending = tuple(map(str, ids)), np.arange(len(ids))
    blocks = encode_blocks(load, encoder.encode_images, paths, pending, CPU_BATCH, cores())
    return np.concatenate([block.features for block in blocks])


def _read_alone(encoder: OpenClipEncoder, files: Sequence[Path]) -> None:
    paths, pending = tuple(map(str, files)), np.arange(len(files))
    blocks = encode_blocks(
        lambda path: encoder.preprocess(open_image(Path(path))),
        lambda batch: torch.zeros(len(batch), 1),
        paths,
        pending,
        CPU_BATCH,
        cores(),
    )
    for _ in blocks:
        pass


@torch.no_grad()
def _readme_loop(sides: Sides) -> Vectors:
    """An image at a time, as open_clip's README shows it."""
    vectors = []
    for file in sides.files:
        image = sides.transform(Image.open(file)).unsqueeze(0)
        features = sides.model.encode_image(image)
        features /= features.norm(dim=-1, keepdim=True)
        vectors.append(features.numpy())
    return np.concatenate(vectors)


class _Files(torch.utils.data.Dataset[Tensor]):
    def __init__(self, sides: Sides) -> None:
        self.sides = sides

    def __len__(self) -> int:
        return len(self.sides.files)

    def __getitem__(self, row: int) -> Tensor:
        image: Tensor = self.sides.transform(Image.open(self.sides.files[row]))
        return image


@torch.no_grad()
def _loader_loop(sides: Sides) -> None:
    """Batches of a DataLoader without workers."""
    for batch in torch.utils.data.DataLoader(_Files(sides), batch_size=LOADER_BATCH):
        sides.model.encode_image(batch, normalize=True)


def _products() -> None:
    """Products of square matrices, on all cores."""
    one, two = torch.ones(PRODUCT, PRODUCT), torch.ones(PRODUCT, PRODUCT)
    for _ in range(PRODUCTS):
        one @ two


def _flops(model: Any) -> int:
    """Operations for one image, counted; a multiplication and an addition are two.

    On the CPU torch doesn't count the products of attention with itself, one in a hundred here.
    """
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # its products can't be seen
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model.encode_image(torch.zeros(1, 3, 224, 224))
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)
    return int(counter.get_total_flops())


def _cosines(sides: Sides) -> dict[str, float]:
    """Least cosines of our vectors: with those of open_clip's own loop, and in int8 with fp32."""
    few = sides._replace(files=sides.files[:CPU_BATCH])
    theirs = _readme_loop(few)
    ours, rounded = (_pipeline(encoder, few.files) for encoder in (sides.fp32, sides.int8))
    return {
        "least cosine, pzsl with open_clip": float((ours * theirs).sum(axis=1).min()),
        "least cosine, int8 with fp32": float((rounded * ours).sum(axis=1).min()),
    }
