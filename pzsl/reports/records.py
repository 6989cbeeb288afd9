"""Read run records: untrusted JSON in, checked `Run`s out; nothing in them is ever executed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pzsl.errors import UserError
from pzsl.progress import printable

METRICS = (
    *("S", "U", "H", "T1", "AUSUC", "gamma", "disambiguation", "seconds", "parameters"),
    *("mean_candidates", "truth_outside"),
)
"""What a run's `metrics.json` may hold; accuracies and `truth_outside` in percent."""

_CONFIG = (
    *("dataset", "cache_hash", "method", "preset", "noise", "rate", "eta", "few_shot", "seed"),
    "options",
)

Epoch = dict[str, float | None]


@dataclass(frozen=True)
class Run:
    """One finished run.

    Attributes:
        path: its folder, relative to the folder of all runs.
        dataset, cache_hash, method, preset, noise: names, '' where the record has none.
        rate: noise rate; None for candidate sets that came with the data.
        eta: share of sets without the truth.
        seed: of the run.
        few_shot: true labels a class that were given by hand.
        options: everything else in its configuration, nested names joined by dots.
        metrics: one value for each of `METRICS`, None where unknown.
        history: one dict per epoch.
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


@dataclass
class Records:
    """All that a folder of runs holds.

    Attributes:
        runs: the finished ones, each configuration once.
        unfinished: folders that have a configuration but no metrics yet.
        warnings: one line for each file that was left out, and why.
    """

    runs: list[Run] = field(default_factory=list)
    unfinished: int = 0
    warnings: list[str] = field(default_factory=list)


def read_runs(folder: Path) -> Records:
    """Read every run record below a folder, at any depth.

    A broken file costs its own run only: it is named in `warnings`.

    Raises:
        UserError: there is no such folder, or no finished run in it.
    """
    if not folder.is_dir():
        raise UserError(f"No folder '{folder}': train first (pzsl train --runs {folder}).")
    records = Records()
    seen: dict[str, str] = {}
    for path in sorted(folder.rglob("config.json")):
        if not (path.parent / "metrics.json").exists():
            records.unfinished += 1
            continue
        name = printable(path.parent.relative_to(folder).as_posix())
        try:
            config = _read_object(path)
            run = _run(name, config, _read_object(path.parent / "metrics.json"))
        except UserError as error:
            records.warnings.append(f"Left out: {error}")
            continue
        same = json.dumps(config, sort_keys=True)
        if same in seen:
            records.warnings.append(f"Left out: {name} has the same configuration as {seen[same]}.")
            continue
        seen[same] = name
        records.runs.append(_with_history(run, path.parent / "history.jsonl", records.warnings))
    if not records.runs:
        found = f"{records.unfinished} unfinished, {len(records.warnings)} broken"
        first = f" {records.warnings[0]}" if records.warnings else ""
        raise UserError(
            f"No finished run in '{folder}' ({found}): run pzsl train with --runs {folder}.{first}"
        )
    return records


def _read_object(path: Path) -> dict[str, Any]:
    """A JSON object from a file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{printable(str(path))} is no valid JSON ({error}): train again."
        ) from None
    except OSError as error:
        raise UserError(f"{printable(str(path))} can't be read ({error.strerror}).") from None
    if not isinstance(value, dict):
        raise UserError(f"{printable(str(path))} should hold a JSON object, not {type(value)}.")
    return value


def _run(name: str, config: dict[str, Any], metrics: dict[str, Any]) -> Run:
    extra = {key: value for key, value in config.items() if key not in _CONFIG}
    options = config.get("options") or {}
    if not isinstance(options, dict):
        raise UserError(f"{name}/config.json: 'options' should be a JSON object.")
    seed = config.get("seed")
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise UserError(f"{name}/config.json: 'seed' should be a whole number.")
    return Run(
        path=name,
        dataset=_text(config, "dataset", name),
        cache_hash=_text(config, "cache_hash", name, ""),
        method=_text(config, "method", name),
        preset=_text(config, "preset", name, ""),
        noise=_text(config, "noise", name, ""),
        rate=_number(config, "rate", f"{name}/config.json"),
        eta=_number(config, "eta", f"{name}/config.json") or 0.0,
        seed=seed,
        options=dict(_flatten({**extra, **options})),
        few_shot=int(_number(config, "few_shot", f"{name}/config.json") or 0),
        metrics={key: _number(metrics, key, f"{name}/metrics.json") for key in METRICS},
    )


def _text(config: dict[str, Any], key: str, name: str, default: str | None = None) -> str:
    value = config.get(key)
    value = default if value is None else value
    if not isinstance(value, str):
        raise UserError(f"{name}/config.json: '{key}' should be a text.")
    return printable(value)


def _number(values: dict[str, Any], key: str, where: str) -> float | None:
    value = values.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"{where}: '{key}' should be a number or null.")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise UserError(f"{where}: '{key}' is not finite: the run went wrong, train it again.")
    return number


def _flatten(options: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in options.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value)
            yield printable(f"{prefix}{key}"), printable(text)


def _with_history(run: Run, path: Path, warnings: list[str]) -> Run:
    """The run with its epochs; without a (whole) history file the run keeps its metrics."""
    from dataclasses import replace

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
            epochs.append({key: _number(values, key, where) for key in names})
    except (ValueError, RecursionError, OSError):
        at = f"line {len(epochs) + 1} of {run.path}/history.jsonl"
        warnings.append(f"No curve over epochs for {run.path}: {at} can't be read.")
        return run
    return replace(run, history=tuple(epochs))
