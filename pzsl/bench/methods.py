"""All methods side by side: H of each on the same candidate sets, and their mean ranks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from pzsl.methods import METHODS
from pzsl.reports import statistics
from pzsl.training import train

TRANSDUCTIVE = ("zlap", "transclip", "em-dirichlet")
"""Rivals that look at all test images together: they are compared in a table of their own."""
CONTENDERS: dict[str, dict[str, tuple[str, ...]]] = {
    "methods": {
        "default": tuple(name for name in METHODS if name not in TRANSDUCTIVE),
        "calibrated": ("clip",),
    },
    "transductive": {"transductive": ("clip-pzsl",), "default": TRANSDUCTIVE},
}
"""Of each table the methods, by the preset that they are trained in."""
NOISES = (
    *("uniform:0.1", "uniform:0.3", "uniform:0.5"),
    *("noisy:0.1", "noisy:0.3", "noisy:0.5", "instance:0.3"),
)
SEEDS = 5
REFERENCE = ("oracle",)
"""Trained on true labels: shown, but not ranked."""


def contender_rows(
    contenders: dict[str, tuple[str, ...]],
    caches: Sequence[str | Path],
    folder: Path,
    seeds: int | None = None,
    noises: Sequence[str] = (),
    workers: int | None = None,
) -> list[dict[str, Any]]:
    """Train every contender on every cache, under every kind of noise and with every seed.

    Args:
        contenders: preset -> methods.
        caches: of features and true labels. folder: of the records, which `pzsl report` reads.
        seeds: 5 when None.
        noises: kinds with their rates; the seven of docs/comparison.md when none is named.
        workers: processes; one per core when None.

    Returns:
        A row for each cache and contender, with the mean H over the seeds under each noise.
    """
    rows = []
    for cache in caches:
        for preset, methods in contenders.items():
            result = train(
                cache,
                method=methods,
                preset=preset,
                noise=noises or NOISES,
                seeds=seeds or SEEDS,
                runs=folder,
                workers=workers,
            )
            rows += [
                {"cache": Path(cache).stem, "method": _named(method, preset)}
                | _means([run for run in result["runs"] if run["method"] == method])
                for method in methods
            ]
    return rows


def _named(method: str, preset: str) -> str:
    return method if preset == "default" else f"{method} ({preset})"


def _means(runs: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Mean `score` of a method's runs under each kind of noise, with its rate."""
    scores: dict[str, list[float]] = {}
    for run in runs:
        scores.setdefault(noise_of(run), []).append(score(run))
    return {kind: mean(values) for kind, values in scores.items()}


def noise_of(run: dict[str, Any]) -> str:
    """The noise of a run as `pzsl train` takes it: its kind and, if it has one, its rate."""
    return run["noise"] if run["rate"] is None else f"{run['noise']}:{run['rate']:g}"


def score(run: dict[str, Any]) -> float:
    """H of a run; S where no class is unseen."""
    return float(run["S"] if run["H"] is None else run["H"])


def mean_ranks(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Mean rank of each contender over caches and kinds of noise, best first.

    The highest score has rank 1; equal scores share the mean of their ranks.
    """
    scores = []
    for cache in dict.fromkeys(row["cache"] for row in rows):
        ranked = [row for row in rows if row["cache"] == cache and row["method"] not in REFERENCE]
        for kind in [key for key in ranked[0] if key not in ("cache", "method")]:
            scores.append({row["method"]: round(row[kind], statistics.DIGITS) for row in ranked})
    return dict(sorted(statistics.mean_ranks(scores).items(), key=lambda item: item[1]))
