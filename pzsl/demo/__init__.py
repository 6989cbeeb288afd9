"""The whole pipeline in one call: extract, train and report on the built-in data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

RATES = (0.1, 0.3, 0.5)


def run_demo(out: Path, seeds: int = 3) -> dict[str, Any]:
    """Extract `shapes` with the `tiny` encoder, train `clip` and `clip-pzsl`, write the report.

    Steps that are already done are not repeated.

    Args:
        out: folder that gets `cache/`, `runs/` and `report/`.
        seeds: how many.

    Returns:
        The results of the three steps as `extract` (None if the cache existed), `train` and
        `report`; and, from these, `runs`, `rows` and `files`.
    """
    from pzsl.extraction import extract
    from pzsl.reports import report
    from pzsl.requests import TrainRequest
    from pzsl.training import train

    cache = out / "cache" / "shapes.h5"
    TrainRequest(cache, seeds=seeds).check()  # before half a minute of extraction
    extracted = None if cache.exists() else extract(dataset="shapes", model="tiny", out=cache)
    trained = train(cache, method=("clip", "clip-pzsl"), rate=RATES, seeds=seeds, runs=out / "runs")
    reported = report(out / "runs", out / "report")
    return {
        "extract": extracted,
        "train": trained,
        "report": reported,
        "runs": trained["runs"],
        "rows": reported["rows"],
        "files": reported["files"],
    }
