"""What can classify new images: a finished run with its cache, or a packed folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pzsl.evaluation import Calibration
from pzsl.files import digest, sha256_of
from pzsl.inference.packing import fetched, is_packed, open_packed
from pzsl.inference.record import read_record, say_drawn, say_version
from pzsl.inference.restore import (
    Scorer,
    class_names,
    encoder_facts,
    mean_image,
    open_cache,
    restore_scorer,
)
from pzsl.requests import say_unused


@dataclass(frozen=True)
class Model:
    """A finished run or a packed folder, before its weights are read.

    Attributes:
        folder: the run's folder, or the packed one.
        where: the file that records the encoder, for messages.
        classes: (K + U,) names, the seen first.
        dim: D of image and label embeddings.
        encoder: `model, pretrained, weights_hash, precision, preprocessing`.
        templates: the prompts of class names.
        dataset: name of the data set.
        labels: what label embeddings are made of: `text`, `attributes` or `both`.
        noise: where the candidate sets came from.
        calibration: of the probabilities.
        identity: a hash of all that answers depend on, except for added class names.
        mean_image: returns the mean (D,) of the training images; None if it isn't known.
        scorer: returns the trained method, with names and their label embeddings (n, D) added.
    """

    folder: Path
    where: Path
    classes: tuple[str, ...]
    dim: int
    encoder: dict[str, Any]
    templates: tuple[str, ...]
    dataset: str
    labels: str
    noise: str
    calibration: Calibration
    identity: str
    mean_image: Callable[[], NDArray[np.float32] | None]
    scorer: Callable[[tuple[str, ...], Tensor | None], Scorer]


def open_model(run: str | Path, cache: str | Path | None = None) -> Model:
    """Open a finished run or a packed folder.

    Args:
        run: folder of a finished run, or one that `pack` wrote; or `hf-hub:OWNER/NAME` for a packed
            folder on the Hugging Face hub.
        cache: the run's cache, if it has moved; a packed folder has none, and a line says so.

    Raises:
        UserError: there is neither, the cache is missing, or a file is damaged.
    """
    folder = fetched(run)
    if not is_packed(folder):
        return _of_run(folder, cache)
    say_unused("a packed folder needs none", cache=cache)
    return _of_pack(folder)


def _of_run(folder: Path, place: str | Path | None) -> Model:
    record = read_record(folder, place)
    say_drawn(record.config, record.folder)
    cache = open_cache(record, check=False)
    config = json.dumps(record.config.as_dict())
    weights_hash = sha256_of(record.folder / "model.safetensors")
    return Model(
        folder=record.folder,
        where=cache.path,
        classes=tuple(class_names(cache)),
        dim=cache.images.shape[1],
        encoder=encoder_facts(cache),
        templates=cache.templates,
        dataset=cache.dataset,
        labels=record.config.labels,
        noise=record.config.noise,
        calibration=record.calibration,
        identity=digest(config, weights_hash, repr(record.calibration)),
        mean_image=lambda: mean_image(cache),
        scorer=lambda names, text: restore_scorer(record, names, text),
    )


def _of_pack(folder: Path) -> Model:
    packed = open_packed(folder)
    say_version(folder, packed.config)
    say_drawn(packed.config, folder)
    about = packed.about
    return Model(
        folder=folder,
        where=folder,
        classes=tuple(about["classes"]),
        dim=int(about["dim"]),
        encoder=about["encoder"],
        templates=tuple(about["templates"]),
        dataset=about["dataset"],
        labels=packed.config.labels,
        noise=packed.config.noise,
        calibration=packed.calibration,
        identity=packed.identity,
        mean_image=lambda: packed.mean_image,
        scorer=packed.scorer,
    )
