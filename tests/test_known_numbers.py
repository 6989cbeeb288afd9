"""Stage two on real CLIP features: frozen CLIP's published-split numbers, and what is learned."""

from __future__ import annotations

from statistics import fmean

import pytest

from pzsl.exchange import import_npz
from pzsl.training import train


def mean_h(rows: list[dict], method: str) -> float:
    return fmean(row["H"] for row in rows if row["method"] == method)


def test_caltech_gains_over_frozen_clip(real_data, tmp_path):
    cache = import_npz(real_data / "clip_features" / "caltech69.npz", tmp_path / "caltech.h5")
    methods = ["clip", "clip-pzsl"]
    rows = train(cache, method=methods, rate=[0.3], seeds=1, runs=tmp_path, workers=1)["runs"]
    assert mean_h(rows, "clip") == pytest.approx(93.20, abs=0.05)
    assert mean_h(rows, "clip-pzsl") >= 94.5


@pytest.mark.slow
def test_imagenet_gains_over_frozen_clip(real_data, tmp_path):
    source = real_data / "clip_features" / "imagenet1k_fewshot.npz"
    cache = import_npz(source, tmp_path / "imagenet.h5")
    methods = ["clip", "clip-pzsl"]
    rows = train(cache, method=methods, rate=[0.1], seeds=3, runs=tmp_path)["runs"]
    assert mean_h(rows, "clip") == pytest.approx(60.68, abs=0.05)
    assert mean_h(rows, "clip-pzsl") >= 65.0
