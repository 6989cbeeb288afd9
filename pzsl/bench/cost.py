"""What a large problem costs: measured at three sizes, and checked by predicting a fourth.

Seconds, memory and disk are a + b N + c N C in images N and classes C: solved for the three sizes.
Each size has a process of its own: `python -m pzsl.bench.cost IMAGES CLASSES`. Seconds are those of
one processor at work, which other load on the machine changes little. Training is a run of one
epoch, with its closed-form parts, calibration and evaluation.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pzsl.bench.load import BLOCK, DIM, made_block, made_header
from pzsl.bench.memory import ONE_EPOCH, peak
from pzsl.errors import UserError
from pzsl.store import CacheWriter, Part, merge_parts, part_path, shard_rows
from pzsl.training import train

PARTS = 4
CANDIDATES = 5
"""Wrong labels among the candidates of each image."""
MEMORY = 0.01
"""GiB of features that the run may hold: it reads them from the disk in blocks, as large ones."""


class Size(NamedTuple):
    """Images and classes; a tenth of the classes are unseen."""

    images: int
    classes: int


MEASURED = (Size(10_000, 100), Size(40_000, 100), Size(20_000, 400))
PREDICTED = Size(50_000, 300)
QUICK = (Size(2_000, 20), Size(4_000, 20), Size(3_000, 60)), Size(4_000, 50)
LARGE = (Size(10**6, 1_000), Size(10**7, 1_000), Size(10**8, 1_000), Size(10**9, 1_000))
"""Sizes that the model is asked about."""
NAMES = ("merge, seconds", "train, seconds", "merge, GiB", "train, GiB", "disk, GiB")


def measure_cost(quick: bool) -> dict[str, Any]:
    """Write parts, merge them and train on the cache, at four sizes; fit three, predict the fourth.

    Args:
        quick: small sizes: figures that say little.

    Returns:
        `setting`; `figures`: per quantity what each image costs, and each image times class, then
        the model's answers for large sizes; `ratios`: predicted over measured, of the fourth size.
    """
    sizes, fourth = QUICK if quick else (MEASURED, PREDICTED)
    measured = [measure(size) for size in (*sizes, fourth)]
    model = {name: solve(sizes, [row[name] for row in measured[:3]]) for name in NAMES}
    figures: dict[str, float] = {}
    for name, (_, image, cell) in model.items():
        figures |= {f"{name}, 10^6 images": 1e6 * image, f"{name}, 10^9 cells": 1e9 * cell}
    for size in LARGE:
        about = f"{size.images:.0e} images, {size.classes:,} classes"
        figures |= {f"{about}: {name}": predict(model[name], size) for name in NAMES}
    return {
        "setting": {
            "measured (images, classes)": ", ".join(map(_shown, sizes)),
            "predicted": _shown(fourth),
            "dimensions": DIM,
            "candidates of an image": CANDIDATES + 1,
            "parts": PARTS,
        },
        "figures": figures,
        "ratios": {
            f"{name}, predicted / measured": predict(model[name], fourth) / measured[3][name]
            for name in NAMES
        },
    }


def solve(sizes: Sequence[Size], values: Sequence[float]) -> NDArray[np.float64]:
    """The constants (3,) of a + b N + c N C that give these values at three sizes.

    Cells cost nothing less than nothing: where noise says so, c is 0, and a and b fit best.
    """
    terms = np.array([_terms(size) for size in sizes])
    constants = np.linalg.solve(terms, np.array(values))
    if constants[2] < 0:
        constants = np.append(np.linalg.lstsq(terms[:, :2], np.array(values), rcond=None)[0], 0.0)
    return constants


def predict(constants: NDArray[np.float64], size: Size) -> float:
    """The value of the model at a size."""
    return float(constants @ np.array(_terms(size)))


def _terms(size: Size) -> tuple[float, float, float]:
    return 1.0, float(size.images), float(size.images * size.classes)


def _shown(size: Size) -> str:
    return f"{size.images:,} x {size.classes}"


def measure(size: Size) -> dict[str, float]:
    """The costs of a size, by name, from a process of its own.

    Raises:
        UserError: the process failed.
    """
    command = [sys.executable, "-m", "pzsl.bench.cost", *map(str, size)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last_line = done.stderr.strip().splitlines()[-1:] or ["nothing was said"]
        raise UserError(f"The run on {_shown(size)} failed: {last_line[0]}")
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def write_parts(cache: Path, size: Size) -> list[Path]:
    """Parts of a cache of generated rows, as the shards of stage one write them."""
    whole, block = made_header(*size, unseen=size.classes // 10), made_block()
    files = []
    for shard in range(1, PARTS + 1):
        rows = shard_rows(shard, PARTS, size.images, 256)
        part = Part(shard, PARTS, rows.start, rows.stop, size.images, 256, "", "")
        header = replace(
            whole,
            paths=whole.paths[rows.start : rows.stop],
            labels=whole.labels[rows.start : rows.stop],
            splits=whole.splits[rows.start : rows.stop],
            templates=whole.templates if shard == 1 else (),
            part=part.to_dict(),
        )
        with CacheWriter(part_path(cache, shard, PARTS), header) as writer:
            text = np.resize(block, (size.classes, len(header.templates), DIM))
            writer.write_text(text)
            for start in range(0, len(rows), BLOCK):
                at = np.arange(start, min(start + BLOCK, len(rows)))
                writer.write(at, block[: len(at)])
            files.append(writer.finish())
    return files


def _run(size: Size) -> None:
    """Merge and train in this very process; then the costs as a line of JSON."""
    gib = 2**30
    with tempfile.TemporaryDirectory(prefix="pzsl-bench-") as folder:
        cache = Path(folder) / "made.h5"
        files = write_parts(cache, size)
        started = time.process_time()
        merge_parts(files, cache)
        merged, merge_peak = time.process_time(), peak() or 0
        disk = cache.stat().st_size
        for file in files:
            file.unlink()
        runs, noise = Path(folder) / "runs", f"fixed-size:{CANDIDATES}"
        train(cache, noise=noise, seeds=1, settings=ONE_EPOCH, runs=runs, memory=MEMORY, workers=1)
        trained, train_peak = time.process_time(), peak() or 0
    values = (merged - started, trained - merged, merge_peak / gib, train_peak / gib, disk / gib)
    print(json.dumps(dict(zip(NAMES, values, strict=True))))


if __name__ == "__main__":
    _run(Size(*map(int, sys.argv[1:])))
