"""A command that a message prints works when it is pasted into a shell, whatever its paths are."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import caches
import pytest
from problems import write_cache
from test_merge import write_part

import pzsl as api
from pzsl.cli import Commands
from pzsl.errors import UserError
from pzsl.progress import shell_word

SOURCES = sorted(Path(api.__file__).parent.rglob("*.py"))
COMMAND = re.compile(rf"pzsl ({'|'.join(Commands.entries)})( [\w.-]+)* $")
PLAIN = {"name", "alone", "parts", "result['repository']", "_dataset(path)", "_extract(result)"}
"""Values in printed commands that are no paths, and one that is a command's options."""


def unquoted(path: Path) -> list[str]:
    """Values that a text of this file puts into a command as they are."""
    found = []
    for text in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        before = ""
        for part in text.values if isinstance(text, ast.JoinedStr) else ():
            if isinstance(part, ast.FormattedValue):
                value = ast.unparse(part.value)
                if COMMAND.search(before) and not value.startswith(("shell_word(", "_report_of(")):
                    found.append(f"{path.name}: {value}")
                before += "x"
            elif isinstance(part, ast.Constant):
                before += str(part.value)
    return [line for line in found if line.split(": ")[1] not in PLAIN]


def test_no_printed_command_holds_a_path_as_it_is():
    assert [line for path in SOURCES for line in unquoted(path)] == []


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("cache/sun.h5", "cache/sun.h5"),
        ("my photos/c.h5", '"my photos/c.h5"'),
        ("it's.h5", '"it\'s.h5"'),
        ("a$HOME.h5", "'a$HOME.h5'"),
        ("", "''"),
    ],
)
def test_a_word_is_quoted_where_a_shell_needs_it(word, shown):
    assert shell_word(word) == shown and shlex.split(shown) == [word]


def printed(text: str) -> list[str]:
    """The words of the last command that a text prints."""
    return shlex.split(re.split(r"['(]?(?=pzsl [a-z]+ )", text)[-1].strip().rstrip(").'"))


def test_what_comes_next_is_named_with_its_paths(pzsl, tmp_path):
    cache = write_cache(tmp_path / "my photos.h5")
    _, out, _ = pzsl("annotate", "--cache", cache)
    assert printed(out)[2:4] == ["--cache", str(cache)]
    options = "--method", "clip", "--seeds", 1, "--workers", 1, "--rate", 0.1
    _, out, _ = pzsl("train", "--cache", cache, *options, "--runs", tmp_path / "my runs")
    assert printed(out) == ["pzsl", "report", str(tmp_path / "my runs")]
    _, out, _ = pzsl(*printed(out)[1:], "--out", tmp_path / "report", "--format", "csv")
    assert "1 finished run;" in out
    _, _, err = pzsl("report", tmp_path / "no runs")
    assert printed(err)[2:] == ["--cache", "CACHE", "--runs", str(tmp_path / "no runs")]


def test_the_usual_folder_of_runs_is_not_named(pzsl, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_cache(tmp_path / "c.h5")
    _, out, _ = pzsl("train", "--cache", "c.h5", "--method", "clip", "--seeds", 1, "--workers", 1)
    assert out.strip().endswith("next: pzsl report")


def test_a_part_is_answered_with_the_command_that_joins_all(pzsl, tmp_path):
    for shard in (1, 2):
        part = write_part(tmp_path / "my sun.h5", caches.header(22), shard, of=2)
    with pytest.raises(UserError, match="joins all of them") as error:
        api.train(part, method="clip", seeds=1)
    command = re.search("'(pzsl merge .*)' joins", str(error.value))
    assert command is not None
    assert pzsl(*shlex.split(command[1])[1:])[0] == 0
    assert (tmp_path / "my sun.h5").exists()


@pytest.mark.parametrize("noise", ["uniform", "file", "annotated"])
def test_images_without_a_label_are_answered_with_what_works(pzsl, tmp_path, noise):
    cache = write_cache(tmp_path / "my photos.h5", unlabelled=1)
    short = "--method", "clip", "--seeds", 1, "--workers", 1, "--runs", tmp_path / "runs"
    rate = ("--rate", 0.1) if noise == "uniform" else ()
    _, _, err = pzsl("train", "--cache", cache, *short, "--noise", noise, *rate)
    assert "--noise uniform" not in err and "--noise file" not in err
    command = re.search(r"\((pzsl annotate .*?)\)", err)
    assert command is not None
    assert pzsl(*shlex.split(command[1])[1:])[0] == 0
    _, _, err = pzsl("train", "--cache", cache, *short, "--noise", "uniform", "--rate", 0.1)
    assert err.strip().endswith("use those that CLIP made (--noise annotated).")
    assert pzsl("train", "--cache", cache, *short, "--noise", "annotated")[0] == 0


def test_sets_of_the_data_are_named_where_none_can_be_drawn(pzsl, tmp_path):
    cache = write_cache(tmp_path / "c.h5", candidates=True, unlabelled=1)
    short = "--method", "clip", "--seeds", 1, "--workers", 1, "--runs", tmp_path / "runs"
    _, _, err = pzsl("train", "--cache", cache, *short, "--noise", "uniform", "--rate", 0.1)
    assert err.strip().endswith("use those of the cache (--noise file).")
    assert pzsl("train", "--cache", cache, *short, "--noise", "file")[0] == 0
