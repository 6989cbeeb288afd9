"""Read run records: untrusted JSON in, checked `Run`s out; nothing in them is executed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pzsl.errors import UserError
from pzsl.folders import files_called
from pzsl.progress import printable, shell_word
from pzsl.record_hashes import SMALL, check_parts, read_object
from pzsl.reports.record_values import axis_value, flatten, metric_of, number_of, text_of
from pzsl.sweep_progress import PLAN, read_plan

METRICS = (
    *("S", "U", "H", "T1", "AUSUC", "gamma", "disambiguation", "seconds", "parameters"),
    *("mean_candidates", "truth_outside"),
)
"""Entries of a run's `metrics.json`; accuracies and `truth_outside` in percent."""

_DIFFERENCE = 0.1
"""How far H may lie from the harmonic mean of S and U, where all are rounded to one digit."""
_CONFIG = (
    *("dataset", "cache_hash", "method", "preset", "noise", "rate", "eta", "few_shot"),
    *("imbalance", "seed", "options"),
)

Epoch = dict[str, float | None]


@dataclass(frozen=True)
class Run:
    """One finished run.

    Attributes:
        path: its folder, relative to the folder of all runs.
        dataset, cache_hash, method, preset, noise: names; '' if the record has none.
        rate: noise rate; None for candidate sets that came with the data.
        eta: share of candidate sets without the true label.
        seed: of the run.
        few_shot: images per class whose true label is given.
        imbalance: ratio of the share of images kept by the most and the least frequent class.
        options: everything else in its configuration, nested names joined by dots.
        metrics: one value for each of `METRICS`; None if unknown.
        history: one dict per epoch.
        settings: the method's own options, a part of `options`.
        plugins: group and name of each plugin -> where it is.
        environment: of the run (`env.json`), nested names joined by dots; {} if unknown.
        folder: of its record.
    """

    path: str
    dataset: str
    cache_hash: str
    method: str
    preset: str
    noise: str
    rate: float | None
    eta: float
    seed: int
    options: dict[str, str]
    metrics: dict[str, float | None]
    history: tuple[Epoch, ...] = ()
    few_shot: int = 0
    imbalance: float = 1.0
    settings: dict[str, str] = field(default_factory=dict)
    plugins: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    folder: Path | None = None

    @property
    def configuration(self) -> tuple[Any, ...]:
        """Everything that tells one run from another, however its numbers were written."""
        names = (self.dataset, self.cache_hash, self.method, self.preset, self.noise)
        numbers = (self.rate, self.eta, self.few_shot, self.imbalance, self.seed)
        return *names, *numbers, tuple(sorted(self.options.items()))


@dataclass
class Records:
    """The content of a folder of runs.

    Attributes:
        runs: the finished runs, each configuration once.
        waiting: folders of started or planned runs without metrics.
        failed: folder and reason of each run that failed or diverged.
        warnings: one line for each file that was left out, with the reason.
    """

    runs: list[Run] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def read_runs(folder: Path) -> Records:
    """Read all run records below a folder, at any depth.

    A run with a damaged or missing file is left out and listed in `warnings`.

    Raises:
        UserError: the folder does not exist, or holds no finished run.
    """
    if not folder.is_dir():
        way = f"train first (pzsl train --cache CACHE --runs {shell_word(folder)})"
        way = "it is a file" if folder.is_file() else way
        raise UserError(f"No folder '{folder}': {way}.")
    records = Records()
    first_name: dict[Any, str] = {}
    for path in files_called("config.json", folder):
        name = printable(path.parent.relative_to(folder).as_posix())
        run = _read_finished(name, path.parent, records)
        if run is None:
            continue
        earlier = first_name.setdefault(run.configuration, name)
        if earlier != name:
            records.warnings.append(f"Left out: {name} has the same configuration as {earlier}.")
            continue
        records.warnings += _contradiction(run)
        about = _environment(path.parent / "env.json", records.warnings)
        run = replace(run, environment=about, folder=path.parent)
        records.runs.append(_with_history(run, path.parent / "history.jsonl", records.warnings))
    records.warnings += _without_configuration(folder)
    records.waiting += _not_begun(folder)
    if not records.runs:
        raise _no_finished_run(folder, records)
    return records


def _read_finished(name: str, folder: Path, records: Records) -> Run | None:
    """The run of a folder; None if it is unfinished or damaged, which `records` then lists."""
    try:
        config = read_object(folder / "config.json")
        if not (folder / "metrics.json").exists():
            _sort_unfinished(name, folder, config, records)
            return None
        metrics = read_object(folder / "metrics.json")
        run = _run(name, config, metrics)
        check_parts(folder, metrics, SMALL)
    except UserError as error:
        records.warnings.append(f"Left out: {error}")
        return None
    return run


