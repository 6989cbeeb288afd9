"""Two processes that write the same thing: each ends right or in one line, and nothing is left."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import test_kills
from problems import write_cache
from quick_processes import run_python

from pzsl import train
from pzsl.errors import UserError
from pzsl.store import load_cache
from pzsl.training.engines import job

HERE = Path(__file__).parent
PAIRS = 30
FORKS = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def _trained(folder: Path) -> None:
    write_cache(folder / "c.h5", each=6)
    np.save(folder / "new.npy", load_cache(folder / "c.h5").images[:5])
    options = {"rate": 0.1, "seeds": 1, "workers": 1, "device": "cpu", "runs": folder / "runs"}
    train(folder / "c.h5", method="clip", **options)


MAKERS = test_kills.MAKERS | {
    **{"export": test_kills._cache, "virtual": test_kills._merge},
    **dict.fromkeys(("report", "labels", "predict", "pack"), _trained),
}


def check(command: str, folder: Path, trials: int) -> None:
    """Hold so many pairs of a command to the promise."""
    source = folder / "source"
    source.mkdir()
    MAKERS[command](source)
    words = [HERE / "pairs.py", command, source, str(trials), "0"]
    done = run_python(*words, timeout=3600)
    assert done.returncode == 0, done.stderr[-3000:]
    first, *lines = map(json.loads, done.stdout.splitlines())
    assert first["alone"] is True, first
    assert len(lines) == trials
    wrong = [line for line in lines if not line["right"] or line["stale"]]
    assert not wrong, f"{len(wrong)} of {trials}: {json.dumps(wrong[:4], indent=1)}"


@FORKS
def test_two_trains_on_one_sweep_end_right(tmp_path):
    check("train", tmp_path, 2)


@pytest.mark.slow
@FORKS
def test_thirty_pairs_of_trains_on_one_sweep_end_right(tmp_path):
    check("train", tmp_path, PAIRS)


@pytest.mark.slow
@FORKS
@pytest.mark.parametrize("command", [name for name in MAKERS if name != "train"])
def test_pairs_of_all_that_writes_end_right(command, tmp_path):
    check(command, tmp_path, PAIRS // 3)


# --- a cache that becomes another one while a sweep trains on it ----------------------------------


def sweep(cache: Path, runs: Path) -> dict[int, float]:
    """H of each seed of a sweep of four runs."""
    settings = {"epochs": 3, "min_steps": 6, "calibrate": False}
    options = {"settings": settings, "workers": 1, "device": "cpu"}
    rows = train(cache, method="cc", rate=0.1, seeds=4, runs=runs, **options)["runs"]
    return {row["seed"]: row["H"] for row in rows}


def recorded(runs: Path) -> dict[int, tuple[str, float]]:
    """The cache's hash and H of each record there, by seed."""
    found = {}
    for file in runs.rglob("metrics.json"):
        config = json.loads(file.with_name("config.json").read_text())
        found[config["seed"]] = config["cache_hash"], json.loads(file.read_text())["H"]
    return found


@pytest.fixture(scope="module")
def old_and_new(tmp_path_factory) -> tuple[Path, Path, dict[int, float]]:
    """Two caches, and what a sweep on the first of them finds."""
    folder = tmp_path_factory.mktemp("caches")
    old, new = (write_cache(folder / f"{name}.h5", seed=seed) for seed, name in enumerate("ab"))
    return old, new, sweep(old, folder / "wanted")


@pytest.mark.parametrize("moment", range(5))
def test_a_cache_that_is_replaced_never_gives_its_numbers_to_the_old_hash(
    moment, old_and_new, tmp_path, monkeypatch
):
    old, new, wanted = old_and_new
    cache = tmp_path / "c.h5"
    shutil.copy(old, cache)
    count, plain, name = 0, job.open_cache, load_cache(old).fingerprint

    def replacing(path: str, wanted: str):  # before the first run opens it, or after the n-th has
        nonlocal count
        opened = plain(path, wanted) if moment else None
        count += 1
        if count == max(1, moment):
            shutil.copy(new, tmp_path / "scratch.h5")
            (tmp_path / "scratch.h5").replace(cache)
        return opened or plain(path, wanted)

    monkeypatch.setattr(job, "open_cache", replacing)
    if moment < 4:
        with pytest.raises(UserError, match="was replaced after this sweep began"):
            sweep(cache, tmp_path / "runs")
    else:  # after the last run has opened it
        sweep(cache, tmp_path / "runs")
    found = recorded(tmp_path / "runs")
    assert len(found) == moment
    assert found == {seed: (name, wanted[seed]) for seed in found}


def test_a_cache_that_is_written_into_is_reported(tmp_path, monkeypatch):
    old, new = (write_cache(tmp_path / f"{name}.h5", seed=seed) for seed, name in enumerate("ab"))
    plain = job.open_cache

    def copying(path: str, wanted: str):
        opened = plain(path, wanted)
        shutil.copyfile(new, old)  # into the very file, as cp does
        return opened

    monkeypatch.setattr(job, "open_cache", copying)
    with pytest.raises(UserError, match=r"a\.h5 was (written into while|replaced after)"):
        sweep(old, tmp_path / "runs")
    assert not recorded(tmp_path / "runs")
