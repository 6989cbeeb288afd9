"""Group runs into rows: one row per data set, method and setting, over its seeds."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import PureWindowsPath
from typing import Any, NamedTuple

from pzsl.reports.records import METRICS, Run
from pzsl.results_version import own_changes

Row = dict[str, Any]
"""One line of the table: names, setting, `n`, `seeds`, and for each metric `_mean` and `_std`."""

_PLUGIN = "plugins."
_OF_NOISE = "plugins.candidates "
Setting = tuple[str, float | None, float, int, float]
"""Noise, rate, eta, true labels per class, and imbalance."""


def setting_of(row: Row) -> Setting:
    """The setting of a row; rows of the same setting compete with each other."""
    return row["noise"], row["rate"], row["eta"], row["few_shot"], row["imbalance"]


def main_metric(rows: Iterable[Row]) -> str:
    """The metric in which rows are compared: H, or S where no class is unseen and none has an H."""
    means = [(row["H_mean"], row["S_mean"]) for row in rows]
    has_only_s = all(h is None for h, _ in means) and any(s is not None for _, s in means)
    return "S" if has_only_s else "H"


def rows_of(runs: Sequence[Run]) -> list[tuple[Row, list[Run]]]:
    """Group runs that differ only in the seed.

    Args:
        runs: finished runs, each configuration once.

    Returns:
        Rows with their runs, ordered by data set, eta, noise, rate, labels per class and method.
        `label` is unique for each method, preset and options of a data set. Means are over the
        seeds with a value; standard deviations are sample standard deviations (ddof = 1), None for
        fewer than two values.
    """
    groups: dict[tuple[Any, ...], list[Run]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: (run.seed, run.path)):
        setting = (run.noise, run.rate, run.eta, run.few_shot, run.imbalance)
        groups[(*_system(run), tuple(sorted(run.options.items())), *setting)].append(run)
    names = _Names(_variants(runs), _presets(runs), _noises(runs))
    pairs = [(_row(group, names), group) for group in groups.values()]
    return sorted(pairs, key=lambda pair: _order(pair[0]))


def spread(values: Iterable[float | None]) -> tuple[float | None, float | None]:
    """Mean and sample standard deviation (ddof = 1) of the values that are not None."""
    numbers = [value for value in values if value is not None]
    mean = statistics.fmean(numbers) if numbers else None
    return mean, statistics.stdev(numbers) if len(numbers) > 1 else None


def _system(run: Run) -> tuple[str, ...]:
    return run.dataset, run.cache_hash, run.method, run.preset


class _Names(NamedTuple):
    """What the names of rows depend on.

    Attributes:
        variants: options to name, of each method and preset.
        presets: methods whose preset is named.
        noises: kind of noise and the hash of its source -> its name.
    """

    variants: dict[tuple[str, str], set[str]]
    presets: set[str]
    noises: dict[tuple[str, str], str]


def _row(group: list[Run], names: _Names) -> Row:
    run = group[0]
    differing = sorted(names.variants[run.method, run.preset])
    variant = ", ".join(_option_text(run, key) for key in differing if not _is_elsewhere(run, key))
    preset = run.preset if run.method in names.presets else ""
    notes = ", ".join(part for part in (preset, variant) if part)
    row: Row = {
        "dataset": run.dataset,
        "cache_hash": run.cache_hash,
        "cache": _cache_name(group),
        "method": run.method,
        "preset": run.preset,
        "variant": variant,
        "label": f"{run.method} ({notes})" if notes else run.method,
        "noise": names.noises[run.noise, noise_source(run)],
        "rate": run.rate,
        "eta": run.eta,
        "few_shot": run.few_shot,
        "imbalance": run.imbalance,
        "n": len(group),
        "seeds": [seed_run.seed for seed_run in group],
    }
    for metric in METRICS:
        mean, deviation = spread(seed_run.metrics[metric] for seed_run in group)
        row[f"{metric}_mean"], row[f"{metric}_std"] = mean, deviation
    return row


def _cache_name(group: Sequence[Run]) -> str:
    """The name of the cache file, without folder and ending; '' if no record has it."""
    paths = (run.environment.get("cache", "") for run in group)
    return next((PureWindowsPath(path).stem for path in paths if path), "")


def _option_text(run: Run, key: str) -> str:
    """An option in a label; of a plugin its name, and the first digits of its source's hash."""
    value = run.options.get(key, "-")
    if not key.startswith(_PLUGIN):
        return f"{key}={value}"
    return f"{key.removesuffix('.source').partition(' ')[2]}={value[:8]}"


def _is_elsewhere(run: Run, key: str) -> bool:
    """Whether an option is the source of a plugin that the run does not use."""
    return key.startswith(_PLUGIN) and key not in run.options


def version_of(run: Run) -> str:
    """The version of a run's numbers, without what its method and labels count by themselves."""
    version, labels = run.options.get("results", ""), run.options.get("labels", "text")
    if not version.isdecimal():
        return version
    return str(int(version) - own_changes(run.method, run.settings, labels))


def _variants(runs: Sequence[Run]) -> dict[tuple[str, str], set[str]]:
    """The options in which the runs of a method and preset differ on any data set.

    They are named on all data sets, so that a row has the same label on each.
    """
    systems: dict[tuple[str, ...], list[Run]] = defaultdict(list)
    for run in runs:
        systems[_system(run)].append(run)
    variants: dict[tuple[str, str], set[str]] = defaultdict(set)
    for (*_, method, preset), alike in systems.items():
        names = set().union(*(run.options for run in alike))
        variants[method, preset] |= {key for key in names if _differs(key, alike)}
    return variants


def _differs(key: str, runs: Sequence[Run]) -> bool:
    """Whether an option tells some of these runs from others."""
    if key.startswith(_OF_NOISE):
        return False  # it is part of the setting
    if key == "results":
        return len({version_of(run) for run in runs}) > 1
    values = {run.options.get(key) for run in runs if not _is_elsewhere(run, key)}
    return len(values) > 1


def _noises(runs: Sequence[Run]) -> dict[tuple[str, str], str]:
    """The name of each kind of noise; of a plugin with several sources, with that source's hash.

    A plugin that was changed draws other candidate sets, so that it is another setting.
    """
    sources: dict[str, set[str]] = defaultdict(set)
    for run in runs:
        sources[run.noise].add(noise_source(run))
    return {
        (noise, source): f"{noise} ({source[:8]})" if len(hashes) > 1 and source else noise
        for noise, hashes in sources.items()
        for source in hashes
    }


def noise_source(run: Run) -> str:
    """The hash of the source of a run's noise; '' unless it is a plugin."""
    return run.options.get(f"{_OF_NOISE}{run.noise}.source", "")


def _presets(runs: Sequence[Run]) -> set[str]:
    """The methods that were also run with another preset than the default."""
    return {run.method for run in runs if run.preset not in ("", "default")}


def _order(row: Row) -> tuple[Any, ...]:
    rate = row["rate"]
    setting = (row["eta"], row["noise"], rate is not None, rate or 0.0)
    axes = (row["few_shot"], row["imbalance"])
    return row["dataset"], row["cache_hash"], *setting, *axes, row["method"] != "clip", row["label"]
