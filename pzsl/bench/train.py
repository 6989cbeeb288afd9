"""Stage two: a whole sweep beside one run of a paper-style loop, and what a step costs."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch

from pzsl.bench.timing import interleaved
from pzsl.candidates import generate
from pzsl.device import cores, cpu_threads
from pzsl.methods import load_method, make_options
from pzsl.methods.core import CandidateEntries, Method, Problem
from pzsl.store import CacheHeader, CacheWriter
from pzsl.training.loop import batches, epoch_generator, fit, make_optimizer

RATE = 0.1


class Size(NamedTuple):
    """Of the generated data: images, seen and all classes, dimensions."""

    images: int
    seen: int
    classes: int
    dim: int


class Plan(NamedTuple):
    """How much is measured: the size, the sweep, and by what sizes grow for the slopes."""

    size: Size
    rates: str
    seeds: int
    epochs: int
    growth: tuple[int, ...]
    steps: int


SUN = Size(10320, 645, 717, 512)
FULL = Plan(SUN, "0.1,0.2,0.3,0.5,0.7", 5, 10, (1, 2, 4), 40)
QUICK = Plan(Size(640, 30, 40, 64), "0.1,0.3", 2, 2, (1, 2), 6)


def measure_train(quick: bool) -> dict[str, Any]:
    """A sweep against one paper-style run, both as commands; steps; how cost grows.

    Args:
        quick: a small data set and a small sweep.

    Returns:
        `setting`, `figures` and `ratios`. `sweep, paper-style run = 1` is the time of all runs of
        the sweep, calibration, evaluation and process start included, over that of one paper-style
        run of the same number of epochs. The slopes are of log time over log size.
    """
    plan = QUICK if quick else FULL
    runs = len(plan.rates.split(",")) * plan.seeds
    with tempfile.TemporaryDirectory() as folder:
        cache = write_classes(Path(folder) / "made.h5", plan.size)
        sweep, paper = _seconds(sweep_command(cache, plan)), _seconds(paper_command(cache, plan))
    with cpu_threads(torch.device("cpu")):
        quiet, busy = step_seconds(plan)
        slopes = growth(plan)
    return {
        "setting": {
            **plan.size._asdict(),
            "runs of the sweep": runs,
            "epochs": plan.epochs,
            "processes": cores(),
        },
        "figures": {
            "sweep, seconds": sweep,
            "a run of it, seconds": sweep / runs,
            "one paper-style run, seconds": paper,
            "milliseconds a step": 1e3 * quiet,
            "milliseconds a step, a processor busy": 1e3 * busy,
            **{f"slope of time over {name}": slope for name, slope in slopes.items()},
        },
        "ratios": {
            "sweep, paper-style run = 1": sweep / paper,
            "step with a processor busy, quiet = 1": busy / quiet,
        },
    }


def sweep_command(cache: Path, plan: Plan) -> list[str]:
    """`pzsl train` with its defaults, all rates and seeds."""
    where = str(cache.parent / "runs")
    options = ["--rate", plan.rates, "--seeds", str(plan.seeds), "--set", f"epochs={plan.epochs}"]
    return [*_python("pzsl"), "train", "--cache", str(cache), "--runs", where, *options]


def paper_command(cache: Path, plan: Plan) -> list[str]:
    """One run of the paper-style loop."""
    return [*_python("pzsl.bench.paper_loop"), str(cache), str(plan.epochs), str(RATE)]


def _python(module: str) -> list[str]:
    return [sys.executable, "-m", module]


def _seconds(command: Sequence[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


# --- one step ------------------------------------------------------------------------------------


def step_seconds(plan: Plan) -> tuple[float, float]:
    """Median seconds of a step, by turns on a quiet machine and with one processor kept busy."""
    method = made_method(plan.size)
    step = partial(_steps, method, plan.steps)
    step()
    quiet, busy = [], []
    for _ in range(3):
        quiet += step()
        with busy_processor():
            busy += step()
    return median(quiet), median(busy)


def _steps(method: Method, count: int) -> list[float]:
    optimizer = make_optimizer(method)
    assert optimizer is not None
    generator = epoch_generator(0, 0)
    size = method.options.batch_size
    seconds: list[float] = []
    while len(seconds) < count:
        for rows in batches(method.problem.images, size, generator):
            start = time.perf_counter()
            method.loss(rows).backward()  # type: ignore[no-untyped-call]
            optimizer.step(1e-3)
            with torch.no_grad():
                method.after_step(rows)
            seconds.append(time.perf_counter() - start)
    return seconds[:count]


@contextmanager
def busy_processor() -> Any:
    """Keep a processor busy with a process that does nothing else."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


