"""How far a sweep is: counted from its folders, drawn on a terminal, written to a log."""

from __future__ import annotations

import io
import json
import threading
import time

import pytest
from records import CONFIG, write_run

from pzsl import sweep_progress
from pzsl.reports.records import read_runs
from pzsl.sweep_progress import (
    ProgressBoard,
    RunStatus,
    SweepWatcher,
    counts_text,
    duration,
    seconds_left,
    table_text,
)

NOW = 1_800_000_000.0


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


@pytest.fixture
def sweep(tmp_path):
    """Four planned runs: one finished, one failed, one begun, one waiting; and an older one."""
    plan = {f"cc-{number}": ("cc", "default") for number in range(3)}
    sweep_progress.write_plan(tmp_path / "sun", {**plan, "rc-0": ("rc", "paper")})
    write_run(tmp_path / "sun", "cc-0", {"method": "cc"}, {"H": 61.5})
    for name in ("cc-1", "cc-2"):
        (tmp_path / "sun" / name).mkdir()
        (tmp_path / "sun" / name / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "sun" / "cc-1" / "failed.json").write_text('{"reason": "diverged"}')
    write_run(tmp_path / "old", "a", {"method": "pop"})
    return tmp_path


def test_planned_begun_failed_and_finished_runs_are_told_apart(sweep):
    looks = SweepWatcher(sweep).run_statuses()
    assert sorted((look.label, look.state) for look in looks) == [
        ("cc", "failed"),
        ("cc", "finished"),
        ("cc", "running"),
        ("pop", "finished"),
        ("rc (paper)", "waiting"),
    ]
    text = table_text(looks, NOW)
    assert "2 of 5 runs finished, 1 running, 1 waiting, 1 failed" in text
    line = next(line for line in text.splitlines() if line.startswith("cc"))
    assert line.split() == ["cc", "1", "1", "0", "1", "60.00", "50.00", "61.50"]


def test_a_train_table_holds_its_own_runs_only(sweep):
    looks = SweepWatcher(sweep / "sun", {"cc-0": ("cc", ""), "new": ("able", "")}).run_statuses()
    assert [(look.label, look.state) for look in looks] == [("cc", "finished"), ("able", "waiting")]


def test_a_later_command_forgets_no_run_that_has_not_begun(sweep):
    """As of a sweep that was killed, or of jobs that share a folder; begun runs have folders."""
    sweep_progress.write_plan(sweep / "sun", {"able-0": ("able", "default")})
    plan = sweep_progress.read_plan(sweep / "sun" / "plan.json")
    assert plan == {"rc-0": ("rc", "paper"), "able-0": ("able", "default")}
    assert sorted(read_runs(sweep).waiting) == ["sun/able-0", "sun/cc-2", "sun/rc-0"]


@pytest.mark.parametrize(
    "content", ["", "[1]", '{"..": ["a", "b"]}', '{"a/b": ["a", "b"], "c": 3}']
)
def test_a_damaged_plan_names_no_runs(tmp_path, content):
    (tmp_path / "plan.json").write_text(content)
    assert SweepWatcher(tmp_path).run_statuses() == []


def looks_of(ends, left):
    return [RunStatus("cc", "finished", end) for end in ends] + [RunStatus("cc", "waiting")] * left


def test_the_estimate_goes_by_the_runs_that_finished_last():
    ends = [NOW - 10_000 + number for number in range(50)] + [
        NOW - 10.0 * number for number in range(51)
    ]
    assert seconds_left(looks_of(ends, 6), NOW) == pytest.approx(60.0)
    assert seconds_left(looks_of([NOW - 20, NOW - 10, NOW], 6), NOW + 5) == pytest.approx(55.0)
    assert seconds_left(looks_of([NOW - 10, NOW], 6), NOW) is None
    assert seconds_left(looks_of(ends, 0), NOW) is None


def test_runs_of_before_do_not_count_where_a_sweep_is_gone_on_with():
    ends = [NOW - 90_000 + number for number in range(100)] + [NOW + 30, NOW + 60]
    assert seconds_left(looks_of(ends, 4), NOW + 60, since=NOW) == pytest.approx(120.0)
    assert "about 2 min left, until " in counts_text(looks_of(ends, 4), NOW + 60, since=NOW)


def test_durations_have_the_units_that_matter():
    told = [duration(s) for s in (5.4, 89, 600, 3 * 3600 + 61, 50 * 3600)]
    assert told == ["5 s", "89 s", "10 min", "3 h 1 min", "2 d 2 h"]


def test_a_terminal_is_drawn_over_and_a_log_gets_a_line_a_minute(monkeypatch):
    terminal, log = Terminal(), io.StringIO()
    looks = [RunStatus("cc", "running")]
    board = ProgressBoard(terminal, "train")
    board.show(looks, 0.0)
    first = terminal.getvalue()
    board.show(looks, 0.0)
    assert first.count("\n") == 4 and "\x1b" not in first
    assert terminal.getvalue() == f"{first}\x1b[4F\x1b[J{first}"
    board = ProgressBoard(log, "train")
    board.show(looks, 0.0)
    assert log.getvalue() == ""
    monkeypatch.setattr(sweep_progress, "LOG_EVERY", 0.0)
    board.show(looks, 0.0)
    assert log.getvalue() == "train: 0 of 1 runs finished, 1 running\n"


def test_watching_ends_when_nothing_is_left(sweep, monkeypatch):
    monkeypatch.setattr(sweep_progress, "EVERY", 0.01)

    def finish():
        time.sleep(0.2)
        (sweep / "sun" / "cc-2" / "metrics.json").write_text("{}")
        write_run(sweep / "sun", "rc-0", {"method": "rc"})

    thread = threading.Thread(target=finish)
    thread.start()
    looks = sweep_progress.follow_to_the_end(sweep, None)
    thread.join()
    assert {look.state for look in looks} == {"finished", "failed"}
    assert len(looks) == 5


def test_watching_waits_a_while_for_a_sweep_that_has_not_begun(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep_progress, "EVERY", 0.01)
    thread = threading.Timer(0.2, write_run, (tmp_path / "late", "rc-0"))
    thread.start()
    told = io.StringIO()
    looks = sweep_progress.follow_to_the_end(tmp_path / "late", told)
    thread.join()
    assert [look.state for look in looks] == ["finished"]
    assert "no run in" in told.getvalue() and told.getvalue().count("waiting") == 1


def test_watching_an_empty_folder_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep_progress, "EVERY", 0.01)
    monkeypatch.setattr(sweep_progress, "BEGIN", 0.05)
    assert sweep_progress.follow_to_the_end(tmp_path, None) == []
