"""The public functions answer alike whatever the caller has set in torch, and set it back."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import current_process
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from problems import write_cache
from quick_processes import run_python

import pzsl as api
from pzsl.datasets.published.mat_process import _process
from pzsl.errors import UserError
from pzsl.training.engines.sweep import default_workers

LOGGED = """
import logging, sys, pzsl
pzsl.extract("folder", sys.argv[1], out=sys.argv[2], model="tiny", test=0.5)
print(logging.root.handlers)
"""


@contextmanager
def other_defaults() -> Iterator[None]:
    """A caller's block in which torch makes doubles, on a device that computes nothing."""
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run on made vectors, a packed one, vectors to predict and a correction."""
    folder = tmp_path_factory.mktemp("callers")
    cache = write_cache(folder / "c.h5")
    options = {"settings": {"epochs": 2, "min_steps": 4}, "rate": 0.3, "seeds": 1, "workers": 1}
    sweep = api.train(cache, method="clip-pzsl", **options, runs=folder / "runs")
    first = api.load_cache(cache)
    np.save(folder / "x.npy", first.images[:7])
    correction = f"path,label\n{first.paths[0]},class 1\n"
    (folder / "corrections.csv").write_text(correction)
    api.pack(sweep["runs"][0]["path"], folder / "packed")
    return Path(sweep["runs"][0]["path"])


def rows(file: Path) -> list[Any]:
    with file.open(newline="") as lines:
        return [*csv.reader(lines)]


def trained(run: Path, out: Path) -> Any:
    settings = json.loads((run / "config.json").read_text())["options"]
    given = {"rate": 0.3, "seeds": 1, "workers": 1, "settings": settings, "runs": out}
    row = api.train(run.parents[2] / "c.h5", method="clip-pzsl", **given)["runs"][0]
    return {key: row[key] for key in ("S", "U", "AUSUC", "gamma", "disambiguation")}


def packed(run: Path, out: Path) -> Any:
    api.pack(run, out / "packed")
    return sorted((file.name, file.stat().st_size) for file in (out / "packed").iterdir())


def predicted(run: Path, _: Path) -> Any:
    folder = run.parents[2]
    return [api.predict(of, [folder / "x.npy"])["images"] for of in (run, folder / "packed")]


def labels(run: Path, out: Path) -> Any:
    api.labels(run, out / "l.csv")
    return rows(out / "l.csv")


def refined(run: Path, out: Path) -> Any:
    api.refine(run, out / "l.csv")
    return rows(out / "l.csv")


def corrected(run: Path, out: Path) -> Any:
    api.apply_corrections(run.parents[2] / "corrections.csv", run, out / "t.csv")
    return rows(out / "t.csv")


def annotated(run: Path, out: Path) -> Any:
    return api.annotate(run.parents[2] / "c.h5", rule="topk", out=out / "a.csv")["worst_class"]


CALLS: dict[str, Callable[[Path, Path], Any]] = {
    call.__name__: call
    for call in (trained, packed, predicted, labels, refined, corrected, annotated)
}


@pytest.mark.parametrize("call", CALLS)
def test_what_the_caller_set_changes_no_answer_and_stays(call, run, tmp_path):
    for name in ("usual", "set", "inference"):
        (tmp_path / name).mkdir()
    expected = CALLS[call](run, tmp_path / "usual")
    with other_defaults():
        assert CALLS[call](run, tmp_path / "set") == expected
        assert torch.get_default_dtype() == torch.float64
        assert torch.get_default_device() == torch.device("meta")
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert CALLS[call](run, tmp_path / "inference") == expected
        assert torch.is_inference_mode_enabled() and torch.is_autocast_enabled("cpu")


def test_a_process_of_a_pool_trains_by_itself(run, tmp_path, monkeypatch):
    """It is daemonic, and Python lets such a process start no others."""
    monkeypatch.setattr("pzsl.training.engines.sweep.cores", lambda: 4)
    options = {"method": "clip", "rate": 0.3, "seeds": 2, "runs": tmp_path / "r"}
    monkeypatch.setitem(current_process()._config, "daemon", True)  # type: ignore[attr-defined]
    assert default_workers(torch.device("cpu"), runs=9) == 1
    assert len(api.train(run.parents[2] / "c.h5", **options)["runs"]) == 2
    with pytest.raises(UserError, match=r"daemonic process.*: give workers=1"):
        api.train(run.parents[2] / "c.h5", **options | {"seeds": 4}, workers=2)
    _process.cache_clear()
    with pytest.raises(UserError, match="daemonic process"):
        _process()


def test_an_extraction_leaves_logging_to_the_caller(tmp_path):
    """A handler that a library gives the root logger would undo `logging.basicConfig` later."""
    for number in range(8):
        file = tmp_path / "photos" / "abcd"[number % 4] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (30 * number, 9, 9)).save(file)
    done = run_python("-c", LOGGED, tmp_path / "photos", tmp_path / "x.h5")
    assert done.stdout.strip() == "[]", done.stderr