# --- how cost grows ------------------------------------------------------------------------------


def growth(plan: Plan) -> dict[str, float]:
    """Slopes of log time over log size: in images, in seen classes and in runs."""
    small = Size(plan.size.images // 4, plan.size.seen // 4, plan.size.classes // 4, plan.size.dim)
    by_images = [small._replace(images=factor * small.images) for factor in plan.growth]
    by_classes = [
        small._replace(seen=factor * small.seen, classes=factor * small.classes)
        for factor in plan.growth
    ]
    return {
        "images": _slope(plan.growth, [partial(_epoch, made_problem(size)) for size in by_images]),
        "classes": _slope(
            plan.growth, [partial(_epoch, made_problem(size)) for size in by_classes]
        ),
        "runs": _slope(
            plan.growth, [partial(_epoch, made_problem(small), runs) for runs in plan.growth]
        ),
    }


def _epoch(problem: Problem, runs: int = 1) -> None:
    for seed in range(runs):
        fit(made_method(problem, seed), seed)


def _slope(factors: Sequence[int], sides: Sequence[Callable[[], object]]) -> float:
    sides[0]()
    seconds = interleaved({str(at): side for at, side in enumerate(sides)})
    return float(np.polyfit(np.log(factors), np.log([*seconds.values()]), 1)[0])


# --- generated data ------------------------------------------------------------------------------


def made_features(size: Size) -> tuple[Any, Any, Any]:
    """Images (N, D) around the centres of their classes, their labels (N,), label embeddings."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((size.classes, size.dim), dtype=np.float32)
    labels = np.arange(size.images) % size.seen
    images = centres[labels] + 1.5 * rng.standard_normal((size.images, size.dim), dtype=np.float32)
    text = centres + rng.standard_normal(centres.shape, dtype=np.float32)
    return _unit(images), labels, _unit(text)


def made_problem(size: Size) -> Problem:
    """Generated features with uniform candidate sets at rate 0.1."""
    images, labels, text = made_features(size)
    ids, seen = [str(row) for row in range(size.images)], np.ones(size.seen, bool)
    sets = generate("uniform", truth=labels, ids=ids, seen=seen, rate=RATE, seed=0)
    entries = CandidateEntries.of(
        torch.from_numpy(sets.offsets), torch.from_numpy(sets.labels).long()
    )
    vectors = torch.from_numpy(text)
    return Problem(torch.from_numpy(images), entries, vectors[: size.seen], vectors[size.seen :])


def made_method(source: Size | Problem, seed: int = 0) -> Method:
    """`clip-pzsl` with its default preset, prepared, for one epoch."""
    problem = made_problem(source) if isinstance(source, Size) else source
    kind, _ = load_method("clip-pzsl")
    options = make_options("clip-pzsl", changes={"epochs": 1, "min_steps": 1})
    method = kind(problem, options, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        method.prepare()
    return method


def write_classes(path: Path, size: Size) -> Path:
    """A cache of generated features, with one test image of each class."""
    images, labels, text = made_features(size)
    test = np.arange(size.classes)
    rng = np.random.default_rng(1)
    test_images = _unit(text[test] + 0.05 * rng.standard_normal(text[test].shape, dtype=np.float32))
    count = size.images + len(test)
    tests = np.where(test < size.seen, "test_seen", "test_unseen")
    splits = np.concatenate([np.full(size.images, "trainval"), tests])
    header = CacheHeader(
        dataset=path.stem,
        split_hash="",
        origin={},
        classes=tuple(f"class {c}" for c in range(size.classes)),
        seen=np.arange(size.classes) < size.seen,
        templates=("a {}.",),
        paths=tuple(str(row) for row in range(count)),
        labels=np.concatenate([labels, test]).astype(np.int64),
        splits=splits,
        dim=size.dim,
        model="made",
        pretrained="",
        weights_hash="",
        preprocessing={},
        logit_scale=100.0,
        precision="fp32",
    )
    with CacheWriter(path, header) as writer:
        writer.write_text(text[:, None])
        writer.write(np.arange(count), np.concatenate([images, test_images]))
        writer.finish()
    return path


def _unit(vectors: Any) -> Any:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
