"""The bench of memory: a whole run in a process of its own, reported with its peak."""

from __future__ import annotations

import sys
import tempfile
from types import SimpleNamespace

import numpy as np
import pytest
from quick_processes import run_python

from pzsl.bench import bench, load, memory
from pzsl.bench.load import CLASSES, write_rows
from pzsl.errors import UsageError, UserError
from pzsl.store import load_cache

ROWS = 1000


@pytest.fixture(autouse=True)
def _run_quickly(monkeypatch):
    """The processes of runs need not import torch anew."""

    def run(words, **_):
        return run_python(*words[1:])

    monkeypatch.setattr(memory, "subprocess", SimpleNamespace(run=run))


def test_the_generated_cache_has_unseen_classes_with_test_images_only(tmp_path):
    cache = load_cache(write_rows(tmp_path / "x.h5", 2000, unseen=20))
    assert cache.seen.sum() == CLASSES - 20
    assert set(cache.splits[cache.labels >= CLASSES - 20]) == {"test_unseen"}
    trained = np.unique(cache.labels[cache.splits == "trainval"])
    assert trained.tolist() == list(range(CLASSES - 20))


def test_a_run_tells_its_peak_and_leaves_nothing_behind(tmp_path, monkeypatch):
    pytest.importorskip("resource", reason="this system doesn't tell a process's memory")
    monkeypatch.setattr(memory, "QUICK", ROWS)
    monkeypatch.setattr(load, "DIM", 32)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    found = memory.measure_memory(quick=True)
    figures = found["figures"]
    imports, most = (
        figures[f"gibibytes resident, {when}"] for when in ("imports alone", "at most")
    )
    assert found["setting"]["rows"] == ROWS
    assert 0 < imports <= most < 4
    assert not list(tmp_path.glob("pzsl-bench-*"))


def test_a_run_on_many_classes_is_of_the_size_that_was_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "MANY_CLASSES_DIM", 16)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    found = memory.measure_memory(quick=True, classes=60, images=300)
    assert found["setting"] == {"rows": 300, "dimensions": 16, "classes": 60, "rate": 0.1}
    assert found["figures"]["CPU seconds of the run"] > 0


@pytest.mark.parametrize(
    ("parts", "sizes", "message"),
    [
        (["memory"], {"classes": 21}, "^--classes should be at least 22, not 21"),
        (["memory"], {"classes": 100, "images": 9}, "^--images should be at least 100, not 9"),
        (["memory"], {"images": 1000}, "^--images is for a run on many classes"),
        (["load"], {"classes": 100}, "^--classes is for one part: pzsl bench memory"),
    ],
)
def test_sizes_that_mean_nothing_are_refused_in_one_line(parts, sizes, message):
    with pytest.raises(UsageError, match=message):
        bench(parts, quick=True, **sizes)


def test_a_run_that_fails_is_reported_in_one_line(monkeypatch):
    failing = "import sys; sys.exit('Traceback (most recent call last):\\nUserError: no cache')"
    monkeypatch.setattr(memory, "QUICK", ROWS)
    monkeypatch.setattr(memory, "_command", lambda _: [sys.executable, "-c", failing])
    with pytest.raises(UserError, match=r"The run on 1,000 rows failed: UserError: no cache$"):
        memory.measure_memory(quick=True)
