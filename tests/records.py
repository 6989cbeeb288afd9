"""Run records as `pzsl train` writes them, made without training."""

from __future__ import annotations

import json
from pathlib import Path

CONFIG = {
    "dataset": "birds",
    "cache_hash": "c" * 64,
    "method": "clip-pzsl",
    "preset": "default",
    "noise": "uniform",
    "rate": 0.1,
    "eta": 0.0,
    "seed": 0,
    "options": {"epochs": 10},
}
LAST_DIGIT = 1e-14
"""Relative error with which older pandas reads numbers back from a CSV file."""
METRICS = {
    **{"S": 60.0, "U": 50.0, "H": 54.5, "T1": 70.0, "AUSUC": 40.0, "gamma": 0.5},
    **{"disambiguation": 80.0, "seconds": 2.0, "parameters": 1000, "mean_candidates": 5.0},
    "truth_outside": 0.0,
}


def write_run(root: Path, name: str, config=(), metrics=(), history=None) -> Path:
    """A finished run's record; `config` and `metrics` change the usual values."""
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({**CONFIG, **dict(config)}))
    (folder / "metrics.json").write_text(json.dumps({**METRICS, **dict(metrics)}))
    if history is not None:
        (folder / "history.jsonl").write_text("".join(json.dumps(h) + "\n" for h in history))
    return folder


def details_of(number: int = 0) -> dict:
    """`details.json` of a run of four classes, the last of them unseen."""
    names = ["cat", "<script>alert(1)</script>", "100% & _more_", "owl"]
    before = [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
    return {
        "classes": {
            **{"name": names, "seen": [1, 1, 1, 0], "train": [40, 10, 20, 0]},
            **{"test": [10, 10, 10, 20], "hits": [9, 2 + number, 5, 10]},
        },
        "confusions": [[3, 0, 10], [1, 2, 8 - number], [2, 0, 5]],
        "curve": {"S": [80.0, 60.0, 0.0], "U": [0.0, 50.0, 70.0]},
        "map": {"class": [0, 1, 2, 3], "before": before, "after": before[::-1]},
        "images": [
            {"path": "cat/1.png", "truth": 0, "candidates": [0, 2], "weights": [0.9, 0.1]},
            {"path": "../x.png", "truth": None, "candidates": [1, 2], "weights": [0.5, 0.5]},
        ],
    }
