"""One run: fit, calibrate, evaluate, and write the record."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Generator
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pzsl import __version__
from pzsl.device import cpu_threads
from pzsl.evaluation import (
    COLDEST,
    Calibration,
    Checked,
    calibration_of,
    check_probabilities,
    disambiguation_accuracy,
    encoder_fit,
    mean_entropy,
    noise_doubt,
    probability_metrics,
)
from pzsl.files import write_atomic, write_json
from pzsl.locks import alone_in
from pzsl.methods import load_method, make_options
from pzsl.methods.core import Method, Problem
from pzsl.record_parts import sealed
from pzsl.store import Cache
from pzsl.training.calibration import SHARES, fold_fits
from pzsl.training.checkpoint import History, Saver, load_checkpoint, model_bytes
from pzsl.training.choice import choose
from pzsl.training.config import RunConfig
from pzsl.training.details import Watched, details_of
from pzsl.training.features import MEMORY
from pzsl.training.held_out import FoldSample, sample_fold
from pzsl.training.loop import Fit, fit_all, make_optimizer
from pzsl.training.task import Task, make_task, metrics_of, summarise_tests

CHECKPOINT = "checkpoint.safetensors"
CHECKPOINT_SECONDS = 10.0
FAILED = "failed.json"
"""Records why a run failed, in its folder; deleted when the run is started again."""
Attempt = Generator[Fit, None, dict[str, Any]]


def is_finished(folder: Path) -> bool:
    """Whether a run's record is complete: the metrics are written last."""
    return (folder / "metrics.json").is_file()


def execute(
    cache: Cache,
    config: RunConfig,
    folder: Path,
    device: torch.device,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    memory: float = MEMORY,
    threads: int = 1,
) -> dict[str, Any]:
    """Do one run, or resume it, on CPU `threads`, and write its record; see `attempt`.

    Returns:
        The metrics, as in `metrics.json`.
    """
    with cpu_threads(device, threads):
        return fit_all(attempt(cache, config, folder, device, checkpoint_seconds, memory))


def attempt(
    cache: Cache,
    config: RunConfig,
    folder: Path,
    device: torch.device,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    memory: float = MEMORY,
    sharing: int = 1,
) -> Attempt:
    """One run, new or resumed, up to its record; it pauses whenever a method has to be trained.

    Args:
        cache: features, labels and splits.
        config: of the run.
        folder: of the record; made if missing.
        device: to compute on.
        checkpoint_seconds: minimum time between two checkpoints.
        memory: GiB of training features kept in memory; larger ones are read in blocks.
        sharing: number of runs trained together, which share the measured time.

    Yields:
        A fit, which the caller does before asking for the next.

    Returns:
        The metrics, as in `metrics.json`.
    """
    started = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", config.as_dict())
    (folder / FAILED).unlink(missing_ok=True)
    task = make_task(cache, config, device, memory)
    fitting, history, watched = _prepare(task, config, folder / CHECKPOINT, checkpoint_seconds)
    method = fitting.method
    yield fitting
    gamma, calibration = yield from calibrate(method, task.problem, config)
    checked: list[Checked] = []

    def look(scores: NDArray[np.floating], labels: NDArray[np.int64]) -> None:
        checked.append(check_probabilities(scores - gamma * cache.seen, labels, calibration))

    cache.check_unchanged()
    summary = summarise_tests(cache, method, look)
    metrics: dict[str, Any] = dict(metrics_of(summary, gamma))
    metrics |= probability_metrics(checked, calibration)
    metrics |= _label_metrics(method, task)
    metrics |= {name: task.statistics[name] for name in ("mean_candidates", "truth_outside")}
    metrics |= {"gamma": gamma, "temperature": calibration.temperature}
    metrics |= {"parameters": sum(p.numel() for p in method.parameters())}
    metrics |= method.describe()
    metrics["seconds"] = round((time.perf_counter() - started) / sharing, 3)
    details = details_of(cache, task, watched, summary, gamma)
    cache.check_unchanged()
    with alone_in(folder):
        if not is_finished(folder):  # else another process has done this run
            write_atomic(folder / "details.json", json.dumps(details, allow_nan=False))
            _write_record(folder, method, config, history, metrics, calibration, cache)
        (folder / CHECKPOINT).unlink(missing_ok=True)
    return metrics


def lay_out(config: RunConfig, problem: Problem, seed: int, fold: bool = False) -> Method:
    """An untrained method; its weights are drawn from `seed` on the CPU, whatever the device.

    A method for a `fold` has fewer epochs.
    """
    kind, _ = load_method(config.method)
    options = make_options(config.method, config.preset, config.options)
    if fold:
        options = replace(options, epochs=max(1, round(options.fold_share * options.epochs)))
    return kind(problem, options, torch.Generator().manual_seed(seed))


