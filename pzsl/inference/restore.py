"""A finished run as it was when training ended, out of its saved state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pzsl.device import resolve_device
from pzsl.errors import UserError
from pzsl.evaluation import Calibration
from pzsl.inference.record import Record
from pzsl.methods.core import CandidateEntries, Method, Problem
from pzsl.store import Cache, load_cache
from pzsl.training import RunConfig
from pzsl.training.checkpoint import SEEN, UNSEEN
from pzsl.training.run import lay_out, make_method, one_thread
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


def restore(record: Record) -> Trained:
    """The trained method with its training images and their label weights, on the CPU.

    Raises:
        UserError: the cache is gone or is another one, or the model's file is damaged.
    """
    cache = open_cache(record)
    _check_cache(cache, record)
    task = make_task(cache, record.config, resolve_device("cpu"))
    with one_thread(resolve_device("cpu")), torch.no_grad():
        method = make_method(record.config, task.problem, record.config.seed)
        load_state(method, read_state(record.folder / MODEL), record.folder / MODEL)
    named = tuple(class_names(cache))
    return Trained(method.eval(), record.gamma, record.calibration, named, cache, task)


def restore_scorer(record: Record, names: Sequence[str] = (), text: Tensor | None = None) -> Scorer:
    """The trained method, on the CPU, out of its saved state: no training image is read.

    Args:
        record: of the run.
        names: classes to add. text: (len(names), D) their label embeddings.

    Raises:
        UserError: as `restore`.
    """
    cache, file = open_cache(record, check=False), record.folder / MODEL
    if not _has_labels(cache, read_state(file), record.config.labels):
        _check_cache(cache, record)
    method = restore_method(record.config, cache.logit_scale, file, text)
    named = (*class_names(cache), *names)
    return Scorer(method, record.gamma, record.calibration, named)


def restore_method(
    config: RunConfig, scale: float, file: Path, text: Tensor | None = None
) -> Method:
    """A method as it was when training ended, out of its saved state alone.

    Args:
        config: of its run. scale: CLIP's.
        file: its saved state. text: (n, D) label embeddings of classes to add.

    Raises:
        UserError: the file is damaged.
    """
    saved, new = read_state(file), 0 if text is None else len(text)
    unseen = saved[UNSEEN] if text is None else torch.cat([saved[UNSEEN], text])
    problem = Problem(
        images=saved[SEEN][:0],
        candidates=CandidateEntries.of(torch.tensor([0]), torch.tensor([], dtype=torch.long)),
        seen=saved[SEEN],
        unseen=unseen,
        scale=scale,
    )
    with one_thread(resolve_device("cpu")), torch.no_grad():
        method = lay_out(config, problem, config.seed)
        load_state(method, saved, file, new)
        if new:
            method.add_classes(new)
    return method.eval()


def _has_labels(cache: Cache, saved: dict[str, Tensor], kind: str) -> bool:
    """Whether a cache has the very label embeddings, seen and unseen: so classes and encoder.

    No answer depends on more of it: its training images may be others, or gone.
    """
    if kind != "text" or not cache.templates:
        return False
    text = torch.from_numpy(cache.label_embeddings())
    seen = torch.from_numpy(cache.seen)
    return torch.equal(text[seen], saved[SEEN]) and torch.equal(text[~seen], saved[UNSEEN])


def open_cache(record: Record, check: bool = True) -> Cache:
    """The cache that a run was trained on, as `load_cache` gives it.

    Raises:
        UserError: it isn't there any more, or isn't whole.
    """
    if not record.cache.exists():
        raise UserError(
            f"{record.cache}: the cache that {record.folder} was trained on isn't there any more: "
            "name its new place with --cache."
        )
    return load_cache(record.cache, check=check)


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
    if not {SEEN, UNSEEN} <= set(saved):
        raise UserError(f"{file} was written by another version of pzsl: train again.")
    return saved


def load_state(method: Method, saved: dict[str, Tensor], file: Path, new: int = 0) -> None:
    """Put the saved state into a method; what has a row for each class may have `new` rows more.

    State of training images has no place in a method that was laid out for none, unless its scores
    need it.
    """
    for name, own in method.state_dict().items():
        held = saved.get(name)
        if name in method.kept_state and held is not None and held.shape[1:] == own.shape[1:]:
            getattr(method, name).data = held.clone()
            continue
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
