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