def make_method(config: RunConfig, problem: Problem, seed: int, fold: bool = False) -> Method:
    """`lay_out` a method, and let it prepare on the training data."""
    method = lay_out(config, problem, seed, fold)
    with torch.no_grad():
        method.prepare()
    return method


def _prepare(
    task: Task, config: RunConfig, path: Path, checkpoint_seconds: float
) -> tuple[Fit, History, Watched]:
    method = make_method(config, task.problem, config.seed)
    optimizer = make_optimizer(method)
    start, history = load_checkpoint(path, method, optimizer, config.name)
    save, watched = Saver(path, checkpoint_seconds, config.name), Watched(method, task)

    def note(epoch: int, loss: float) -> None:
        metrics = _label_metrics(method, task)
        history.append({"epoch": epoch, "loss": loss, **metrics, "weights": watched.weights()})
        save(method, optimizer, epoch, history)

    return Fit(method, config.seed, optimizer, start, note), history, watched


class Calibrated(NamedTuple):
    """The folds' results: gamma of calibrated stacking, and the calibration of probabilities."""

    gamma: float
    probabilities: Calibration


def calibrate(
    method: Method, problem: Problem, config: RunConfig
) -> Generator[Fit, None, Calibrated]:
    """Calibrate a trained method on folds of its problem; gamma is 0 without unseen classes.

    The folds also choose the share of a method that fades, and the temperature of probabilities.

    Yields:
        A fit, which the caller does before asking for the next.
    """
    if not method.options.calibrate:
        return Calibrated(0.0, Calibration())
    samples: list[FoldSample] = []
    folds = yield from fold_fits(
        lambda part, seed: make_method(config, part, seed, fold=True),
        problem,
        refined_labels(method),
        config.seed,
        lambda fold, kept, check: samples.append(sample_fold(fold, method, kept, check)),
    )
    shares = SHARES if method.fades else [1.0]
    images = len(problem.images) / len(problem.seen)
    choice = choose(folds, shares, problem.scale, images, method.cautious)
    if method.fades:
        method.fade(choice.share)
    coldest = 1.0 if config.noise == "annotated" else COLDEST  # CLIP's own sets confirm CLIP
    held_out = [samples.pop(0).at(*choice) for _ in range(len(samples))]  # each takes memory
    return Calibrated(choice.gamma, calibration_of(held_out, coldest))


def refined_labels(method: Method) -> Tensor:
    """The label of the largest weight of each training image, (N,) columns of the seen classes."""
    return method.support.heaviest(method.weights)


def _label_metrics(method: Method, task: Task) -> dict[str, float | None]:
    """Disambiguation accuracy and entropy of the label weights; for reporting only."""
    weights = method.weights.detach().cpu().numpy()
    offsets = method.support.offsets.cpu().numpy()
    labels = method.support.labels.cpu().numpy()
    return {
        "entropy": mean_entropy(weights, offsets),
        "disambiguation": disambiguation_accuracy(weights, offsets, labels, task.truth),
    }


def _write_record(
    folder: Path,
    method: Method,
    config: RunConfig,
    history: History,
    metrics: dict[str, Any],
    calibration: Calibration,
    cache: Cache,
) -> None:
    about = {"config": json.dumps(config.as_dict()), "gamma": repr(metrics["gamma"])}
    write_atomic(folder / "model.safetensors", model_bytes(method, about))
    write_atomic(folder / "history.jsonl", "".join(json.dumps(row) + "\n" for row in history))
    device = str(method.problem.images.device)
    packages = {name: version(name) for name in ("torch", "numpy", "h5py")}
    estimated = metrics.get("estimated_eta")
    doubt = noise_doubt(estimated, config.eta, config.noise == "annotated")
    environment = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": device,
        "threads": torch.get_num_threads(),
        "packages": {"pzsl": __version__, **packages},
        "cache": str(cache.path),
        "split_hash": cache.split_hash,
        "templates": list(cache.templates),
        "annotation": cache.annotation,
        "encoder_warning": encoder_fit(cache).warning or doubt or "",
        "encoder": {key: str(cache.provenance.get(key, "")) for key in ("model", "pretrained")},
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    write_json(folder / "env.json", environment)
    write_json(folder / "calibration.json", asdict(calibration))
    write_json(folder / "metrics.json", sealed(metrics, folder))
