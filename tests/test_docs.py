"""README and docs: every command line exists, and every block of code is run or says why not."""

from __future__ import annotations

import csv
import importlib
import re
import shlex
from pathlib import Path

import pytest
from document_world import BEFORE, Reader, make_quick, make_world
from documents import REASONS, ROOT, blocks_of, documents
from typer.main import get_command

from pzsl import predict
from pzsl.cli import app

LINE = re.compile(r"^ {4}(pzsl .*)$", re.MULTILINE)
README, *DOCS = documents()
GUIDE = ROOT / "docs" / "guide.md"
RUN = ("shell", "python", "file")
APP = get_command(app)


def command_lines() -> list[str]:
    texts = [file.read_text(encoding="utf-8") for file in (README, *DOCS)]
    return list(dict.fromkeys(line for text in texts for line in LINE.findall(text)))


def parse(line: str) -> None:
    """Let the command line's own parser read a line, without doing what it says."""
    command, words, parent = APP, shlex.split(line, comments=True)[1:], None
    while hasattr(command, "resolve_command"):
        parent = command.make_context(command.name, list(words), parent=parent)
        if not words or words[0] not in command.list_commands(parent):
            assert command.invoke_without_command, f"no command: {line}"
            return
        _, command, words = command.resolve_command(parent, words)
    command.make_context(command.name, list(words), parent=parent)


def test_every_command_line_of_the_docs_is_understood():
    for line in command_lines():
        try:
            parse(line)
        except Exception as error:
            raise AssertionError(line) from error


@pytest.mark.parametrize(
    "line", ["pzsl train --caches x.h5", "pzsl trian", "pzsl export", "pzsl inspect a b"]
)
def test_the_check_itself_sees_what_it_should(line):
    with pytest.raises(
        (AssertionError, Exception), match=r"no command|[Nn]o such|[Mm]issing|unexp"
    ):
        parse(line)


def test_every_block_of_code_is_run_or_says_why_not():
    blocks = [block for file in (README, *DOCS) for block in blocks_of(file)]
    assert not [str(block) for block in blocks if block.kind == "unknown"]
    reasons = {block.mark for block in blocks if block.kind == "not run"}
    assert reasons == set(REASONS)


@pytest.fixture
def somebody(pzsl, tmp_path, monkeypatch) -> Reader:
    """Somebody in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PZSL_DATA", raising=False)
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    return Reader(pzsl)


@pytest.fixture
def reader(somebody, tmp_path, monkeypatch) -> Reader:
    """Somebody in a folder with all that the documents speak of."""
    make_world(tmp_path)
    make_quick(monkeypatch)
    return somebody


@pytest.mark.slow
@pytest.mark.parametrize(
    "file", [file for file in documents() if file != GUIDE], ids=lambda file: file.name
)
def test_what_a_document_says_is_done_as_printed(reader, file):
    for line in BEFORE.get(file.name, []):
        reader.run(line)
    for block in blocks_of(file):
        if block.kind in RUN:
            reader.do(block)
    if file == README:
        assert Path("report", "index.html").is_file() and Path("labels.csv").is_file()
        assert len(list(Path("runs", "shapes").glob("*/metrics.json"))) == 6  # of its Python lines


@pytest.mark.slow
def test_the_guide_begins_with_nothing_and_ends_with_the_right_answer(somebody):
    for block in blocks_of(GUIDE):
        somebody.do(block)
    before, after = (wrong_labels(Path(name)) for name in ("labels.csv", "corrected-labels.csv"))
    assert before["given"] > 60 and before["label"] <= 5
    assert after["given"] == before["given"] - 20 and after["label"] <= before["label"]
    answer = predict("model", ["new.png"], classes=["red plain square"])["images"][0]
    assert answer["classes"][0]["name"] == "red plain square"


def wrong_labels(table: Path) -> dict[str, int]:
    """How many labels of a table are not what was drawn, of the given ones and of those found."""
    with table.open(encoding="utf-8", newline="") as file:
        rows = [
            (row, Path(row["path"]).parent.name.replace("_", " ")) for row in csv.DictReader(file)
        ]
    return {key: sum(row[key] != truth for row, truth in rows) for key in ("given", "label")}


@pytest.mark.slow
def test_the_notebook_holds_the_guide_line_by_line(monkeypatch):
    pytest.importorskip("nbclient", reason="the docs' notebook: pip install 'pzsl[docs]'")
    monkeypatch.syspath_prepend(str(ROOT / ".site"))
    made = importlib.import_module("notebook").notebook_of(GUIDE.read_text(encoding="utf-8"))
    cells = [cell.source for cell in made.cells if cell.cell_type == "code"]
    lines = [line.removeprefix("!") for cell in cells for line in cell.splitlines()]
    assert lines == [line for block in blocks_of(GUIDE) for line in block.text.splitlines()]
