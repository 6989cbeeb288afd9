"""Killed at any moment, a command that is run again ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import caches
import numpy as np
import pytest
from killing import RUNS
from PIL import Image
from problems import write_cache
from quick_processes import run_python
from test_merge import write_part

from pzsl import train
from pzsl.encoders.openclip import PRESETS
from pzsl.exchange import export_any

HERE = Path(__file__).parent
TRIALS = 20
"""Of each command, half at audit events and half by the clock."""


def _extract(folder: Path) -> None:
    random = np.random.default_rng(0)
    for number in range(24):
        file = folder / "photos" / f"class {number % 4}" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(file)
    shutil.copy(PRESETS["tiny"].weights, folder / "tiny.safetensors")


def _merge(folder: Path) -> None:
    for shard in (1, 2, 3):
        write_part(folder / "x.h5", caches.header(22), shard, of=3)


def _import(folder: Path) -> None:
    caches.make(folder / "x.h5", caches.candidates(caches.header()))
    export_any(folder / "x.h5", folder / "x.npz", ["npz"])


def _cache(folder: Path) -> None:
    write_cache(folder / "c.h5", each=6)


def _run(folder: Path) -> None:
    """A finished run, with the files that the commands of a run replace."""
    _cache(folder)
    settings = {"epochs": 2, "min_steps": 4}
    train(folder / "c.h5", runs=folder / "runs", rate=0.1, seeds=1, workers=1, settings=settings)
    np.save(folder / "x.npy", np.random.default_rng(0).standard_normal((60, 16)).astype("f4"))
    for command in OF_RUNS:
        RUNS[command](folder)


OF_RUNS = ("pack", "predict", "labels", "report")
MAKERS = {
    **{"extract": _extract, "train": _cache, "merge": _merge},
    **{"annotate": _cache, "import": _import},
    **dict.fromkeys(OF_RUNS, _run),
}


def check(command: str, folder: Path, trials: int) -> None:
    """Hold so many kills of a command to the promise."""
    source = folder / "source"
    source.mkdir()
    MAKERS[command](source)
    words = [HERE / "killing.py", command, source, str(trials), "0"]
    done = run_python(*words, timeout=3600)
    assert done.returncode == 0, done.stderr[-3000:]
    first, *lines = map(json.loads, done.stdout.splitlines())
    assert first["result"] == "" and first["events"] > 3, first
    wrong = [line for line in lines if not line["equal"] or line["stale"]]
    assert not wrong, f"{len(wrong)} of {len(lines)}: {json.dumps(wrong[:4], indent=1)}"
    assert sum(line["killed"] == 9 for line in lines) >= len(lines) // 2
    assert len(lines) == trials


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_killed_import_leaves_nothing_behind(tmp_path):
    check("import", tmp_path, 2)


def test_a_pack_that_is_stopped_while_it_removes_the_old_folder_can_be_made_again(tmp_path):
    _run(tmp_path)
    whole, moved = RUNS["pack"](tmp_path), []

    def stop(folder, *_, **__):
        if Path(folder).name != "packed.partial" and Path(folder).exists():
            moved.append(folder)
            (Path(folder) / "SHA256SUMS").unlink()
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(shutil, "rmtree", stop)
        RUNS["pack"](tmp_path)
    assert moved
    assert RUNS["pack"](tmp_path) == whole
    assert not [file.name for file in tmp_path.iterdir() if file.name.startswith("packed.")]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("command", MAKERS)
def test_kills_change_no_result_and_leave_nothing_behind(command, tmp_path):
    check(command, tmp_path, TRIALS)
