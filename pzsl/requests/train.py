"""The options of stage two, `pzsl.train`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pzsl.errors import UsageError, shown
from pzsl.progress import printable
from pzsl.requests.option_fields import INPUT, MACHINE, MODEL, OUTPUT, check_kinds, option
from pzsl.requests.values import (
    as_list,
    check_ray_devices,
    is_number,
    is_plain_name,
    is_whole,
)

LABELS = ("text", "attributes", "both")
"""Sources of label embeddings."""
GRID = "Grid"
WORDS = ("method", "preset", "noise")
LISTS = (*WORDS, "rate", "eta", "few_shot", "imbalance")
"""The axes of a sweep: without a value on each there is no run."""
MOST_SEEDS = 10_000
LAST_SEED = 2**32
"""Seeds stay below this, so that every generator accepts them."""
MOST_THREADS = 1024
"""More than the cores of a machine are a typing error."""
MOST = 10**9
"""Upper bound of all other numbers; a larger one is a typing error."""


@dataclass(frozen=True)
class TrainRequest:
    """What to train, on which candidate sets, and where; see `pzsl.train`."""

    cache: str | Path = option("Cache of stage one, such as cache/sun.h5.", INPUT)
    method: str | Sequence[str] = option("Methods: {methods}.", MODEL, ("clip-pzsl",))
    preset: str | Sequence[str] = option("Presets: {presets}.", MODEL, ("default",))
    noise: str | Sequence[str] = option(
        "Kinds of ambiguity: {noises}; instance:0.1 sets its rate.", GRID, ("uniform",)
    )
    rate: float | Sequence[float] = option(
        "Noise rates: how likely each wrong label joins an image's candidates (fixed-size: how "
        "many do).",
        GRID,
        (0.1, 0.3, 0.5),
    )
    eta: float | Sequence[float] = option(
        "Share of candidate sets without the true label, for --noise noisy.", GRID, (0.2,)
    )
    few_shot: float | Sequence[float] = option(
        "Images per class that get their true label, such as 1,2,4,8.", GRID, (0,)
    )
    imbalance: float | Sequence[float] = option(
        "Long tail: size ratio of the largest to the smallest class, such as 50,100.", GRID, (1,)
    )
    seeds: int = option("How many seeds; each draws its own candidate sets.", GRID, 5)
    first_seed: int = option("The first seed.", GRID, 0)
    labels: str = option("What label embeddings are made of: {labels}.", MODEL, "text")
    settings: Mapping[str, Any] | None = option(
        "Options of the method, such as rank=32.", MODEL, None, ("--set", "--off"), by_hand=True
    )
    runs: str | Path = option("Folder of all run records.", OUTPUT, "runs")
    name: str | None = option("Name of the sweep, a folder in --runs. [the cache's]", OUTPUT, None)
    device: str = option("auto, cpu, cuda or mps.", MACHINE, "auto")
    workers: int | None = option("Worker processes. [cores / threads]", MACHINE, None)
    threads: int = option("CPU threads per process; give a single large run all cores.", MACHINE, 1)
    checkpoint_seconds: float = option(
        "Seconds between two checkpoints of a run, at least.", MACHINE, 10.0
    )
    memory: float = option(
        "GiB of features to keep in memory; more are read in blocks.", MACHINE, 2.0
    )
    engine: str = option(
        "local, or ray for a Ray cluster that sees --cache and --runs.", MACHINE, "local"
    )

    def check(self) -> None:
        """Check the values.

        Raises:
            UsageError: a value is out of range; the first such value is reported.
        """
        if self.settings is not None and not isinstance(self.settings, Mapping):
            raise UsageError(f"settings should be options by name, not {shown(self.settings)}.")
        for name in LISTS:
            _check_list(f"--{name.replace('_', '-')}", getattr(self, name), name in WORDS)
        _check_whole("--seeds", self.seeds, 1, MOST_SEEDS)
        _check_whole("--first-seed", self.first_seed, 0, LAST_SEED - MOST_SEEDS)
        if self.workers is not None:
            _check_whole("--workers", self.workers, 1, MOST)
        _check_whole("--threads", self.threads, 1, MOST_THREADS)
        for value in as_list(self.few_shot):
            _check_number("--few-shot", value)
            _check_whole("--few-shot", int(value) if value == int(value) else value, 0, MOST)
        for value in as_list(self.imbalance):
            _check_number("--imbalance", value, low=1)
        for name, values in (("--rate", self.rate), ("--eta", self.eta)):
            for value in as_list(values):
                _check_number(name, value, high=1 if name == "--eta" else MOST)
        _check_number("--memory", self.memory)
        _check_number("--checkpoint-seconds", self.checkpoint_seconds)
        check_kinds(self)
        if self.name is not None and not is_plain_name(self.name):
            raise UsageError(
                f"--name '{printable(self.name)}' should be a plain name; --runs says in which "
                "folder."
            )
        if self.labels not in LABELS:
            raise UsageError(f"--labels is one of {', '.join(LABELS)}, not '{self.labels}'.")
        if self.engine == "ray":
            check_ray_devices(self.device)


def _check_list(name: str, values: Any, of_words: bool) -> None:
    """Refuse an axis without a value, or with something else than words or numbers."""
    try:
        listed = as_list(values)
    except TypeError:
        raise UsageError(
            f"{name} should be a value or a list of values, not {shown(values)}."
        ) from None
    if not listed:
        raise UsageError(f"{name} names nothing: give at least one value, or leave it out.")
    for value in listed:
        if of_words and not isinstance(value, str):
            raise UsageError(f"{name} takes names, not {shown(value)}.")


def _check_whole(name: str, value: Any, low: int, high: int) -> None:
    if not is_whole(value) or not low <= value <= high:
        raise UsageError(f"{name} should be a whole number from {low} to {high:,}, not {value}.")


def _check_number(name: str, value: Any, low: int = 0, high: int = MOST) -> None:
    if not is_number(value) or not low <= value <= high:
        raise UsageError(f"{name} should be a number from {low} to {high:,}, not {value}.")
