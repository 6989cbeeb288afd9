"""`pzsl bench accuracy`: the default beside frozen CLIP, on small problems too; parts; rivals."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import numpy as np

from pzsl.bench.arguments import check_bench
from pzsl.bench.methods import CONTENDERS, contender_rows, mean_ranks, noise_of, score
from pzsl.bench.parts import part_rows, parts_summary
from pzsl.bench.problems import DrawnProblem, arrays, draw, only_training, recipes, resplit
from pzsl.errors import UsageError
from pzsl.evaluation.accuracy import class_weights
from pzsl.exchange import import_any
from pzsl.reports.statistics import DIGITS
from pzsl.store import Cache, load_cache
from pzsl.training import train

TABLES = ("small", "main", "parts", *CONTENDERS)
SMALL_NOISES = ("uniform:0.1", "uniform:0.3", "uniform:0.7", "noisy:0.3", "instance:0.3", "uss")
MAIN_NOISES = (
    *("uniform:0.1", "uniform:0.3", "uniform:0.5", "uniform:0.7"),
    *("noisy:0.5", "instance:0.3"),
)
SMALL_SEEDS, MAIN_SEEDS, RESPLITS = 3, 5, 2
BLOCK, TINY = 4096, 1e-12
CELL, RUN = 0.3, 1.0
"""H that a mean over seeds, and a single run, may lie below frozen CLIP."""


class Problem(NamedTuple):
    """A problem in a file.

    Attributes:
        name: of the problem. seed: that it was drawn with, and of its runs. seeds: of its runs.
        cache: the file.
        frozen: H of frozen CLIP; S without unseen classes.
        image: the most that one test image can change it by.
    """

    name: str
    seed: int
    seeds: int
    cache: Path
    frozen: float
    image: float


def bench_accuracy(
    caches: Sequence[str | Path],
    tables: Sequence[str] = (),
    runs: str | Path = "runs/bench-accuracy",
    seeds: int | None = None,
    noises: Sequence[str] = (),
    development: bool = False,
    workers: int | None = None,
) -> dict[str, dict[str, Any]]:
    """Train the default on problems made of caches, and compare H with frozen CLIP's.

    Args:
        caches: with labels of all their images.
        tables: `small`: problems of few images or classes, each seed another draw; `main`: the
            cache as it is and two other class splits; `parts`: the default with a part changed;
            `methods` and `transductive`: every method beside the default. When none is named,
            `small` and `main`, and `small` alone for `development`.
        runs: folder of the problems' caches and all run records; finished runs are not done again.
        seeds: of each cell; 3 for `small` and `parts` and 5 for the others when None.
        noises: kinds of noise, each with its rate; those of the table when none is named.
        development: make small problems of training images of seen classes alone.
        workers: processes; one per core when None.

    Returns:
        Of each table its `rows`, one a cell, and a `summary`.

    Raises:
        UsageError: no cache, an unknown table, or `development` with another one than `small`.
        UserError: a cache is not as it should be.
    """
    check_bench("accuracy", caches, seeds, workers)
    tables = tables or TABLES[: 1 if development else 2]
    for table in tables:
        if table not in TABLES:
            raise UsageError(f"--tables takes {' or '.join(TABLES)}, not '{table}'.")
        if development and table != "small":
            raise UsageError(f"--development is for --tables small: '{table}' uses test images.")
    results = {}
    for table in tables:
        folder = Path(runs) / ("development" if development else table)
        if table == "parts":
            rows = part_rows(caches, folder, seeds, noises, workers)
            results[table] = {"rows": rows, "summary": parts_summary(rows)}
        elif table in CONTENDERS:
            rows = contender_rows(CONTENDERS[table], caches, folder, seeds, noises, workers)
            results[table] = {"rows": rows, "summary": mean_ranks(rows)}
        else:
            problems = _problems(caches, table, folder, seeds, development)
            usual = SMALL_NOISES if table == "small" else MAIN_NOISES
            rows = _cells(problems, noises or usual, folder, workers)
            results[table] = {"rows": rows, "summary": summary(rows)}
    return results


def _problems(
    caches: Sequence[str | Path], table: str, folder: Path, seeds: int | None, development: bool
) -> list[Problem]:
    """The problems of the tables `small` and `main`, of all caches."""
    problems: list[Problem] = []
    for path in caches:
        name, cache = Path(path).stem, load_cache(path)
        if table == "main":
            problems += main_problems(name, cache, folder, MAIN_SEEDS if seeds is None else seeds)
            continue
        cache = only_training(cache) if development else cache
        problems += small_problems(name, cache, folder, SMALL_SEEDS if seeds is None else seeds)
    return problems


def small_problems(name: str, cache: Cache, folder: Path, seeds: int) -> list[Problem]:
    """Every small problem of a cache, drawn once for each seed."""
    return [
        _problem(f"{name}: {recipe.name}", seed, 1, cache, draw(cache, recipe, seed), folder)
        for recipe in recipes(cache)
        for seed in range(seeds)
    ]


def main_problems(name: str, cache: Cache, folder: Path, seeds: int) -> list[Problem]:
    """A cache as it is (split 0), and with its classes and images divided anew."""
    whole = _opened(f"{name}: split 0", 0, seeds, cache.path)
    resplits = [
        _problem(f"{name}: split {split}", 0, seeds, cache, resplit(cache, split), folder)
        for split in range(1, RESPLITS + 1)
    ]
    return [whole, *resplits]


def _problem(
    name: str, seed: int, seeds: int, cache: Cache, drawn: DrawnProblem, folder: Path
) -> Problem:
    """Put a problem into a cache of its own, where it is not there yet."""
    words = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    stem = f"{words}-{seed}-{cache.fingerprint[:8]}"  # another cache of this name has others
    out = folder / "caches" / f"{stem}.h5"
    if not out.is_file():
        out.parent.mkdir(parents=True, exist_ok=True)
        source = out.with_suffix(".npz")
        # NumPy 1 knows no allow_pickle here, and would store it as one more array.
        np.savez(source, **arrays(cache, drawn, stem))  # type: ignore[arg-type]
        import_any(source, out, normalise=True)
        source.unlink()
    return _opened(name, seed, seeds, out)


def _opened(name: str, seed: int, seeds: int, path: Path) -> Problem:
    cache = load_cache(path)
    test = cache.splits != "trainval"
    images = np.bincount(cache.labels[test], minlength=len(cache.classes))
    s, u = frozen_sides(cache)
    if cache.seen.all():
        tested = images[images > 0]
        return Problem(name, seed, seeds, path, s, float(100 / (tested.min() * len(tested))))
    worth = 0.0
    for classes, other_side in ((cache.seen, u), (~cache.seen, s)):
        fewest = images[classes & (images > 0)].min()
        part = 100 / (fewest * (classes & (images > 0)).sum())
        worth = max(worth, 2 * part * (other_side / max(s + u, 1.0)) ** 2)
    return Problem(name, seed, seeds, path, 2 * s * u / max(s + u, TINY), float(worth))


def frozen_sides(cache: Cache) -> tuple[float, float]:
    """S and U of frozen CLIP on the test images, in percent.

    Classes of one label embedding share what it draws evenly: their order in the cache would give
    all of it to the first, which knows no more than the others.
    """
    labels = cache.label_embeddings()
    alike = np.unique(labels, axis=0, return_index=True, return_inverse=True, return_counts=True)
    _, first_row, group, size = alike
    test = np.flatnonzero(cache.splits != "trainval")
    truth, credit = cache.labels[test], np.zeros(len(test))
    for start in range(0, len(test), BLOCK):
        images = np.asarray(cache.images[test[start : start + BLOCK]])
        predicted = (images @ labels[first_row].T).argmax(1)
        right = group[truth[start : start + BLOCK]] == predicted
        credit[start : start + BLOCK] = right / size[predicted]
    sides = (cache.splits[test] == side for side in ("test_seen", "test_unseen"))
    s, u = (float(100 * class_weights(truth[side]) @ credit[side]) for side in sides)
    return s, u


def _cells(
    problems: Sequence[Problem], noises: Sequence[str], folder: Path, workers: int | None
) -> list[dict[str, Any]]:
    """Train on every problem under every noise; one row for each name and noise."""
    runs_of: dict[tuple[str, str], list[tuple[Problem, dict[str, Any]]]] = {}
    for problem in problems:
        result = train(
            problem.cache,
            noise=noises,
            seeds=problem.seeds,
            first_seed=problem.seed,
            runs=folder / "runs",
            workers=workers,
        )
        for run in result["runs"]:
            runs_of.setdefault((problem.name, noise_of(run)), []).append((problem, run))
    return [_row(name, noise, runs) for (name, noise), runs in runs_of.items()]


def _row(name: str, noise: str, runs: list[tuple[Problem, dict[str, Any]]]) -> dict[str, Any]:
    h = [score(run) for _, run in runs]
    gains = [round(score(run) - problem.frozen, DIGITS) for problem, run in runs]
    shortfalls = [
        min(0.0, gain + max(RUN, problem.image))
        for (problem, _), gain in zip(runs, gains, strict=True)
    ]
    return {
        "problem": name,
        "noise": noise,
        "runs": len(runs),
        "frozen": mean(problem.frozen for problem, _ in runs),
        "H": mean(h),
        "deviation": stdev(h) if len(h) > 1 else None,
        "gain": mean(gains),
        "worst": min(gains),
        "image": max(problem.image for problem, _ in runs),
        "harmed_runs": sum(shortfall < 0 for shortfall in shortfalls),
        "gamma_loss": mean(_best(run) - score(run) for _, run in runs),
        "labels": mean(run["disambiguation"] for _, run in runs),
    }


def _best(run: dict[str, Any]) -> float:
    """The highest H of a run's seen-unseen curve: that of the best gamma, known only afterwards.

    The run's own point counts, too: that of the record is rounded. Records of older versions keep
    some 120 points, of which the best may be lower.
    """
    if run["H"] is None:
        return score(run)
    details = Path(run["path"], "details.json").read_text(encoding="utf-8")
    curve = json.loads(details)["curve"]
    points = zip(curve["S"], curve["U"], strict=True)
    return max(score(run), *(float(2 * s * u / (s + u or 1)) for s, u in points))


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the cells say together: how many there are, and how many are below frozen CLIP."""
    below = [row for row in rows if row["gain"] < -CELL]
    return {
        "cells": len(rows),
        "problems": len({row["problem"] for row in rows}),
        "runs": sum(row["runs"] for row in rows),
        "mean gain": mean(row["gain"] for row in rows),
        "mean loss to the best gamma": mean(row["gamma_loss"] for row in rows),
        "worst cell": min(row["gain"] for row in rows),
        f"cells more than {CELL:g} below frozen CLIP": len(below),
        f"runs more than {RUN:g} (and one test image) below": sum(r["harmed_runs"] for r in rows),
    }
