"""The scripts of the docs and README's lines of Python, saved to a file: with a main guard or not.

Processes of pzsl don't run the script that began them again: none needs a guard.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from documents import ROOT, blocks_of

from pzsl import extract

EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.py"))
SECONDS = 900
NAMES = "from document_world import given_names\n\nglobals().update(given_names())\n"
"""Before README's lines: arrays that they speak of without making them."""


def test_each_kind_of_user_has_an_example():
    assert [file.stem for file in EXAMPLES] == ["cluster", "practitioner", "researcher"]
    assert not [file.name for file in EXAMPLES if "__main__" in file.read_text(encoding="utf-8")]


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    """The drawings' cache, which two of the scripts begin with."""
    file = tmp_path_factory.mktemp("drawings") / "shapes.h5"
    extract(dataset="shapes", out=file)
    return file


def guarded(text: str) -> str:
    body = textwrap.indent(text, "    ")
    return f'def main():\n{body}\n\nif __name__ == "__main__":\n    main()\n'


def run_script(folder: Path, text: str) -> str:
    script = folder / "script.py"
    script.write_text(text, encoding="utf-8")
    paths = {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests")))}
    done = subprocess.run(
        [sys.executable, script.name],
        cwd=folder,
        env={**os.environ, **paths},
        capture_output=True,
        check=False,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def readme_lines() -> str:
    blocks = [block for block in blocks_of(ROOT / "README.md") if block.kind == "python"]
    return "\n".join([NAMES, *(block.text for block in blocks)])


@pytest.mark.slow
@pytest.mark.parametrize("guard", [False, True], ids=["plain", "guarded"])
@pytest.mark.parametrize("name", ["README", *(file.stem for file in EXAMPLES)])
def test_a_script_does_its_work_with_or_without_a_main_guard(name, guard, cache, tmp_path):
    if name in ("README", "researcher"):
        (tmp_path / "cache").mkdir()
        shutil.copy(cache, tmp_path / "cache" / "shapes.h5")
    file = ROOT / "docs" / "examples" / f"{name}.py"
    text = readme_lines() if name == "README" else file.read_text(encoding="utf-8")
    told = run_script(tmp_path, guarded(text) if guard else text)
    if name == "practitioner":
        assert "new.png: red plain square" in told.splitlines()[-2]
    else:
        runs = {"README": 6, "cluster": 2, "researcher": 12}[name]
        assert len(list((tmp_path / "runs" / "shapes").glob("*/metrics.json"))) == runs
