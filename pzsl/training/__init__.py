"""Stage two: `train` runs a sweep of methods, noise rates and seeds on one cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pzsl.device import resolve_device, usual_torch
from pzsl.evaluation import encoder_fit
from pzsl.progress import counted, gravest, say
from pzsl.record_hashes import SMALL, check_parts, read_object
from pzsl.requests import TrainRequest, as_list, as_lists
from pzsl.store import Cache, load_cache
from pzsl.training.candidate_sets import check_grid, training_rows
from pzsl.training.config import RunConfig, Source, expand
from pzsl.training.engines import run_sweep
from pzsl.training.features_in_blocks import MEMORY, in_blocks
from pzsl.training.folds import shares_sample
from pzsl.training.run import CHECKPOINT_SECONDS, is_finished
from pzsl.training.settings import read_config, read_settings, with_parts_off
from pzsl.training.sweep_messages import announcement, say_budget, say_doubts

__all__ = ["RunConfig", "read_config", "read_settings", "train", "with_parts_off"]

_REPORTED = ("S", "U", "H", "T1", "AUSUC", "disambiguation", "gamma", "seconds")


@usual_torch()
def train(
    cache: str | Path,
    *,
    method: str | Sequence[str] = ("clip-pzsl",),
    preset: str | Sequence[str] = ("default",),
    noise: str | Sequence[str] = ("uniform",),
    rate: float | Sequence[float] = (0.1, 0.3, 0.5),
    eta: float | Sequence[float] = (0.2,),
    few_shot: float | Sequence[float] = (0,),
    imbalance: float | Sequence[float] = (1,),
    seeds: int = 5,
    first_seed: int = 0,
    labels: str = "text",
    settings: Mapping[str, Any] | None = None,
    runs: str | Path = "runs",
    name: str | None = None,
    device: str = "auto",
    workers: int | None = None,
    threads: int = 1,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    memory: float = MEMORY,
    engine: str = "local",
) -> dict[str, Any]:
    """Run every method at every noise rate with every seed; skip finished runs.

    Args:
        cache: HDF5 cache of stage one.
        method: one or several; like all arguments up to `imbalance`, an axis of the grid.
        preset: of the methods' options.
        noise: kinds of ambiguity.
        rate: noise rates.
        eta: share of candidate sets without the true label; for `noisy` only.
        few_shot: number of true labels per class that are given by hand.
        imbalance: ratio of a long tail: the most frequent class keeps this many times the share of
            its training images that the rarest class keeps.
        seeds: number of seeds.
        first_seed: the first seed.
        labels: what label embeddings are made of: `text`, `attributes` or `both`.
        settings: options that override the preset's, for the methods that have them.
        runs: folder of all run records.
        name: of the sweep; by default the cache's name.
        device: `auto`, `cpu`, `cuda` or `mps`.
        workers: number of processes; by default as many as keep all cores busy.
        threads: CPU threads of each process; all cores for a single large run.
        checkpoint_seconds: minimum time between two checkpoints of a run.
        memory: GiB of training features that a run keeps in memory; larger ones are read in blocks.
        engine: `local`: processes of this machine; `ray`: a Ray cluster.

    Returns:
        `runs`: one flat dict per run with its setting, metrics and path; `sweep`: the folder.

    Raises:
        UserError: the cache can't be trained on. UsageError: an unknown name or a wrong value.
    """
    arguments = dict(locals())  # so far the arguments alone, which are the request's fields
    return _train(TrainRequest(**as_lists(arguments)))


def _train(request: TrainRequest) -> dict[str, Any]:
    request.check()
    elsewhere = request.engine == "ray" and request.device == "cuda"  # this machine may have none
    device = torch.device("cuda") if elsewhere else resolve_device(request.device)
    data = load_cache(request.cache)
    grid = _grid(request, Source(data.dataset, data.fingerprint, _encoder(data)))
    check_grid(data, grid)
    warning = encoder_fit(data).warning
    if warning:
        say(warning)
    say_doubts(request, data, grid)
    grid = [_of_this_size(config, data, request.memory, device.type) for config in grid]
    cache = Path(request.cache)
    sweep = Path(request.runs) / (request.name or cache.stem)
    say(f"{announcement(request, len(grid))}, device {device} -> {sweep}")
    folders = [sweep / config.name for config in grid]
    _check_finished(folders)
    execution = request.checkpoint_seconds, request.memory, request.engine, request.threads
    trained_now = run_sweep(cache, grid, sweep, device, request.workers, *execution)
    if trained_now < len(grid):
        say(f"{counted(len(grid) - trained_now, 'run')} finished earlier")
    run_warnings = {_encoder_warning(folder) for folder in folders} - {warning or "", ""}
    if run_warnings:
        say(gravest(run_warnings))
    metrics = [read_object(folder / "metrics.json") for folder in folders]
    say_budget(request, data, grid, [of_run.get("parameters") for of_run in metrics])
    rows = [_row(*run) for run in zip(grid, folders, metrics, strict=True)]
    return {"sweep": str(sweep), "runs": rows}


def _check_finished(folders: Sequence[Path]) -> None:
    """Refuse damaged records of finished runs, before the others are trained.

    Raises:
        UserError: a file of a record was changed, is missing, or can't be read.
    """
    for folder in filter(is_finished, folders):
        check_parts(folder, read_object(folder / "metrics.json"), SMALL)


def _encoder_warning(folder: Path) -> str:
    """The warning about the encoder in a run's record; '' if there is none."""
    environment = folder / "env.json"  # records of old versions lack it
    return str(read_object(environment).get("encoder_warning", "")) if environment.exists() else ""


def _of_this_size(config: RunConfig, data: Cache, memory: float, device: str) -> RunConfig:
    """The run with what follows from its number of images: blocks, and a sample for the folds."""
    images = len(training_rows(data))
    if config.imbalance != 1 and (shares_sample(images) or in_blocks(data.images, images, memory)):
        images = len(training_rows(data, config.imbalance, config.seed))
    blocks = in_blocks(data.images, images, memory)
    return replace(config, blocks=blocks, fold_sample=shares_sample(images), device=device)


def _grid(request: TrainRequest, source: Source) -> list[RunConfig]:
    """Every run of a request, each once."""
    return expand(
        source,
        as_list(request.method),
        as_list(request.preset),
        as_list(request.noise),
        as_list(request.rate),
        as_list(request.eta),
        range(request.first_seed, request.first_seed + request.seeds),
        request.labels,
        request.settings,
        [int(number) for number in as_list(request.few_shot)],
        as_list(request.imbalance),
    )


def _encoder(data: Cache) -> str:
    model, pretrained = (data.provenance.get(key) for key in ("model", "pretrained"))
    return f"{model} ({pretrained})" if pretrained else str(model)


def _row(config: RunConfig, folder: Path, metrics: dict[str, Any]) -> dict[str, Any]:
    setting = config.as_dict()
    names = ("method", "preset", "noise", "rate", "eta", "seed")
    row = {name: setting[name] for name in names}
    row |= {"few_shot": config.few_shot, "imbalance": config.imbalance}
    return row | {name: metrics.get(name) for name in _REPORTED} | {"path": str(folder)}
