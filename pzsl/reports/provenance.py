"""Provenance of a row: features, options, versions, machine, date, and commands to reproduce it."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pzsl.reports.groups import Row, setting_of
from pzsl.reports.records import Run
from pzsl.reports.wording import setting_text
from pzsl.requests import TrainRequest

Pairs = Sequence[tuple[Row, list[Run]]]
_FACTS = {
    "device": "Device",
    "platform": "Machine",
    "python": "Python",
    "cache": "Cache file",
    "split_hash": "Split",
    "templates": "Prompts",
    "annotation.rule": "Rule of the annotation",
    "annotation.k": "Most labels by the rule",
}
"""Entry of a run's `env.json` -> its heading; `packages` and `encoder` are shown separately."""


def add_commands(pairs: Pairs) -> None:
    """Add `command` to each row: shell commands that reproduce its runs."""
    for row, runs in pairs:
        row["command"] = command_of(runs)


def command_of(runs: Sequence[Run]) -> str:
    """The commands that reproduce a row's runs, one for each range of consecutive seeds.

    All options are given, not only those that differ from the preset, so that the commands stay
    correct when defaults change.
    """
    run = runs[0]
    noise = run.plugins.get(f"candidates {run.noise}", run.noise)
    words = ["pzsl", "train", "--cache", run.environment.get("cache") or "CACHE"]
    words += ["--method", run.plugins.get(f"methods {run.method}", run.method)]
    words += ["--preset", run.preset] if run.preset else []
    words += ["--noise", noise] if noise else []
    words += ["--rate", f"{run.rate!r}"] if run.rate is not None and run.noise != "uss" else []
    words += ["--eta", f"{run.eta!r}"] if run.noise == "noisy" else []
    words += ["--few-shot", str(run.few_shot)] if run.few_shot else []
    words += ["--imbalance", f"{run.imbalance!r}"] if run.imbalance != 1 else []
    words += ["--labels", run.options["labels"]] if "labels" in run.options else []
    words += ["--device", run.options["device"]] if "device" in run.options else []
    words += _of_machine(run)
    for name, value in run.settings.items():
        at = run.plugins.get(f"methods {value}", value) if name == "classifier" else value
        words += ["--set", f"{name}={at}"]
    line = shlex.join(words)
    stretches = _stretches(run.seed for run in runs)
    return "\n".join(f"{line} --first-seed {first} --seeds {count}" for first, count in stretches)


def _of_machine(run: Run) -> list[str]:
    """What changes numbers beside the configuration: threads of a CPU, and what fits in memory."""
    threads, memory = (run.environment.get(name, "") for name in ("threads", "memory"))
    on_cpu = run.environment.get("device") == "cpu"
    words = ["--threads", threads] if on_cpu and threads not in ("", "1") else []
    usual = f"{TrainRequest.memory}"
    return [*words, "--memory", memory] if memory not in ("", usual) else words


def _stretches(seeds: Iterable[int]) -> Iterator[tuple[int, int]]:
    """First seed and length of each range of consecutive seeds."""
    starts: list[list[int]] = []
    for seed in sorted(set(seeds)):
        if starts and seed == sum(starts[-1]):
            starts[-1][1] += 1
        else:
            starts.append([seed, 1])
    return ((first, count) for first, count in starts)


def facts_of(row: Row, runs: Sequence[Run]) -> list[tuple[str, str]]:
    """Facts about a row's runs: data, encoder, options, versions, machine."""
    facts = [
        ("Data set", row["dataset"]),
        ("Encoder", _values(run.options.get("model", "") for run in runs)),
        ("Cache hash", row["cache_hash"]),
        ("Options that differ", row["variant"] or "none"),
        ("Seeds", ", ".join(map(str, row["seeds"]))),
        ("Finished", _period(run.environment.get("finished", "") for run in runs)),
        ("Versions", _values(map(_versions, runs))),
    ]
    for key, name in _FACTS.items():
        facts.append((name, _values(run.environment.get(key, "") for run in runs)))
    return [(name, value) for name, value in facts if value not in ("", "null")]


def _values(values: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(value for value in values if value))


def _period(times: Iterable[str]) -> str:
    """The first and the last of some UTC times (which sort as text)."""
    known_times = sorted(time for time in times if time)
    return " to ".join(dict.fromkeys((known_times[0], known_times[-1]))) if known_times else ""


def _versions(run: Run) -> str:
    packages = {k: v for k, v in run.environment.items() if k.startswith("packages.")}
    versions = [f"{key.removeprefix('packages.')} {value}" for key, value in packages.items()]
    versions += [f"results {number}"] if (number := run.options.get("results")) else []
    return ", ".join(versions)


def missing_runs(pairs: Pairs) -> list[dict[str, Any]]:
    """The rows that lack seeds which other rows of their setting have.

    Returns:
        Dicts with `dataset`, `label`, `setting` and the missing `seeds`.
    """
    seeds: dict[tuple[Any, ...], set[int]] = defaultdict(set)
    for row, _ in pairs:
        seeds[row["dataset"], row["cache_hash"], *setting_of(row)] |= set(row["seeds"])
    incomplete = []
    for row, _ in pairs:
        every = seeds[row["dataset"], row["cache_hash"], *setting_of(row)]
        if lacking := sorted(every - set(row["seeds"])):
            names = {"dataset": row["dataset"], "label": row["label"]}
            incomplete.append({**names, "setting": setting_text(row), "seeds": lacking})
    return incomplete
