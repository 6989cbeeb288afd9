"""Progress of a sweep: a table of finished, running, waiting and failed runs that updates."""

from __future__ import annotations

import json
import statistics
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from pzsl.files import write_atomic
from pzsl.folders import files_called
from pzsl.locks import alone_in
from pzsl.progress import printable, write_text
from pzsl.requests import is_plain_name

PLAN = "plan.json"
"""File in a sweep's folder: name of each planned run -> its method and preset."""
EVERY, LOG_EVERY = 1.0, 60.0
"""Seconds between two updates on a terminal, and between two lines in a log."""
BEGIN = 60.0
"""Seconds to wait for the first run of a sweep that is watched."""
RECENT = 50
"""The pace is estimated from this many of the last finished runs."""
SHOWN = ("S", "U", "H")
FINISHED, RUNNING, WAITING, FAILED = STATES = ("finished", "running", "waiting", "failed")


Plan = Mapping[str, tuple[str, str]]
"""Name of a run -> method and preset."""


class RunStatus(NamedTuple):
    """The current state of a run.

    Attributes:
        label: method, and preset unless it is the default.
        state: one of `STATES`; an interrupted run counts as running.
        finished: time at which it finished, in seconds since 1970; 0 if it hasn't.
        metrics: of a finished run.
    """

    label: str
    state: str
    finished: float = 0.0
    metrics: Mapping[str, Any] = {}


def write_plan(folder: Path, plan: Plan) -> None:
    """Write the planned runs of a sweep into its folder.

    Runs that another command planned there and that have not begun stay planned: it may have been
    stopped, or be one of several jobs that share the folder.

    Raises:
        OSError: the folder can't be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with alone_in(folder):
        runs = {
            name: about
            for name, about in read_plan(folder / PLAN).items()
            if not (folder / name / "config.json").exists()
        }
        runs |= plan
        write_atomic(folder / PLAN, json.dumps({name: list(about) for name, about in runs.items()}))


def read_plan(path: Path) -> Plan:
    """The runs of a `plan.json`; none if it is damaged."""
    return {
        name: (str(words[0]), str(words[1]))
        for name, words in _json(path).items()
        if isinstance(words, list) and len(words) == 2 and is_plain_name(name)
    }


class SweepWatcher:
    """Reads the state of runs again and again; finished runs are read only once.

    Args:
        root: folder of the runs, at any depth.
        plan: runs of the one sweep in `root`; None watches all runs below it.
    """

    def __init__(self, root: Path, plan: Plan | None = None) -> None:
        self.root, self.plan = root, plan
        self.since = time.time() if plan is not None else 0.0
        self.finished: dict[Path, RunStatus] = {}

    def run_statuses(self) -> list[RunStatus]:
        """The status of every run that is planned or has begun."""
        if self.plan is not None:
            return [self._status(self.root / name, *about) for name, about in self.plan.items()]
        runs: dict[Path, tuple[str, str]] = {}
        for path in files_called(PLAN, self.root):
            self.since = max(self.since, path.stat().st_mtime)
            runs |= {path.parent / name: about for name, about in read_plan(path).items()}
        for path in files_called("config.json", self.root):
            runs.setdefault(path.parent, ("", ""))
        return [self._status(folder, *about) for folder, about in runs.items()]

    def _status(self, folder: Path, method: str, preset: str) -> RunStatus:
        if folder in self.finished:
            return self.finished[folder]
        if not method:
            about = _json(folder / "config.json")
            method, preset = str(about.get("method", "?")), str(about.get("preset", ""))
        label = printable(method if preset in ("", "default") else f"{method} ({preset})")
        metrics = folder / "metrics.json"
        if metrics.is_file():
            self.finished[folder] = RunStatus(
                label, FINISHED, metrics.stat().st_mtime, _json(metrics)
            )
            return self.finished[folder]
        if (folder / "failed.json").is_file():
            return RunStatus(label, FAILED)
        return RunStatus(label, RUNNING if (folder / "config.json").is_file() else WAITING)


def _json(path: Path) -> dict[str, Any]:
    """Read a JSON object; {} if the file is missing or damaged, which the report will mention."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def counts_text(runs: Sequence[RunStatus], now: float, since: float = 0.0) -> str:
    """One line: the number of runs in each state, and when the last one should finish."""
    counts = {state: sum(run.state == state for run in runs) for state in STATES}
    parts = [f"{counts[FINISHED]} of {len(runs)} runs finished"]
    parts += [f"{counts[s]} {s}" for s in (RUNNING, WAITING, FAILED) if counts[s]]
    remaining = seconds_left(runs, now, since)
    if remaining is None:
        return ", ".join(parts)
    end = datetime.fromtimestamp(now) + timedelta(seconds=remaining)
    return f"{', '.join(parts)}; about {duration(remaining)} left, until {end:%H:%M}"


