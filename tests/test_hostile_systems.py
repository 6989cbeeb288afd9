"""Each command without the help of its system: locale, streams, home, room or memory."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_store_faults import mounted

from pzsl import extract, train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="streams and limits are set by sh"),
]

COMMANDS = {
    "extract": "extract --dataset folder --root {given}/photos --model tiny --out x.h5 --workers 1",
    "train": "train --cache {given}/c.h5 --method cc --rate 0.1 --seeds 1 --workers 1 --runs r",
    "report": "report {given}/runs --out report",
    "labels": "labels --run {run} --cache {given}/c.h5 --out labels.csv",
    "predict": "predict --run {run} --cache {given}/c.h5 {given}/photos/magpie",
    "export": "export {given}/c.h5 --out out.npz",
    "inspect": "inspect {given}/c.h5",
}
WELL = {
    "no locale": "LC_ALL=C {}",
    "ascii": "PYTHONIOENCODING=ascii {}",
    "no stdout": "{} >&-",
    "no stderr": "{} 2>&-",
    "neither": "{} >&- 2>&-",
    "no stdin": "{} <&-",
    "no home": "unset HOME; {}",
    "a home that is none": "HOME=/dev/null {}",
}
"""Where a command works as ever."""
ILL = {
    "ascii names": "LC_ALL=C PYTHONCOERCECLOCALE=0 PYTHONUTF8=0 {}",
    "small files": "ulimit -f 2; {}",
    "a full stdout": "{} >/dev/full",
    "little memory": "ulimit -v 400000; {}",
    "more memory": "ulimit -v 1500000; {}",
    "nearly enough": "ulimit -v 4000000; {}",
}
"""Where it may stop in one line."""


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """Photographs of classes, one with a Japanese name, their cache and a run."""
    folder, random = tmp_path_factory.mktemp("given"), np.random.default_rng(0)
    for number in range(24):
        file = folder / "photos" / ("日本の鷺", "magpie", "kestrel", "plover")[number % 4]
        file.mkdir(parents=True, exist_ok=True)
        picture = random.integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(picture).save(file / f"{number}.png")
    extract("folder", folder / "photos", out=folder / "c.h5", model="tiny")
    options = {"rate": 0.1, "seeds": 1, "workers": 1, "device": "cpu", "runs": folder / "runs"}
    train(folder / "c.h5", method="clip", **options)
    return folder


def run(command: str, how: str, given: Path, here: Path) -> subprocess.CompletedProcess[str]:
    """Run a command of the table in a folder, as a line of sh has it."""
    record = next(given.glob("runs/*/*/metrics.json")).parent
    words = COMMANDS[command].format(given=given, run=record)
    line = how.format(f"exec {sys.executable} -m pzsl {words}")
    line = line.replace("exec", "env" if line.startswith(("LC_ALL", "PYTHON", "HOME")) else "exec")
    root = str(Path(__file__).parents[1])
    return subprocess.run(
        ["sh", "-c", line],
        cwd=here,
        env=os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=500,
    )


def check(done: subprocess.CompletedProcess[str]) -> None:
    """Hold an end to the promise: done, or one line that says what was in the way."""
    told = done.stderr.strip().splitlines()
    assert done.returncode in (0, 1), (done.returncode, done.stderr[-1500:])
    assert "Traceback" not in done.stderr and "fault in pzsl" not in done.stderr, done.stderr
    assert "Exception ignored" not in done.stderr, done.stderr
    assert done.returncode == 0 or (told and told[-1].startswith("pzsl: ")), done.stderr


@pytest.mark.parametrize("how", WELL)
@pytest.mark.parametrize("command", COMMANDS)
def test_it_works_as_ever(command, how, given, tmp_path):
    done = run(command, WELL[how], given, tmp_path)
    check(done)
    assert done.returncode == 0, done.stderr
    assert done.stdout or "stdout" in how or how == "neither" or command == "extract"


@pytest.mark.parametrize("how", ILL)
@pytest.mark.parametrize("command", COMMANDS)
def test_it_ends_in_one_line(command, how, given, tmp_path):
    if how == "a full stdout" and not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    done = run(command, ILL[how], given, tmp_path)
    check(done)
    if how == "small files" and command in ("extract", "train", "labels", "export"):
        assert done.returncode == 1
        assert not [file for file in tmp_path.rglob("*") if file.name.endswith(".tmp")]


SMALL, READ_ONLY = "size=64k", "size=1m,ro"
FITTING = {SMALL: ("inspect", "predict", "labels", "export"), READ_ONLY: ("inspect", "predict")}
"""Commands that write nothing there, or no more than a small disk holds."""


@pytest.mark.parametrize("disk", FITTING)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_or_read_only_disk_ends_in_one_line(command, disk, given, tmp_path):
    for place in mounted(tmp_path / "poor", disk):
        done = run(command, "{}", given, place)
    check(done)
    assert done.returncode == (0 if command in FITTING[disk] else 1)


@pytest.mark.parametrize("command", ["inspect", "report"])
def test_a_reader_that_goes_away_is_no_fault(command, given, tmp_path):
    done = run(command, "{} | true", given, tmp_path)
    assert "Traceback" not in done.stderr and "fault in pzsl" not in done.stderr, done.stderr
    assert done.returncode in (0, 1, 128 + signal.SIGPIPE)
    shutil.rmtree(tmp_path / "report", ignore_errors=True)
