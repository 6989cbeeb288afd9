"""One run: fit, calibrate, evaluate, and write the record."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Generator
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pzsl import __version__
from pzsl.device import cpu_threads
from pzsl.evaluation import (
    Calibration,
    Checked,
    check_probabilities,
    disambiguation_accuracy,
    encoder_fit,
    labels_doubt,
    mean_entropy,
    probability_metrics,
)
from pzsl.files import write_atomic, write_json
from pzsl.locks import alone_in
from pzsl.methods.core import Method
from pzsl.record_hashes import sealed
from pzsl.store import Cache
from pzsl.training.calibration import calibrate
from pzsl.training.checkpoint import History, Saver, load_checkpoint, model_bytes
from pzsl.training.config import RunConfig
from pzsl.training.details import Watched, details_of
from pzsl.training.features_in_blocks import MEMORY
from pzsl.training.loop import Fit, fit_all, make_optimizer
from pzsl.training.make_method import prepared_method
from pzsl.training.task import Task, make_task, metrics_of, summarise_tests

CHECKPOINT = "checkpoint.safetensors"
CHECKPOINT_SECONDS = 10.0
FAILED = "failed.json"
"""Records why a run failed, in its folder; deleted when the run is started again."""
ENCODER = ("model", "pretrained", "weights_hash", "logit_scale")
"""What `env.json` records of the cache's encoder."""
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
    """Do one run, new or resumed, and write its record; pause whenever a method is to be trained.

    Args:
        cache: features, labels and splits.
        config: of the run.
        folder: of the record; made if missing.
        device: to compute on.
        checkpoint_seconds: minimum time between two checkpoints.
        memory: GiB of training features kept in memory; larger ones are read in blocks.
        sharing: number of runs trained together, which share the measured time.

    Yields:
        A fit, which the caller carries out before asking for the next.

    Returns:
        The metrics, as in `metrics.json`.
    """
    started = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", config.as_dict())
    (folder / FAILED).unlink(missing_ok=True)
    task = make_task(cache, config, device, memory)
    checkpoint = folder / CHECKPOINT
    first_fit, history, watched = _start_or_resume(task, config, checkpoint, checkpoint_seconds)
    method = first_fit.method
    yield first_fit
    gamma, calibration = yield from calibrate(
        method, task.problem, config, names_may_follow=config.labels == "text"
    )
    block_checks: list[Checked] = []

    def check_block(scores: NDArray[np.floating], labels: NDArray[np.int64]) -> None:
        block_checks.append(check_probabilities(scores - gamma * cache.seen, labels, calibration))

    cache.check_unchanged()
    summary = summarise_tests(cache, method, check_block)
    metrics: dict[str, Any] = {
        **metrics_of(summary, gamma),
        **probability_metrics(block_checks, calibration),
        **_label_metrics(method, task),
        **{name: task.statistics[name] for name in ("mean_candidates", "truth_outside")},
        "gamma": gamma,
        "temperature": calibration.temperature,
        "parameters": sum(parameter.numel() for parameter in method.parameters()),
        **method.describe(),
        "seconds": round((time.perf_counter() - started) / sharing, 3),
    }
    details = details_of(cache, task, watched, summary, gamma)
    cache.check_unchanged()
    with alone_in(folder):
        if not is_finished(folder):  # otherwise another process has done this run
            write_atomic(folder / "details.json", json.dumps(details, allow_nan=False))
            _write_record(folder, method, config, history, metrics, calibration, cache, memory)
        checkpoint.unlink(missing_ok=True)
    return metrics


def _start_or_resume(
    task: Task, config: RunConfig, checkpoint: Path, checkpoint_seconds: float
) -> tuple[Fit, History, Watched]:
    """The fit of the run itself, from its checkpoint if there is one, and what it records."""
    method = prepared_method(config, task.problem, config.seed)
    optimizer = make_optimizer(method)
    start, history = load_checkpoint(checkpoint, method, optimizer, config.name)
    save = Saver(checkpoint, checkpoint_seconds, config.name)
    watched = Watched(method, task)

    def record_epoch(epoch: int, loss: float) -> None:
        metrics = _label_metrics(method, task)
        history.append({"epoch": epoch, "loss": loss, **metrics, "weights": watched.weights()})
        save(method, optimizer, epoch, history)

    return Fit(method, config.seed, optimizer, start, record_epoch), history, watched


def _label_metrics(method: Method, task: Task) -> dict[str, float | None]:
    """Disambiguation accuracy and entropy of the label weights; for reporting only."""
    weights = method.weights.detach().cpu().numpy()
    offsets = method.candidates.offsets.cpu().numpy()
    labels = method.candidates.labels.cpu().numpy()
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
    memory: float,
) -> None:
    """Write all files of a run's record but `config.json` and `details.json`; metrics come last."""
    model_metadata = {"config": json.dumps(config.as_dict()), "gamma": repr(metrics["gamma"])}
    write_atomic(folder / "model.safetensors", model_bytes(method, model_metadata))
    write_atomic(folder / "history.jsonl", "".join(json.dumps(row) + "\n" for row in history))
    is_annotated = config.noise == "annotated"
    warning = labels_doubt(metrics, config.eta, is_annotated, encoder_fit(cache).warning) or ""
    device = method.problem.images.device
    write_json(folder / "env.json", _environment(cache, device, memory, warning))
    write_json(folder / "calibration.json", asdict(calibration))
    write_json(folder / "metrics.json", sealed(metrics, folder))


def _environment(
    cache: Cache, device: torch.device, memory: float, encoder_warning: str
) -> dict[str, Any]:
    """The contents of `env.json`: where, with what, and on which cache a run was done."""
    packages = {name: version(name) for name in ("torch", "numpy", "h5py")}
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": str(device),
        "threads": torch.get_num_threads(),
        "memory": memory,
        "packages": {"pzsl": __version__, **packages},
        "cache": str(cache.path).encode("utf-8", "backslashreplace").decode(),
        "split_hash": cache.split_hash,
        "templates": list(cache.templates),
        "annotation": cache.annotation,
        "encoder_warning": encoder_warning,
        "encoder": {key: str(cache.provenance.get(key, "")) for key in ENCODER},
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
