"""The package as users get it: the wheel holds what the demo needs, and its facts agree."""

from __future__ import annotations

import ast
import csv
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import pzsl

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LARGEST = 8 * 2**20
"""Bytes of the wheel at most."""


def test_the_version_is_written_once():
    assert PROJECT["version"] == pzsl.__version__
    citation = (ROOT / "docs" / "CITATION.cff").read_text(encoding="utf-8")
    assert f"version: {pzsl.__version__}\n" in citation


def test_every_dependency_has_a_floor():
    without = [line for line in _declared() if ">=" not in line]
    assert set(without) <= {"pandas-stubs"}


def test_every_third_party_import_is_declared():
    """Whatever pzsl imports is a dependency or an extra, by the name that it is installed under."""
    named = {"PIL": "pillow", "open_clip": "open_clip_torch", "sklearn": "scikit-learn"}
    known = {"pzsl", *sys.stdlib_module_names, *OF_OTHERS}
    known |= {re.split(r"[\[>]", line)[0].replace("-", "_") for line in _declared()}
    found = {name for file in (ROOT / "pzsl").rglob("*.py") for name in _imports(file)}
    assert not {name for name in found if named.get(name, name).replace("-", "_") not in known}


def _imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def _declared() -> list[str]:
    extras = PROJECT["optional-dependencies"].values()
    return [*PROJECT["dependencies"], *(line for lines in extras for line in lines)]


OF_OTHERS = {"markupsafe", "colorama"}
"""Brought by dependencies of ours: by jinja2, and by tqdm on Windows."""


@pytest.mark.slow
def test_the_demo_runs_from_the_wheel_and_the_wheel_is_small(tmp_path):
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", tmp_path / "dist", ROOT], check=True)
    (wheel,) = (tmp_path / "dist").iterdir()
    assert wheel.stat().st_size < LARGEST
    names = zipfile.ZipFile(wheel).namelist()
    assert "pzsl/py.typed" in names and "pzsl/encoders/tiny.safetensors" in names
    site = tmp_path / "site"
    subprocess.run([*pip, "install", "--no-deps", "--target", site, wheel], check=True)
    code = (
        f"import sys; sys.path.insert(0, {str(site)!r})\n"
        f"import pzsl; assert pzsl.__file__.startswith({str(site)!r}), pzsl.__file__\n"
        "sys.argv = ['pzsl', 'demo', '--seeds', '1']\n"
        "if __name__ == '__main__':\n    from pzsl.cli import main; main()\n"
    )
    (tmp_path / "demo.py").write_text(code, encoding="utf-8")
    subprocess.run([sys.executable, "demo.py"], check=True, cwd=tmp_path, timeout=900)
    report = tmp_path / "demo" / "report"
    assert (report / "index.html").is_file()
    with (report / "runs.csv").open(encoding="utf-8", newline="") as file:
        h = {(row["method"], row["rate"]): float(row["H"]) for row in csv.DictReader(file)}
    assert all(h["clip-pzsl", rate] > h["clip", rate] + 18 for rate in ("0.1", "0.3", "0.5"))
