"""Opening and loading a large cache, beside a plain copy of as many bytes in memory."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pzsl.bench.timing import interleaved
from pzsl.store import CacheHeader, CacheWriter, load_cache

ROWS, QUICK = 1_000_000, 50_000
DIM, CLASSES = 512, 100
BLOCK = 8192
"""Rows written at a time, all blocks alike."""
OPENINGS = 10
"""Openings timed together: one takes milliseconds."""


def measure_load(quick: bool) -> dict[str, Any]:
    """Open and load a cache of generated rows that the system has in its memory, too.

    Args:
        quick: fewer rows.

    Returns:
        `setting`, `figures` and `ratios`; loading is opening the file and copying all embeddings.
    """
    rows = QUICK if quick else ROWS
    with tempfile.TemporaryDirectory(prefix="pzsl-bench-") as folder:
        path = write_rows(Path(folder) / "rows.h5", rows)
        source = np.array(load_cache(path, check=False).images)  # and warms the file
        target = np.zeros_like(source)

        def load() -> None:
            target[:] = load_cache(path, check=False).images

        def copy() -> None:
            target[:] = source

        def open_often() -> None:
            for _ in range(OPENINGS):
                load_cache(path, check=False)

        sides = {"open": open_often, "load": load, "copy": copy}
        seconds = interleaved({**sides, "check": lambda: load_cache(path)})
    return {
        "setting": {"rows": rows, "dimensions": DIM, "megabytes": source.nbytes / 1e6},
        "figures": {
            "milliseconds to open": 1e3 * seconds["open"] / OPENINGS,
            "milliseconds to load": 1e3 * seconds["load"],
            "milliseconds to copy in memory": 1e3 * seconds["copy"],
            "milliseconds to open and check all contents": 1e3 * seconds["check"],
        },
        "ratios": {"time to load, copy = 1": seconds["load"] / seconds["copy"]},
    }


def write_rows(path: Path, rows: int, unseen: int = 0) -> Path:
    """A cache of generated unit rows, with names as long as those of real images.

    The last `unseen` of the classes have test images only.
    """
    header, block = made_header(rows, CLASSES, unseen), made_block()
    with CacheWriter(path, header) as writer:
        writer.write_text(block[:CLASSES, None])
        for start in range(0, rows, BLOCK):
            block_rows = np.arange(start, min(start + BLOCK, rows))
            writer.write(block_rows, block[: len(block_rows)])
        return writer.finish()


def made_block() -> NDArray[np.float32]:
    """Unit rows (BLOCK, DIM)."""
    rng = np.random.default_rng(0)
    block = rng.standard_normal((BLOCK, DIM), dtype=np.float32)
    block /= np.linalg.norm(block, axis=1, keepdims=True)
    return block


def made_header(rows: int, classes: int, unseen: int) -> CacheHeader:
    """The header of a cache of generated rows; a fifth of the images of each class are tests."""
    labels = np.arange(rows, dtype=np.int64) % classes
    seen = np.arange(classes) < classes - unseen
    splits = np.where(np.arange(rows) // classes % 5 < 4, "trainval", "test_seen")
    return CacheHeader(
        dataset="generated",
        split_hash="",
        origin={},
        classes=tuple(f"class {number}" for number in range(classes)),
        seen=seen,
        templates=("{}",),
        paths=tuple(f"class_{row % classes}/image_{row:08d}.jpg" for row in range(rows)),
        labels=labels,
        splits=np.where(seen[labels], splits, "test_unseen"),
        dim=DIM,
        model="generated",
        pretrained="",
        weights_hash="",
        preprocessing={},
        logit_scale=100.0,
        precision="fp32",
    )
