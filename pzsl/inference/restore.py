"""A finished run as it was when training ended, from its record and its cache."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pzsl import plugins
from pzsl.candidates import FROM_DATA
from pzsl.device import resolve_device
from pzsl.errors import UserError
from pzsl.evaluation import Calibration
from pzsl.files import parse_json
from pzsl.methods.core import CandidateEntries, Method, Problem
from pzsl.progress import say
from pzsl.record_parts import check_parts
from pzsl.requests import is_number, is_whole
from pzsl.store import Cache, load_cache
from pzsl.training import RunConfig
from pzsl.training.checkpoint import LABELS
from pzsl.training.config import RESULTS
from pzsl.training.run import is_finished, lay_out, make_method, one_thread
from pzsl.training.task import Task, make_task

MODEL = "model.safetensors"


@dataclass(frozen=True)
class Scorer:
    """A trained method, and what makes answers of its scores.

    Attributes:
        method: with its trained state.
        gamma: taken off the scores of seen classes.
        calibration: of its probabilities.
        names: (K + U + new,) class names in the order of the method's scores, the seen first.
    """

    method: Method
    gamma: float
    calibration: Calibration
    names: tuple[str, ...]

    @property
    def seen(self) -> int:
        """K, how many of the names had training images."""
        return len(self.method.problem.seen)


@dataclass(frozen=True)
class Trained(Scorer):
    """A trained method with what it was trained on.

    Attributes:
        cache: features, class names and splits.
        task: its training images and candidate sets.
    """

    cache: Cache
    task: Task


@dataclass(frozen=True)
class Record:
    """What a run's folder says of it.

    Attributes:
        folder: of the run.
        config: what was done.
        gamma: of calibrated stacking.
        calibration: of its probabilities.
        cache: the file that it was trained on.
    """

    folder: Path
    config: RunConfig
    gamma: float
    calibration: Calibration
    cache: Path


def read_record(folder: str | Path, cache: str | Path | None = None) -> Record:
    """Read the record of a finished run.

    Args:
        folder: of the run: the one that holds its `metrics.json`.
        cache: the cache, where it isn't any more at the place that the record names.

    Raises:
        UserError: no finished run is there, or its record is damaged.
    """
    folder = Path(folder)
    if not is_finished(folder):
        inside = sorted(found.parent for found in folder.glob("*/metrics.json"))
        hint = f", such as {inside[0]}" if inside else " (pzsl train --json names it as 'path')"
        raise UserError(f"{folder} is no finished run: give the folder of one{hint}.")
    config, metrics, environment = (
        _json(folder / name) for name in ("config.json", "metrics.json", "env.json")
    )
    known = {field.name for field in fields(RunConfig)}
    try:
        given = {name: value for name, value in config.items() if name in known}
        run = RunConfig(**{"results": 1, **given})  # records of before had no such number
        _check_values(run, metrics["gamma"])
        calibration = read_calibration(folder / "calibration.json")
        place = Path(cache or environment["cache"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder}: its record is damaged ({error}): train again.") from None
    check_parts(folder, metrics)
    if run.results != RESULTS:
        say(
            f"{folder}: trained by another version of pzsl, whose numbers were others "
            f"(results {run.results}, here {RESULTS}): what it answers now may differ from its "
            "record; train again to be sure."
        )
    plugins.enrol(run.plugins, trusted_only=True)
    return Record(folder, run, float(metrics["gamma"]), calibration, place)


def _check_values(run: RunConfig, gamma: Any) -> None:
    """Refuse what no run can have been.

    Raises:
        ValueError: a value of another type, or out of its range.
    """
    texts = run.dataset, run.cache_hash, run.model, run.method, run.preset, run.noise, run.labels
    if not all(isinstance(text, str) for text in texts) or not isinstance(run.options, dict):
        raise ValueError("its names should be texts, and its options a table")
    if not is_whole(run.seed) or run.seed < 0 or not is_whole(run.few_shot) or run.few_shot < 0:
        raise ValueError("'seed' and 'few_shot' should be whole numbers from 0 on")
    if not is_number(run.eta) or not (run.noise in FROM_DATA or is_number(run.rate)):
        raise ValueError("'rate' and 'eta' should be numbers")
    if not is_number(gamma):
        raise ValueError("'gamma' should be a number")


def restore(record: Record) -> Trained:
    """The trained method with its training images and their label weights, on the CPU.

    Raises:
        UserError: the cache is gone or is another one, or the model's file is damaged.
    """
    _check_place(record)
    cache = load_cache(record.cache)
    _check_cache(cache, record)
    task = make_task(cache, record.config, resolve_device("cpu"))
    with one_thread(resolve_device("cpu")), torch.no_grad():
        method = make_method(record.config, task.problem, record.config.seed)
        load_state(method, record.folder / MODEL)
    named = tuple(class_names(cache))
    return Trained(method.eval(), record.gamma, record.calibration, named, cache, task)


def restore_scorer(
    record: Record, names: tuple[str, ...] = (), text: Tensor | None = None
) -> Scorer:
    """The trained method, on the CPU, out of its saved state: no training image is read.

    Args:
        record: of the run.
        names: classes to add, never heard of in training.
        text: (len(names), D) their label embeddings.

    Raises:
        UserError: the cache is gone or is another one, or the model's file is damaged.
    """
    _check_place(record)
    cache, file = load_cache(record.cache, check=False), record.folder / MODEL
    if not _has_labels(cache, read_state(file)[LABELS], record.config.labels):
        _check_cache(cache, record)
    method = restore_method(record.config, int(cache.seen.sum()), cache.logit_scale, file, text)
    named = (*class_names(cache), *names)
    return Scorer(method, record.gamma, record.calibration, named)


def restore_method(
    config: RunConfig, seen: int, scale: float, file: Path, text: Tensor | None = None
) -> Method:
    """A method as it was when training ended, out of its saved state alone.

    Args:
        config: of its run. seen: K, how many classes had training images. scale: CLIP's.
        file: its saved state.
        text: (n, D) label embeddings of classes to add; None for none.

    Raises:
        UserError: the file is damaged.
    """
    known, new = read_state(file)[LABELS], 0 if text is None else len(text)
    labels = known if text is None else torch.cat([known, text])
    problem = Problem(
        images=labels[:0],
        candidates=CandidateEntries.of(torch.tensor([0]), torch.tensor([], dtype=torch.long)),
        seen=labels[:seen],
        unseen=labels[seen:],
        scale=scale,
    )
    with one_thread(resolve_device("cpu")), torch.no_grad():
        method = lay_out(config, problem, config.seed)
        load_state(method, file, new)
        if new:
            method.add_classes(new)
    return method.eval()


def _has_labels(cache: Cache, labels: Tensor, kind: str) -> bool:
    """Whether a cache has the very label embeddings (K + U, D), and so classes and encoder.

    No answer depends on more of it: its training images may be others, or gone.
    """
    if kind != "text" or not cache.templates:
        return False
    text = torch.from_numpy(cache.label_embeddings())
    return torch.equal(torch.cat([text[cache.seen], text[~cache.seen]]), labels)


def _check_place(record: Record) -> None:
    if not record.cache.exists():
        raise UserError(
            f"{record.cache}: the cache that {record.folder} was trained on isn't there any more: "
            "name its new place with --cache."
        )


def _check_cache(cache: Cache, record: Record) -> None:
    if cache.fingerprint != record.config.cache_hash:
        raise UserError(
            f"{record.cache} isn't the cache that {record.folder} was trained on (other images, "
            "labels or prompts): name that one with --cache, or train again."
        )


def class_names(cache: Cache) -> list[str]:
    """Class names in the order of scores: the seen first."""
    order: NDArray[np.intp] = np.argsort(~cache.seen, kind="stable")
    return [cache.classes[row] for row in order]


def read_state(file: Path) -> dict[str, Tensor]:
    """What a model's file holds.

    Raises:
        UserError: it can't be read, or has no label embeddings: an older version wrote it.
    """
    try:
        saved = load_file(file)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{file} can't be read ({error}): train again.") from None
    if LABELS not in saved:
        raise UserError(f"{file} was written by another version of pzsl: train again.")
    return saved


def load_state(method: Method, file: Path, new: int = 0) -> None:
    """Put the saved state into a method; what has a row for each class may have `new` rows more.

    State of training images has no place in a method that was laid out for none.
    """
    saved = read_state(file)
    for name, own in method.state_dict().items():
        held = saved.get(name)
        if held is None or (held.shape != own.shape and not new and own.numel()):
            found = "nothing" if held is None else f"shape {tuple(held.shape)}"
            raise UserError(
                f"{file}: '{name}' should have shape {tuple(own.shape)}, but there is {found}: "
                "it was written by another version of pzsl: train again."
            )
        if held.shape == own.shape:
            own.copy_(held)
        elif held.shape[1:] == own.shape[1:] and len(held) + new == len(own):
            own[: len(held)] = held


def read_calibration(path: Path) -> Calibration:
    """What a record says of its probabilities; records of before don't.

    Raises:
        KeyError, TypeError, ValueError: it isn't as it should be.
    """
    if not path.is_file():
        return Calibration()
    said = _json(path)
    thresholds, coverage = (tuple(map(float, said[key])) for key in ("thresholds", "coverage"))
    found = Calibration(float(said["temperature"]), thresholds, coverage, int(said["images"]))
    numbers = (found.temperature, *thresholds, *coverage)
    if not np.isfinite(numbers).all() or found.temperature <= 0:
        raise ValueError("calibration.json holds what is no number")
    return found


def _json(path: Path) -> dict[str, Any]:
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} can't be read ({error}): train again.") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} should hold a JSON object: train again.")
    return value
