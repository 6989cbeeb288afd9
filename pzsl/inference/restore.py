"""Restore a finished run from its saved state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pzsl.device import cpu_threads, resolve_device
from pzsl.errors import UserError
from pzsl.evaluation import SAMPLE, Calibration
from pzsl.inference.record import Record
from pzsl.methods.core import CandidateEntries, Method, Problem
from pzsl.record_hashes import REMEDY
from pzsl.store import Cache, load_cache
from pzsl.training import RunConfig
from pzsl.training.checkpoint import SEEN, UNSEEN
from pzsl.training.make_method import initial_method, prepared_method
from pzsl.training.task import Task, make_task

MODEL = "model.safetensors"
ENCODER_FIELDS = ("model", "pretrained", "weights_hash", "precision", "preprocessing")


@dataclass(frozen=True)
class Scorer:
    """A trained method, and what turns its scores into answers.

    Attributes:
        method: with its trained state.
        gamma: subtracted from the scores of seen classes.
        calibration: of the probabilities.
        names: (K + U + new,) class names in the order of the method's scores, the seen first.
    """

    method: Method
    gamma: float
    calibration: Calibration
    names: tuple[str, ...]

    @property
    def seen(self) -> int:
        """K, the number of classes with training images."""
        return len(self.method.problem.seen)


@dataclass(frozen=True)
class Trained(Scorer):
    """A trained method with its training data.

    Attributes:
        cache: features, class names and splits.
        task: its training images and candidate sets.
    """

    cache: Cache
    task: Task


def restore(record: Record) -> Trained:
    """Restore the trained method with its training images and their label weights, on the CPU.

    Raises:
        UserError: the cache is missing or a different one, or the model's file is damaged.
    """
    cache = open_cache(record)
    _check_cache(cache, record)
    task = make_task(cache, record.config, resolve_device("cpu"))
    with cpu_threads(resolve_device("cpu")), torch.no_grad():
        method = prepared_method(record.config, task.problem, record.config.seed)
        load_state(method, read_state(record.folder / MODEL), record.folder / MODEL)
    names = tuple(class_names(cache))
    return Trained(method.eval(), record.gamma, record.calibration, names, cache, task)


def restore_scorer(record: Record, names: Sequence[str] = (), text: Tensor | None = None) -> Scorer:
    """Restore the trained method from its saved state, on the CPU, without reading training images.

    Args:
        record: of the run.
        names: classes to add. text: (len(names), D) their label embeddings.

    Raises:
        UserError: as in `restore`.
    """
    cache, file = open_cache(record, check=False), record.folder / MODEL
    has_labels = _has_labels(cache, read_state(file), record.config.labels)
    if not (has_labels and _has_encoder(cache, record)):
        _check_cache(cache, record)
    method = restore_method(record.config, cache.logit_scale, file, text)
    all_names = (*class_names(cache), *names)
    return Scorer(method, *adjusted(record.gamma, record.calibration, len(names)), all_names)


def adjusted(gamma: float, calibration: Calibration, added: int) -> tuple[float, Calibration]:
    """The gamma and calibration that hold once so many classes are added to a run."""
    if not added or calibration.added is None:
        return gamma, calibration
    return calibration.added.gamma, calibration.added.probabilities


def restore_method(
    config: RunConfig, scale: float, file: Path, text: Tensor | None = None
) -> Method:
    """Restore a trained method from its saved state alone.

    Args:
        config: of its run. scale: CLIP's logit scale.
        file: its saved state. text: (n, D) label embeddings of classes to add.

    Raises:
        UserError: the file is damaged.
    """
    saved, added = read_state(file), 0 if text is None else len(text)
    unseen = saved[UNSEEN] if text is None else torch.cat([saved[UNSEEN], text])
    problem = Problem(
        images=saved[SEEN][:0],
        candidates=CandidateEntries.of(torch.tensor([0]), torch.tensor([], dtype=torch.long)),
        seen=saved[SEEN],
        unseen=unseen,
        scale=scale,
    )
    with cpu_threads(resolve_device("cpu")), torch.no_grad():
        method = initial_method(config, problem, config.seed)
        load_state(method, saved, file, added)
        if added:
            method.add_classes(added)
    return method.eval()


def _has_labels(cache: Cache, saved: dict[str, Tensor], kind: str) -> bool:
    """Whether a cache has the saved label embeddings, hence the same classes and encoder.

    With the encoder's image tower and logit scale (`_has_encoder`), no answer depends on more of
    it: its training images may differ or be missing.
    """
    if kind != "text" or not cache.templates:
        return False
    text = torch.from_numpy(cache.label_embeddings())
    seen = torch.from_numpy(cache.seen)
    return torch.equal(text[seen], saved[SEEN]) and torch.equal(text[~seen], saved[UNSEEN])


def _has_encoder(cache: Cache, record: Record) -> bool:
    """Whether a cache has the weights and the logit scale of the run's; older records lack them."""
    return all(
        str(cache.provenance[name]) == record.encoder.get(name, str(cache.provenance[name]))
        for name in ("weights_hash", "logit_scale")
    )


