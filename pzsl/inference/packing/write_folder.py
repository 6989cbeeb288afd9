"""Pack a finished run: a folder that answers without cache, run and training images."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pzsl import __version__
from pzsl.device import usual_torch
from pzsl.errors import UserError
from pzsl.files import write_atomic, write_json
from pzsl.folders import say_disclosed
from pzsl.inference.packing.model_card import model_card
from pzsl.inference.packing.onnx import export_onnx
from pzsl.inference.packing.read_folder import (
    ABOUT,
    CALIBRATION,
    CARD,
    FORMAT,
    MEAN,
    ONNX,
    SUMS,
    WEIGHTS,
    open_packed,
    sums_of,
)
from pzsl.inference.record import Record, read_record, say_drawn
from pzsl.inference.restore import Trained, encoder_facts, mean_image, restore, restore_scorer
from pzsl.locks import unlock
from pzsl.progress import say
from pzsl.requests import with_paths
from pzsl.store.hdf5 import locked
from pzsl.training.checkpoint import model_bytes

CHECKED, CLOSE = 512, 1e-6
"""Images whose scores are compared with those of the run, and how far they may differ, relative
to the logit scale."""


@with_paths
@usual_torch()
def pack(
    run: str | Path,
    out: str | Path,
    *,
    cache: str | Path | None = None,
    onnx: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write a self-contained folder that `predict` can use anywhere.

    It holds the weights, the label embeddings and class names, which encoder is needed and how
    it preprocesses images, the calibration and a model card, but not the encoder's own weights.
    Nor does it hold any single training image's embedding, unless the method needs these to answer
    (`gda`, `tip-adapter`, the transductive baselines): this is then reported.

    Args:
        run: folder of a finished run.
        out: the folder to write.
        cache: the run's cache, if it has moved.
        onnx: also write the scoring part as `scores.onnx`: from unit image embeddings (n, D) to
            scores (n, C), less gamma for seen classes.
        overwrite: replace an existing packed folder.

    Returns:
        `out, files, bytes, classes, largest_difference` (between scores of the run and of the
        folder) and `onnx_difference` (None without).

    Raises:
        UserError: no such run, the folder exists, or the method can't be packed.
    """
    out = Path(out)
    _check_out(out, overwrite)
    record = read_record(run, cache)
    trained = restore(record)
    say_drawn(record.config, record.folder)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        lock = locked(out)
        try:
            difference, onnx_difference = _build(out, record, trained, onnx)
        finally:
            unlock(lock)
    except OSError as error:
        raise UserError(f"{out} can't be written: {error.strerror or error}.") from None
    if trained.method.kept_state:
        say(f"{out} holds the training images' embeddings, as {record.config.method} needs them.")
    plugins = (str(plugin["at"]) for plugin in record.config.plugins.values())
    say_disclosed(out, (str(trained.cache.provenance["model"]), *plugins))
    files = sorted(out.iterdir())
    return {
        "out": str(out),
        "files": [file.name for file in files],
        "bytes": sum(file.stat().st_size for file in files),
        "classes": len(trained.names),
        "largest_difference": difference,
        "onnx_difference": onnx_difference,
    }


def _check_out(out: Path, overwrite: bool) -> None:
    """Refuse to replace anything but a packed folder, and that only on request."""
    if out.exists() and not (overwrite and (out / SUMS).is_file()):
        hint = "or --overwrite" if (out / SUMS).is_file() else "it is not a packed folder"
        raise UserError(f"{out} exists already: give another --out ({hint}).")


def _build(out: Path, record: Record, trained: Trained, onnx: bool) -> tuple[float, float | None]:
    """Write a temporary folder, compare its scores with the run's, and move it into place.

    Returns:
        The largest differences of its scores and of the ONNX graph's (None without).
    """
    building, replaced = (out.with_name(out.name + ending) for ending in (".partial", ".replaced"))
    shutil.rmtree(building, ignore_errors=True)
    try:
        building.mkdir()
        _write(building, record, trained)
        onnx_difference = export_onnx(trained, building / ONNX, _sample(trained)) if onnx else None
        write_atomic(building / SUMS, sums_of(building))
        difference = _compare(building, trained)
        shutil.rmtree(replaced, ignore_errors=True)
        if out.exists():
            out.replace(replaced)  # half removed, it would be no packed folder to --overwrite
        building.replace(out)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    shutil.rmtree(replaced, ignore_errors=True)
    return difference, onnx_difference


def _write(folder: Path, record: Record, trained: Trained) -> None:
    cache, problem = trained.cache, trained.method.problem
    about = {
        "format": FORMAT,
        "pzsl": __version__,
        "run": record.config.as_dict(),
        "dataset": cache.dataset,
        "classes": list(trained.names),
        "seen": trained.seen,
        "dim": problem.seen.shape[1],
        "scale": problem.scale,
        "gamma": trained.gamma,
        "templates": list(cache.templates),
        "encoder": encoder_facts(cache),
        MEAN: [round(float(value), 5) for value in mean_image(cache)],
    }
    write_json(folder / ABOUT, about)
    write_json(folder / CALIBRATION, asdict(record.calibration))
    method = restore_scorer(record).method  # without the weights of training images
    for name, buffer in method.named_buffers():
        if name.rpartition(".")[2] in method.training_state:
            buffer.zero_()
    write_atomic(folder / WEIGHTS, model_bytes(method, {}))
    metrics = json.loads((record.folder / "metrics.json").read_text(encoding="utf-8"))
    write_atomic(folder / CARD, model_card(trained, record.config, metrics))


def _compare(folder: Path, trained: Trained) -> float:
    """The largest difference between scores of the run and of the folder.

    Raises:
        UserError: they differ, so the method needs more than is packed.
    """
    again, images = open_packed(folder).scorer(), _sample(trained)
    with torch.no_grad():
        differences = trained.method.scores(images) - again.method.scores(images)
    difference = float(differences.abs().max())
    if not difference <= CLOSE * trained.method.problem.scale:
        raise UserError(
            f"A run of {type(trained.method).__name__} can't be packed: its scores differ by "
            f"{difference:g} without the cache."
        )
    return difference


def _sample(trained: Trained) -> Tensor:
    """(n, D) embeddings on which scores are compared, evenly spread over all images."""
    images = trained.cache.images
    return torch.from_numpy(np.array(images[:: -(-len(images) // CHECKED)]))