def seconds_left(runs: Sequence[RunStatus], now: float, since: float = 0.0) -> float | None:
    """Seconds until all runs are done, at the pace of the last finished runs; None if unknown.

    Args:
        runs: all runs. now: the current time. since: when the sweep was started or resumed; runs
            that finished earlier don't count. Times are in seconds since 1970.
    """
    remaining = sum(run.state in (RUNNING, WAITING) for run in runs)
    ends = sorted(x.finished for x in runs if x.state == FINISHED and x.finished >= since)
    starts = [since, *ends] if since else ends
    recent = starts[-RECENT - 1 :]
    if not remaining or len(recent) < 3 or recent[-1] <= recent[0]:
        return None
    pace = (recent[-1] - recent[0]) / (len(recent) - 1)
    return max(remaining * pace - max(now - recent[-1], 0.0), pace)


def duration(seconds: float) -> str:
    """A duration in its one or two largest units."""
    minutes, hours = round(seconds / 60), round(seconds / 3600)
    if seconds < 90:
        return f"{round(seconds)} s"
    if minutes < 120:
        return f"{minutes} min"
    if hours < 48:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{hours // 24} d {hours % 24} h"


def table_text(runs: Sequence[RunStatus], now: float, since: float = 0.0) -> str:
    """One line per method with the means of its finished runs over all settings; then totals."""
    header = ["method", *STATES, *(f"mean {name}" for name in SHOWN)]
    labels = list(dict.fromkeys(run.label for run in runs))
    rows = [header, *(_line(label, [x for x in runs if x.label == label]) for label in labels)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(text.rjust(width) if at else text.ljust(width) for at, (text, width) in pairs)
        for pairs in (enumerate(zip(row, widths, strict=True)) for row in rows)
    ]
    return "\n".join([*lines, "", counts_text(runs, now, since)])


def _line(label: str, runs: Sequence[RunStatus]) -> list[str]:
    counts = [str(sum(run.state == state for run in runs)) for state in STATES]
    return [label, *counts, *(_mean(run.metrics.get(name) for run in runs) for name in SHOWN)]


def _mean(values: Iterable[Any]) -> str:
    numbers = [value for value in values if isinstance(value, int | float)]
    return f"{statistics.fmean(numbers):.2f}" if numbers else "-"


class ProgressBoard:
    """Updates the table in place on a terminal; elsewhere writes one line per minute."""

    def __init__(self, stream: TextIO | None, label: str) -> None:
        self.stream, self.label = stream, label
        self.terminal = stream is not None and stream.isatty()
        self.height, self.last_line = 0, time.monotonic()
        if self.terminal and sys.platform == "win32":  # old consoles know no cursor movements
            with suppress(ImportError):
                from colorama import just_fix_windows_console

                just_fix_windows_console()

    def show(self, runs: Sequence[RunStatus], since: float) -> None:
        """Redraw the table; without a terminal, write a line if a minute has passed."""
        if self.terminal:
            text = table_text(runs, time.time(), since)
            back = f"\x1b[{self.height}F\x1b[J" if self.height else ""
            write_text(back + text, self.stream)
            self.height = text.count("\n") + 1
        elif time.monotonic() - self.last_line >= LOG_EVERY:
            self.last_line = time.monotonic()
            write_text(f"{self.label}: {counts_text(runs, time.time(), since)}", self.stream)


@contextmanager
def following(folder: Path, plan: Plan, stream: TextIO | None) -> Iterator[None]:
    """While the block runs, a thread shows the progress of a sweep on a `ProgressBoard`."""
    ended, watcher, board = (
        threading.Event(),
        SweepWatcher(folder, plan),
        ProgressBoard(stream, "train"),
    )

    def follow() -> None:
        while not ended.wait(EVERY):
            board.show(watcher.run_statuses(), watcher.since)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        if board.terminal:
            board.show(watcher.run_statuses(), watcher.since)


def follow_to_the_end(root: Path, stream: TextIO | None) -> list[RunStatus]:
    """Show the progress of the runs below a folder until none is running or waiting.

    A sweep that was started at the same moment has no run yet, so for `BEGIN` seconds a folder
    without runs is not yet the end.
    """
    watcher, board, began = SweepWatcher(root), ProgressBoard(stream, "report"), time.monotonic()
    if not watcher.run_statuses():
        where = printable(str(root))
        write_text(f"report: no run in {where} yet; waiting up to {BEGIN:g} s", stream)
    while True:
        started = time.monotonic()
        runs = watcher.run_statuses()
        if runs:
            board.show(runs, watcher.since)
        waiting = not runs and time.monotonic() < began + BEGIN
        if not waiting and not any(run.state in (RUNNING, WAITING) for run in runs):
            return runs
        time.sleep(max(EVERY, 5 * (time.monotonic() - started)))
