"""Help that teaches: every command's help fits a terminal and ends with examples that work."""

from __future__ import annotations

import os
import re
from importlib.metadata import version
from pathlib import Path

import pytest
from test_docs import parse
from typer.main import get_command

from pzsl.cli import app

WIDTH = 80
SNAPSHOTS = Path(__file__).parent / "reference" / "help"
TYPER = "0.29"
"""Release that the snapshots were made with; others lay help out differently."""
RENEW = "PZSL_RENEW_HELP"
"""Set it to write the snapshots anew: PZSL_RENEW_HELP=1 pytest tests/test_help.py"""


def commands(group=None, path=()):
    """The path of every command, that of the whole first."""
    group = group or get_command(app)
    yield path
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*path, name))


EACH = pytest.mark.parametrize("path", list(commands()), ids=" ".join)


def snapshot(path):
    return SNAPSHOTS / f"{'-'.join(['pzsl', *path])}.txt"


def find(path):
    command = get_command(app)
    for name in path:
        command = command.commands[name]
    return command


@EACH
def test_help_fits_the_terminal_and_says_something_of_every_option(pzsl, monkeypatch, path):
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    code, out, err = pzsl(*path, "--help")
    assert code == 0 and err == ""
    assert max(len(line) for line in out.splitlines()) <= WIDTH
    listed = out.partition("\nCommands:\n")[2].splitlines()
    assert not any(line.endswith("...") for line in listed)
    assert "{" not in out.split("\n", 1)[1].replace("each with one {}", "")
    for param in find(path).params:
        assert getattr(param, "help", None), param.name
        assert re.search(r"[.\]]$", param.help.strip()), param.help


@EACH
def test_help_ends_with_examples_that_are_understood(pzsl, path):
    _, out, _ = pzsl(*path, "--help")
    assert "\nExamples:\n" in out, path
    examples = [line.strip() for line in out.split("\nExamples:\n")[1].splitlines()]
    assert 1 <= len(examples) <= 4
    assert any(example.startswith(" ".join(["pzsl", *path])) for example in examples)
    for example in examples:
        parse(example)


@pytest.mark.skipif(
    not version("typer").startswith(f"{TYPER}."), reason=f"help was looked at with typer {TYPER}"
)
@EACH
def test_help_is_as_it_was_looked_at(pzsl, monkeypatch, path):
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    _, out, _ = pzsl(*path, "--help")
    file = snapshot(path)
    if os.environ.get(RENEW):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(out, encoding="utf-8")
    assert out == file.read_text(encoding="utf-8"), f"renew it with {RENEW}=1 once it is meant"


def test_no_snapshot_is_of_a_command_that_is_gone():
    assert set(SNAPSHOTS.iterdir()) == {snapshot(path) for path in commands()}
