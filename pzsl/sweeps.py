"""How far a sweep is: what is finished, running, waiting and failed, as a table that follows it."""

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
from pzsl.progress import printable, write_text
from pzsl.requests import is_plain_name

PLAN = "plan.json"
"""In a sweep's folder: method and preset of each of its runs by name, begun or not."""
EVERY, LOG_EVERY = 1.0, 60.0
"""Seconds between two drawings on a terminal, and between two lines of a log."""
BEGIN = 60.0
"""Seconds that a sweep may take until its first run shows, when it is watched."""
RECENT = 50
"""So many of the runs that finished last tell how fast it goes."""
SHOWN = ("S", "U", "H")
FINISHED, RUNNING, WAITING, FAILED = STATES = ("finished", "running", "waiting", "failed")


Plan = Mapping[str, tuple[str, str]]
"""Name of a run -> method and preset."""


class Look(NamedTuple):
    """One run as it is now.

    Attributes:
        label: method, and preset where it isn't the default one.
        state: one of `STATES`; a run that was interrupted counts as running.
        finished: when, in seconds since 1970; 0 for others.
        metrics: of a finished run.
    """

    label: str
    state: str
    finished: float = 0.0
    metrics: Mapping[str, Any] = {}


def write_plan(folder: Path, plan: Plan) -> None:
    """Write which runs a sweep is to have.

    Raises:
        OSError: the folder can't be written.
    """
    write_atomic(folder / PLAN, json.dumps({name: list(about) for name, about in plan.items()}))


def read_plan(path: Path) -> Plan:
    """The runs of a `plan.json`; none where it is damaged."""
    return {
        name: (str(words[0]), str(words[1]))
        for name, words in _json(path).items()
        if isinstance(words, list) and len(words) == 2 and is_plain_name(name)
    }


class Watch:
    """Looks at runs as often as wanted; finished ones are read once.

    Args:
        root: all runs below it are looked at.
        plan: of the one sweep in `root`, where only its runs are wanted.
    """

    def __init__(self, root: Path, plan: Plan | None = None) -> None:
        self.root, self.plan = root, plan
        self.since = time.time() if plan is not None else 0.0
        self.known: dict[Path, Look] = {}

    def look(self) -> list[Look]:
        """Every run that is planned or begun."""
        if self.plan is not None:
            return [self._look(self.root / name, *about) for name, about in self.plan.items()]
        runs: dict[Path, tuple[str, str]] = {}
        for path in sorted(self.root.rglob(PLAN)):
            self.since = max(self.since, path.stat().st_mtime)
            runs |= {path.parent / name: about for name, about in read_plan(path).items()}
        for path in sorted(self.root.rglob("config.json")):
            runs.setdefault(path.parent, ("", ""))
        return [self._look(folder, *about) for folder, about in runs.items()]

    def _look(self, folder: Path, method: str, preset: str) -> Look:
        if folder in self.known:
            return self.known[folder]
        if not method:
            about = _json(folder / "config.json")
            method, preset = str(about.get("method", "?")), str(about.get("preset", ""))
        label = printable(method if preset in ("", "default") else f"{method} ({preset})")
        metrics = folder / "metrics.json"
        if metrics.is_file():
            self.known[folder] = Look(label, FINISHED, metrics.stat().st_mtime, _json(metrics))
            return self.known[folder]
        if (folder / "failed.json").is_file():
            return Look(label, FAILED)
        return Look(label, RUNNING if (folder / "config.json").is_file() else WAITING)


