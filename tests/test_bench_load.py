"""The bench of loading: what it writes is a cache, and what it measures is all there."""

from __future__ import annotations

import tempfile

import numpy as np

from pzsl.bench import PARTS, load
from pzsl.store import load_cache


def test_the_generated_rows_are_a_valid_cache(tmp_path):
    cache = load_cache(load.write_rows(tmp_path / "x.h5", load.BLOCK + 5))
    assert cache.images.shape == (load.BLOCK + 5, load.DIM)
    assert isinstance(cache.images, np.memmap)


def test_it_tells_times_and_ratio_and_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(load, "QUICK", 3000)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert PARTS["load"].function == "pzsl.bench.load:measure_load"
    found = load.measure_load(quick=True)
    assert found["setting"] == {"rows": 3000, "dimensions": 512, "megabytes": 3000 * 512 * 4 / 1e6}
    times = found["figures"]
    assert all(value > 0 for value in times.values())
    ratio = times["milliseconds to load"] / times["milliseconds to copy in memory"]
    assert found["ratios"] == {"time to load, copy = 1": ratio}
    assert not list(tmp_path.iterdir())
