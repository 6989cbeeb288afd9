"""What `train` says before a sweep: what it is about to do, and what it will not do as asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pzsl.candidates import FROM_DATA
from pzsl.progress import counted, say
from pzsl.requests import OWN_IMAGES, TrainRequest, as_list, say_unused, unless
from pzsl.store import Cache
from pzsl.training.candidate_sets import training_rows
from pzsl.training.config import RunConfig

OF_TRAINING = ("epochs", "min_steps", "batch_size", "lr", "weight_decay", "fold_share")
"""Options that all methods have, for those that are trained."""


def say_doubts(request: TrainRequest, data: Cache, grid: Sequence[RunConfig]) -> None:
    """Warn about what was asked for and changes nothing, or is done in another way."""
    _say_unused(request, grid)
    _say_stored_sets(data, grid)
    _say_drawn(request, data, grid)
    _say_few_shot(data, grid)
    _say_untested(data)


def _say_unused(request: TrainRequest, grid: Sequence[RunConfig]) -> None:
    """Warn about options that no run of the grid depends on."""
    if not any(config.eta for config in grid):
        eta = unless(TrainRequest.eta, request.eta)
        say_unused("only --noise noisy swaps the truth out", eta=eta)
    if all(config.rate is None for config in grid):
        rate = unless(TrainRequest.rate, request.rate)
        say_unused("candidate sets that the cache holds have no rate", rate=rate)
    elif not {config.rate for config in grid} & {*map(float, as_list(request.rate))}:
        rate = unless(TrainRequest.rate, request.rate)
        say_unused("each kind of --noise has a rate of its own", rate=rate)


def say_budget(
    request: TrainRequest, data: Cache, grid: Sequence[RunConfig], parameters: Sequence[int | None]
) -> None:
    """Warn about options of training that changed nothing, or were not followed.

    Args:
        request, data, grid: the sweep.
        parameters: how many each run of the grid has trained; None if its record doesn't say.
    """
    _say_untrained(request.settings, parameters)
    runs = zip(grid, parameters, strict=True)
    _say_epochs(request, data, [run for run, trained in runs if trained != 0])


def _say_untrained(settings: Mapping[str, Any] | None, parameters: Sequence[int | None]) -> None:
    """Warn about options of training in a sweep whose methods have nothing to train."""
    named = [f"'{name}'" for name in settings or {} if name in OF_TRAINING]
    if named and all(number == 0 for number in parameters):
        words = "Options {} change" if len(named) > 1 else "Option {} changes"
        say(f"{words.format(', '.join(named))} nothing: no method here is trained.")


def _say_stored_sets(data: Cache, grid: Sequence[RunConfig]) -> None:
    """Warn about candidate sets that the cache holds and no run of the grid learns from."""
    if data.candidate_offsets is not None and not any(run.noise in FROM_DATA for run in grid):
        kind = "annotated" if data.annotation else "file"
        say(
            "The candidate sets that the cache holds are not used, others are drawn from its "
            f"labels: --noise {kind} learns from those of the cache."
        )


def _say_epochs(request: TrainRequest, data: Cache, grid: Sequence[RunConfig]) -> None:
    """Warn about epochs that were raised because there would be too few steps."""
    settings = request.settings or {}
    if "epochs" not in settings or "min_steps" in settings:
        return
    raised = set()
    whole = len(training_rows(data))
    for run in grid:
        tail = run.imbalance != 1
        images = len(training_rows(data, run.imbalance, run.seed)) if tail else whole
        steps = -(-images // run.options["batch_size"])
        least = -(-run.options["min_steps"] // steps)
        if run.options["epochs"] < least:
            raised.add((run.options["epochs"], least, run.options["min_steps"]))
    for epochs, least, min_steps in sorted(raised):
        say(
            f"epochs={epochs} was raised to {least}, because training takes at least {min_steps} "
            "steps: --set min_steps=1 keeps it."
        )


def _say_drawn(request: TrainRequest, data: Cache, grid: Sequence[RunConfig]) -> None:
    """Say of one's own images that sets are drawn, if nobody asked for that."""
    asked = tuple(as_list(request.noise)) != TrainRequest.noise
    stored = data.candidate_offsets is not None  # these have a message of their own
    if data.dataset in OWN_IMAGES and not asked and not stored:
        say(
            f"Wrong labels are added to those of your images (noise {grid[0].noise}), as for an "
            "experiment: --noise file learns from the labels as they are."
        )


def _say_few_shot(data: Cache, grid: Sequence[RunConfig]) -> None:
    """Warn about classes that have fewer labelled images than are to be given by hand."""
    most = max(run.few_shot for run in grid)
    if not most:
        return
    rarest = max(grid, key=lambda run: run.imbalance)
    labels = data.labels[training_rows(data, rarest.imbalance, rarest.seed)]
    counts = np.bincount(labels[labels >= 0], minlength=len(data.classes))
    fewer = np.flatnonzero(data.seen & (counts < most))
    if len(fewer):
        say(
            f"{counted(len(fewer), 'class', 'classes')} with fewer than {most} labelled training "
            f"images, such as '{data.classes[fewer[0]]}': all of theirs are given."
        )


def _say_untested(data: Cache) -> None:
    """Warn about test images that no metric counts, and of classes that S or U leaves out."""
    tests = np.flatnonzero(data.splits != "trainval")
    labels = data.labels[tests]
    unknown = tests[labels < 0]
    if len(unknown):
        say(
            f"{len(unknown):,} of {len(tests):,} test images have no label, such as "
            f"'{data.paths[unknown[0]]}': no metric counts them."
        )
    counts = np.bincount(labels[labels >= 0], minlength=len(data.classes))
    for metric, kind, side in (("S", "seen", data.seen), ("U", "unseen", ~data.seen)):
        untested = np.flatnonzero(side & (counts == 0))
        if 0 < len(untested) < side.sum():
            say(
                f"{len(untested):,} of {int(side.sum()):,} {kind} classes have no test image, such "
                f"as '{data.classes[untested[0]]}': {metric} is the mean over the others."
            )


def announcement(request: TrainRequest, runs: int) -> str:
    """What a sweep is about to train, in one line."""
    methods, noises = (", ".join(as_list(names)) for names in (request.method, request.noise))
    first, last = request.first_seed, request.first_seed + request.seeds - 1
    seeds = f"seeds {first} to {last}" if last > first else f"seed {first}"
    return (
        f"train {methods} on {Path(request.cache)}: {counted(runs, 'run')}, noise {noises}, "
        f"{seeds}, labels {request.labels}"
    )