def _json(path: Path) -> dict[str, Any]:
    """A JSON object, {} where there is none: what is wrong with it, the report tells."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def counts_text(looks: Sequence[Look], now: float, since: float = 0.0) -> str:
    """One line: how many runs are in which state, and when the last one should be done."""
    counts = {state: sum(look.state == state for look in looks) for state in STATES}
    parts = [f"{counts[FINISHED]} of {len(looks)} runs finished"]
    parts += [f"{counts[s]} {s}" for s in (RUNNING, WAITING, FAILED) if counts[s]]
    left = seconds_left(looks, now, since)
    if left is None:
        return ", ".join(parts)
    end = datetime.fromtimestamp(now) + timedelta(seconds=left)
    return f"{', '.join(parts)}; about {duration(left)} left, until {end:%H:%M}"


def seconds_left(looks: Sequence[Look], now: float, since: float = 0.0) -> float | None:
    """How long the rest will take at the pace of the runs that finished last; None if unknown.

    Args:
        looks: all runs. now: the time. since: when the sweep was begun, or gone on with; runs that
            finished before don't count. All in seconds since 1970.
    """
    left = sum(look.state in (RUNNING, WAITING) for look in looks)
    ends = sorted(x.finished for x in looks if x.state == FINISHED and x.finished >= since)
    starts = [since, *ends] if since else ends
    recent = starts[-RECENT - 1 :]
    if not left or len(recent) < 3 or recent[-1] <= recent[0]:
        return None
    pace = (recent[-1] - recent[0]) / (len(recent) - 1)
    return max(left * pace - max(now - recent[-1], 0.0), pace)


def duration(seconds: float) -> str:
    """A time in the two units that matter."""
    minutes, hours = round(seconds / 60), round(seconds / 3600)
    if seconds < 90:
        return f"{round(seconds)} s"
    if minutes < 120:
        return f"{minutes} min"
    if hours < 48:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{hours // 24} d {hours % 24} h"


def table_text(looks: Sequence[Look], now: float, since: float = 0.0) -> str:
    """A line for each method over all settings, with means of its finished runs; then the sum."""
    header = ["method", *STATES, *(f"mean {name}" for name in SHOWN)]
    labels = list(dict.fromkeys(look.label for look in looks))
    rows = [header, *(_line(label, [x for x in looks if x.label == label]) for label in labels)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(text.rjust(width) if at else text.ljust(width) for at, (text, width) in pairs)
        for pairs in (enumerate(zip(row, widths, strict=True)) for row in rows)
    ]
    return "\n".join([*lines, "", counts_text(looks, now, since)])


def _line(label: str, looks: Sequence[Look]) -> list[str]:
    counts = [str(sum(look.state == state for look in looks)) for state in STATES]
    return [label, *counts, *(_mean(look.metrics.get(name) for look in looks) for name in SHOWN)]


def _mean(values: Iterable[Any]) -> str:
    known = [value for value in values if isinstance(value, int | float)]
    return f"{statistics.fmean(known):.2f}" if known else "-"


class Board:
    """Draws the table over itself on a terminal; elsewhere writes a line every minute."""

    def __init__(self, stream: TextIO | None, label: str) -> None:
        self.stream, self.label = stream, label
        self.terminal = stream is not None and stream.isatty()
        self.height, self.told = 0, time.monotonic()
        if self.terminal and sys.platform == "win32":  # old consoles know no cursor movements
            with suppress(ImportError):
                from colorama import just_fix_windows_console

                just_fix_windows_console()

    def show(self, looks: Sequence[Look], since: float) -> None:
        """Draw how far it is now, or tell it if a minute has passed."""
        if self.terminal:
            text = table_text(looks, time.time(), since)
            back = f"\x1b[{self.height}F\x1b[J" if self.height else ""
            write_text(back + text, self.stream)
            self.height = text.count("\n") + 1
        elif time.monotonic() - self.told >= LOG_EVERY:
            self.told = time.monotonic()
            write_text(f"{self.label}: {counts_text(looks, time.time(), since)}", self.stream)


@contextmanager
def following(folder: Path, plan: Plan, stream: TextIO | None) -> Iterator[None]:
    """While the block runs, a thread follows the runs of a sweep on a `Board`."""
    ended, watch, board = threading.Event(), Watch(folder, plan), Board(stream, "train")

    def follow() -> None:
        while not ended.wait(EVERY):
            board.show(watch.look(), watch.since)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        if board.terminal:
            board.show(watch.look(), watch.since)


def follow_to_the_end(root: Path, stream: TextIO | None) -> list[Look]:
    """Follow the runs below a folder until none is running or waiting; returns them.

    A sweep that was started at the same moment needs a while for its first line: for `BEGIN`
    seconds, no run at all is not yet the end.
    """
    watch, board, began = Watch(root), Board(stream, "report"), time.monotonic()
    if not watch.look():
        write_text(f"report: no run in {root} yet; waiting up to {BEGIN:g} s", stream)
    while True:
        started = time.monotonic()
        looks = watch.look()
        if looks:
            board.show(looks, watch.since)
        waiting = not looks and time.monotonic() < began + BEGIN
        if not waiting and not any(look.state in (RUNNING, WAITING) for look in looks):
            return looks
        time.sleep(max(EVERY, 5 * (time.monotonic() - started)))