def _no_finished_run(folder: Path, records: Records) -> UserError:
    """The error that no run is finished: how many are not, and the first reason."""
    waiting, failed, broken = records.waiting, records.failed, records.warnings
    counts = f"{len(waiting)} unfinished, {len(failed)} failed, {len(broken)} broken"
    reasons = [*broken, *(f"{name}: {reason}" for name, reason in failed)]
    first = f" {reasons[0]}" if reasons else ""
    return UserError(
        f"No finished run in '{folder}' ({counts}): run pzsl train with --runs "
        f"{shell_word(folder)}.{first}"
    )


def _without_configuration(folder: Path) -> list[str]:
    """Warnings of metrics without a configuration: damaged records, or files of another tool."""
    metrics = files_called("metrics.json", folder)
    alone = [path for path in metrics if not path.with_name("config.json").exists()]
    names = [printable(path.relative_to(folder).as_posix()) for path in alone]
    return [f"Left out: {name} has no config.json beside it." for name in names]


def _not_begun(folder: Path) -> Iterator[str]:
    """The planned runs of sweeps that have not been started."""
    for path in files_called(PLAN, folder):
        for name in read_plan(path):
            if not (path.parent / name / "config.json").exists():
                yield printable((path.parent / name).relative_to(folder).as_posix())


def _sort_unfinished(name: str, folder: Path, config: dict[str, Any], records: Records) -> None:
    """List a run without metrics as failed or as waiting.

    Raises:
        UserError: the configuration is not that of a run.
    """
    if not {"method", "seed"} <= config.keys():
        raise UserError(f"{name}/config.json is not of a run: it has no 'method' and 'seed'.")
    if not (folder / "failed.json").exists():
        records.waiting.append(name)
        return
    failure = read_object(folder / "failed.json")
    reasons = (failure.get(key) for key in ("error", "reason", "message"))
    reason = next((text for text in reasons if isinstance(text, str)), "no reason given")
    records.failed.append((name, printable(" ".join(reason.split()))))


def _environment(path: Path, warnings: list[str]) -> dict[str, str]:
    """The environment of a run as flat texts; {} and a warning if the file is damaged."""
    if not path.exists():
        return {}
    try:
        return dict(flatten(read_object(path)))
    except UserError as error:
        warnings.append(f"No versions and machine for a run: {error}")
        return {}


def _run(name: str, config: dict[str, Any], metrics: dict[str, Any]) -> Run:
    extra = {key: value for key, value in config.items() if key not in _CONFIG}
    options = config.get("options") or {}
    if not isinstance(options, dict):
        raise UserError(f"{name}/config.json: 'options' should be a JSON object.")
    seed = config.get("seed")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise UserError(f"{name}/config.json: 'seed' should be a whole number from 0 on.")
    flat = dict(flatten({**extra, **options}))
    places = {  # where a plugin is does not count, only what is in it
        key: at for key, at in flat.items() if key.startswith("plugins.") and key.endswith(".at")
    }
    return Run(
        path=name,
        dataset=text_of(config, "dataset", name),
        cache_hash=text_of(config, "cache_hash", name, ""),
        method=text_of(config, "method", name),
        preset=text_of(config, "preset", name, ""),
        noise=text_of(config, "noise", name, ""),
        rate=axis_value(config, "rate", f"{name}/config.json"),
        eta=axis_value(config, "eta", f"{name}/config.json") or 0.0,
        seed=seed,
        options={key: text for key, text in flat.items() if key not in places},
        settings=dict(flatten(options)),
        plugins={
            key.removeprefix("plugins.").removesuffix(".at"): at for key, at in places.items()
        },
        few_shot=int(number_of(config, "few_shot", f"{name}/config.json") or 0),
        imbalance=axis_value(config, "imbalance", f"{name}/config.json") or 1.0,
        metrics={key: metric_of(metrics, key, f"{name}/metrics.json") for key in METRICS},
    )


def _contradiction(run: Run) -> list[str]:
    """A warning if H is not the harmonic mean of S and U, as in a record edited by hand."""
    seen, unseen, given = (run.metrics[key] for key in ("S", "U", "H"))
    if seen is None or unseen is None or given is None:
        return []
    mean = 2 * seen * unseen / (seen + unseen) if seen + unseen else 0.0
    if abs(given - mean) <= _DIFFERENCE:
        return []
    return [
        f"{run.path}/metrics.json: 'H' is {given:.2f}, but 'S' and 'U' make it {mean:.2f}: the "
        "file was changed; train the run again."
    ]


def _with_history(run: Run, path: Path, warnings: list[str]) -> Run:
    """Add the history of epochs to a run; a missing or damaged history is left out."""
    if not path.exists():
        return run
    epochs: list[Epoch] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, start=1):
            values = json.loads(line)
            if not isinstance(values, dict):
                raise UserError("not an object")
            names = ("epoch", "loss", "entropy", "disambiguation")
            where = f"{run.path}/history.jsonl:{number}"
            epochs.append({key: number_of(values, key, where) for key in names})
    except (ValueError, RecursionError, OSError):
        at = f"line {len(epochs) + 1} of {run.path}/history.jsonl"
        warnings.append(f"No curve over epochs for {run.path}: {at} can't be read.")
        return run
    return replace(run, history=tuple(epochs))