def open_cache(record: Record, check: bool = True) -> Cache:
    """Load the cache that a run was trained on.

    Raises:
        UserError: it is missing or incomplete.
    """
    if not record.cache.exists():
        raise UserError(
            f"{record.cache}: the cache that {record.folder} was trained on isn't there any more: "
            "give its new path with --cache."
        )
    return load_cache(record.cache, check=check)


def _check_cache(cache: Cache, record: Record) -> None:
    if cache.fingerprint != record.config.cache_hash:
        raise UserError(
            f"{record.cache} isn't the cache that {record.folder} was trained on (other images, "
            "labels, prompts, weights or logit scale): name that one with --cache, or train again."
        )


def class_names(cache: Cache) -> list[str]:
    """Class names in the order of scores: the seen first."""
    order: NDArray[np.intp] = np.argsort(~cache.seen, kind="stable")
    return [cache.classes[row] for row in order]


def encoder_facts(cache: Cache) -> dict[str, Any]:
    """What a cache records of its encoder, by `ENCODER_FIELDS`."""
    return {name: cache.provenance[name] for name in ENCODER_FIELDS}


def mean_image(cache: Cache) -> NDArray[np.float32]:
    """The mean (D,) of the training images' embeddings, or of a sample if there are many."""
    rows = np.flatnonzero(cache.splits == "trainval")
    rows = rows[:: -(-len(rows) // SAMPLE) or 1]
    return np.asarray(cache.images[rows].sum(axis=0) / max(1, len(rows)), np.float32)


def read_state(file: Path) -> dict[str, Tensor]:
    """Read the tensors of a model's file.

    Raises:
        UserError: it can't be read, or an older version wrote it, without label embeddings.
    """
    try:
        saved = load_file(file)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{file} can't be read ({error}): {REMEDY}.") from None
    if not {SEEN, UNSEEN} <= set(saved):
        raise UserError(f"{file} was written by another version of pzsl: {REMEDY}.")
    return saved


def load_state(method: Method, saved: dict[str, Tensor], file: Path, added: int = 0) -> None:
    """Load the saved state into a method, whose per-class tensors may have `added` more rows.

    A method that was laid out without training images leaves out their state, unless its scores
    need it.
    """
    for name, value in method.state_dict().items():
        saved_value = saved.get(name)
        if (
            name in method.kept_state
            and saved_value is not None
            and saved_value.shape[1:] == value.shape[1:]
        ):
            attrgetter(name)(method).data = saved_value.clone()
            continue
        if saved_value is None or (
            saved_value.shape != value.shape and not added and value.numel()
        ):
            actual = "nothing" if saved_value is None else f"shape {tuple(saved_value.shape)}"
            raise UserError(
                f"{file}: '{name}' should have shape {tuple(value.shape)}, but there is {actual}: "
                f"it was written by another version of pzsl: {REMEDY}."
            )
        if saved_value.shape == value.shape:
            value.copy_(saved_value)
        elif saved_value.shape[1:] == value.shape[1:] and len(saved_value) + added == len(value):
            value[: len(saved_value)] = saved_value
