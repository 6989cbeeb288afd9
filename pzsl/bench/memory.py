"""How much memory a run takes whose features are larger than memory: a run of one epoch, whole.

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
from pzsl.errors import UserError
from pzsl.training import train

ROWS, QUICK = 4_000_000, 20_000
UNSEEN = 20
MEMORY = 0.5
"""GiB of features that the run may hold."""
ONE_EPOCH = {"epochs": 1, "min_steps": 1}
RATE = 0.1
GIB = 2**30


def measure_memory(quick: bool) -> dict[str, Any]:
    """Train `clip-pzsl` for an epoch on generated rows, calibration and evaluation included.

    Args:
        quick: fewer rows.

    Returns:
        `setting` and `figures`; no ratios: memory is the same on every machine.
    """
    rows = QUICK if quick else ROWS
    with tempfile.TemporaryDirectory(prefix="pzsl-bench-") as folder:
        cache = write_rows(Path(folder) / "rows.h5", rows, UNSEEN)
        size = cache.stat().st_size
        start = time.perf_counter()
        done = subprocess.run(_command(cache), capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - start
    if done.returncode:
        last_line = done.stderr.strip().splitlines()[-1:] or ["nothing was said"]
        raise UserError(f"The run on {rows:,} rows failed: {last_line[0]}")
    return {
        "setting": {"rows": rows, "dimensions": DIM, "classes": CLASSES, "rate": RATE},
        "figures": {
            "gibibytes on disk": size / GIB,
            **json.loads(done.stdout.splitlines()[-1]),
            "seconds, all in all": seconds,
        },
    }


def _command(cache: Path) -> list[str]:
    return [sys.executable, "-m", "pzsl.bench.memory", str(cache)]


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
    after_imports = peak()
    with tempfile.TemporaryDirectory(prefix="pzsl-bench-") as runs:
        train(cache, rate=(RATE,), seeds=1, settings=ONE_EPOCH, runs=runs, memory=MEMORY, workers=1)
    peaks = {"imports alone": after_imports, "at most": peak()}
    figures = {f"gibibytes resident, {when}": size / GIB for when, size in peaks.items() if size}
    print(json.dumps(figures))


if __name__ == "__main__":
    _run(sys.argv[1])
