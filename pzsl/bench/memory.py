"""How much memory a whole run of one epoch takes: features larger than memory, or many classes.

The run has a process of its own, so that nothing else counts: `python -m pzsl.bench.memory CACHE`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pzsl.bench.load import CLASSES, DIM, write_rows
from pzsl.bench.train import Size, write_classes
from pzsl.errors import UsageError, UserError
from pzsl.training import train

ROWS, QUICK = 4_000_000, 20_000
UNSEEN = 20
IMAGES, FEW_IMAGES, MANY_CLASSES_DIM = 10_000, 1000, 128
"""Training images, and their dimensions, of a run on a given number of classes."""
MEMORY = 0.5
"""GiB of features that the run may hold."""
ONE_EPOCH = {"epochs": 1, "min_steps": 1}
RATE = 0.1
GIB = 2**30


def measure_memory(
    quick: bool, classes: int | None = None, images: int | None = None
) -> dict[str, Any]:
    """Train `clip-pzsl` for an epoch on generated rows, calibration and evaluation included.

    Args:
        quick: fewer rows.
        classes: measure a run on so many classes instead, one test image of each, 20 of them
            unseen, at 128 dimensions.
        images: training images of such a run; by default 10,000.

    Returns:
        `setting` and `figures`; no ratios: memory is the same on every machine.

    Raises:
        UsageError: too few classes or images. UserError: the run failed.
    """
    _check(classes, images)
    rows = QUICK if quick else ROWS
    if classes:
        rows = images or (FEW_IMAGES if quick else IMAGES)
    with tempfile.TemporaryDirectory(prefix="pzsl-bench-") as folder:
        cache = _write(Path(folder) / "rows.h5", rows, classes)
        size = cache.stat().st_size
        start = time.perf_counter()
        done = subprocess.run(_command(cache), capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - start
    if done.returncode:
        last_line = done.stderr.strip().splitlines()[-1:] or ["nothing was said"]
        raise UserError(f"The run on {rows:,} rows failed: {last_line[0]}")
    return {
        "setting": {
            "rows": rows,
            "dimensions": MANY_CLASSES_DIM if classes else DIM,
            "classes": classes or CLASSES,
            "rate": RATE,
        },
        "figures": {
            "gibibytes on disk": size / GIB,
            **json.loads(done.stdout.splitlines()[-1]),
            "seconds, all in all": seconds,
        },
    }


def _command(cache: Path) -> list[str]:
    return [sys.executable, "-m", "pzsl.bench.memory", str(cache)]


def _check(classes: int | None, images: int | None) -> None:
    for name, value, least in (("classes", classes, UNSEEN + 2), ("images", images, 100)):
        if value is not None and value < least:
            raise UsageError(f"--{name} should be at least {least}, not {value}.")
    if images is not None and classes is None:
        raise UsageError("--images is for a run on many classes: give --classes, too.")


def _write(path: Path, rows: int, classes: int | None) -> Path:
    if classes is None:
        return write_rows(path, rows, UNSEEN)
    return write_classes(path, Size(rows, classes - UNSEEN, classes, MANY_CLASSES_DIM))


def peak() -> int | None:
    """Most bytes that this process had resident so far; None where the system doesn't tell."""
    status = Path("/proc/self/status")
    if status.is_file():  # Linux, where `getrusage` starts with the peak of the parent
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return 1024 * int(lines["VmHWM"].split()[0])
    try:
        import resource
    except ImportError:  # Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def _run(cache: str) -> None:
    """One run in this very process, then its peak as a line of JSON."""
    after_imports, started = peak(), time.process_time()
    with tempfile.TemporaryDirectory(prefix="pzsl-bench-") as runs:
        train(cache, rate=(RATE,), seeds=1, settings=ONE_EPOCH, runs=runs, memory=MEMORY, workers=1)
    peaks = {"imports alone": after_imports, "at most": peak()}
    figures = {f"gibibytes resident, {when}": size / GIB for when, size in peaks.items() if size}
    print(json.dumps(figures | {"CPU seconds of the run": time.process_time() - started}))


if __name__ == "__main__":
    _run(sys.argv[1])
