"""The bench of labels: figures of finding wrong ones, and what stands beside."""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import write_cache

from pzsl.bench import bench_labels, labels
from pzsl.bench.labels import Findings, area_under_roc, verdict
from pzsl.errors import UsageError, UserError


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=12))
@settings(max_examples=50, deadline=None)
def test_the_area_is_the_share_of_pairs_in_the_right_order(drawn):
    score, positive = (np.array(each) for each in zip(*drawn, strict=True))
    if positive.all() or not positive.any():
        return
    pairs = [(a > b) + (a == b) / 2 for a in score[positive] for b in score[~positive]]
    assert area_under_roc(score.astype(float), positive) == pytest.approx(np.mean(pairs))


def test_precision_and_recall_are_those_of_their_definitions():
    flagged = np.array([True, True, False, False, False])
    wrong = np.array([True, False, True, False, False])
    figures = verdict(Findings(flagged, np.array([0.9, 0.8, 0.7, 0.1, 0.2])), wrong)
    assert (figures["precision"], figures["recall"], figures["wrong"]) == (50, 50, 40)
    assert figures["AUROC"] == pytest.approx(100 * 5 / 6)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return write_cache(tmp_path_factory.mktemp("labels") / "toy.h5", each=40, spread=0.15)


def test_the_default_stands_beside_cleanlab(pzsl, cache, tmp_path, monkeypatch, capsys):
    """With a stand-in for cleanlab, which flags what its probabilities speak against."""
    pytest.importorskip("sklearn")
    place = np.arange
    quality = ModuleType("cleanlab.rank")
    quality.get_label_quality_scores = lambda label, p: p[place(len(label)), label]
    issues = ModuleType("cleanlab.filter")
    issues.find_label_issues = lambda label, p, n_jobs: p[place(len(label)), label] < 0.5
    for name, module in (("rank", quality), ("filter", issues)):
        monkeypatch.setitem(sys.modules, f"cleanlab.{name}", module)
    monkeypatch.setattr(labels, "find_spec", lambda name: name)
    rows = bench_labels([cache], tmp_path / "runs", seeds=1, workers=1)["rows"]
    assert [row["finder"] for row in rows] == [
        *("pzsl labels", "cleanlab, classifier", "cleanlab, frozen CLIP")
    ]
    own, classifier, frozen = rows
    assert own["precision"] > 95 and own["recall"] > 95 and own["AUROC"] > 99
    assert own["ECE"] < 0.03 and 10 < own["wrong"] < 30
    assert classifier["AUROC"] > 70 and frozen["AUROC"] > 90 and frozen["ECE"] is None
    monkeypatch.setattr(labels, "find_spec", lambda name: None)
    words = ["bench", "labels", "--cache", cache, "--runs", tmp_path / "runs", "--seeds", "1"]
    code, text, err = pzsl(*words, "--workers", "1")
    assert code == 0 and "pzsl labels" in text and "pip install 'pzsl[bench]'" in err


def test_what_is_wrong_with_the_request_is_said(cache):
    with pytest.raises(UsageError, match="needs caches"):
        bench_labels([])
    with pytest.raises(UsageError, match="above 0 and below 1"):
        bench_labels([cache], wrong=1.0)


def test_too_few_labels_to_compare_are_refused(cache, tmp_path):
    few = write_cache(tmp_path / "few.h5", seen=2, unseen=0, each=3)
    with pytest.raises(UserError, match="at least 50 training images"):
        bench_labels([few], runs=tmp_path / "runs", seeds=1, workers=1)
    with pytest.raises(UsageError, match="--seeds should be a whole number from 1"):
        bench_labels([cache], runs=tmp_path / "runs", seeds=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sun34", "caltech69"])
def test_few_wrong_labels_are_found_as_well(real_data, tmp_path, name):
    """Evidence that knew the image's own label found none of them, or two thirds."""
    from pzsl.exchange import import_npz

    cache = import_npz(real_data / "clip_features" / f"{name}.npz", tmp_path / f"{name}.h5")
    rows = bench_labels([cache], tmp_path / "runs", seeds=1, wrong=0.05, workers=1)["rows"]
    assert rows[0]["precision"] >= 98 and rows[0]["recall"] >= 93 and rows[0]["ECE"] <= 0.02
