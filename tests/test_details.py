"""What a run records for the report's pictures agrees with its metrics, and stays small."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from problems import write_cache

from pzsl.evaluation import (
    best_gamma,
    class_hits,
    evaluate_summary,
    summarise,
    thin_curve,
    top_confusions,
)
from pzsl.store import load_cache
from pzsl.training import train


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Cache, details, metrics and history of a run of `clip-pzsl` and one of `clip`."""
    root = tmp_path_factory.mktemp("details")
    cache = load_cache(write_cache(root / "toy.h5"))
    found = train(
        root / "toy.h5",
        method=["clip", "clip-pzsl"],
        rate=[0.4],
        seeds=1,
        settings={"min_steps": 6},
        runs=root / "runs",
        workers=1,
    )
    runs = {}
    for row in found["runs"]:
        folder = Path(row["path"])
        lines = (folder / "history.jsonl").read_text().splitlines()
        details = json.loads((folder / "details.json").read_text())
        runs[row["method"]] = (details, row, [json.loads(line) for line in lines])
    return cache, runs


@pytest.mark.parametrize("method", ["clip", "clip-pzsl"])
def test_hits_by_class_give_s_and_u(recorded, method):
    cache, runs = recorded
    details, metrics, _ = runs[method]
    classes = {key: np.array(value) for key, value in details["classes"].items()}
    assert classes["name"].tolist() == list(cache.classes)
    train_rows = np.array(cache.splits) == "trainval"
    counts = np.bincount(cache.labels[train_rows], minlength=len(cache.classes))
    assert classes["train"].tolist() == counts.tolist()
    for metric, side in (("S", 1), ("U", 0)):
        some = (classes["seen"] == side) & (classes["test"] > 0)
        accuracy = 100 * (classes["hits"][some] / classes["test"][some]).mean()
        assert accuracy == pytest.approx(metrics[metric])
    wrong = classes["test"].sum() - classes["hits"].sum()
    assert sum(count for _, _, count in details["confusions"]) == wrong  # few pairs: all are here


@pytest.mark.parametrize("method", ["clip", "clip-pzsl"])
def test_the_watched_weights_end_where_the_label_weights_do(recorded, method):
    _, runs = recorded
    details, _, history = runs[method]
    assert len(details["images"]) == 6
    for number, image in enumerate(details["images"]):
        assert 2 <= len(image["candidates"]) <= 8 and image["truth"] == image["candidates"][0]
        assert len(image["weights"]) == len(image["candidates"])
        assert 0 < sum(image["weights"]) <= 1.001
        assert all(len(e["weights"][number]) == len(image["weights"]) for e in history)


def test_the_map_holds_the_label_embeddings_of_trained_adapters_only(recorded):
    cache, runs = recorded
    assert runs["clip"][0]["map"] is None or runs["clip"][0]["map"]["class"]
    found = runs["clip-pzsl"][0]["map"]
    assert sorted(found["class"]) == list(range(len(cache.classes)))
    assert np.shape(found["before"]) == np.shape(found["after"]) == (len(cache.classes), 2)
    assert found["before"] != found["after"]


def test_confusions_hits_and_curve_equal_a_slow_reference():
    rng = np.random.default_rng(0)
    seen = np.arange(9) < 6
    labels = rng.integers(-1, 9, 300)
    summary = summarise(rng.normal(size=(300, 9)) + 2 * np.eye(9)[labels], labels, seen)
    scores = np.full((300, 9), -np.inf)
    for i in range(300):
        scores[i, summary.seen_class[i]] = summary.seen_score[i] - 0.3
        scores[i, summary.unseen_class[i]] = summary.unseen_score[i]
    predicted = scores.argmax(1)
    pairs: dict[tuple[int, int], int] = {}
    for label, answer in zip(labels.tolist(), predicted.tolist(), strict=True):
        if label >= 0 and label != answer:
            pairs[label, answer] = pairs.get((label, answer), 0) + 1
    top = top_confusions(summary, 0.3, 5)
    assert [count for *_, count in top] == sorted(pairs.values(), reverse=True)[:5]
    assert all(pairs[first, second] == count for first, second, count in top)
    images, hits = class_hits(summary, 0.3, 9)
    assert images.tolist() == [(labels == c).sum() for c in range(9)]
    assert hits.tolist() == [((labels == c) & (predicted == c)).sum() for c in range(9)]
    s, u = thin_curve(summary, 40)
    assert len(s) == len(u) <= 41 and s == sorted(s, reverse=True) and u == sorted(u)
    area = sum((s[i] + s[i + 1]) / 2 * (u[i + 1] - u[i]) / 100 for i in range(len(s) - 1))
    assert area == pytest.approx(evaluate_summary(summary)["AUSUC"], abs=0.5)


@pytest.mark.parametrize("seed", range(5))
def test_the_thinned_curve_keeps_its_highest_h(seed):
    """It is what the chosen gamma is compared with."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 9, 300)
    scores = rng.normal(size=(300, 9)) + 1.5 * np.eye(9)[labels]
    summary = summarise(scores, labels, np.arange(9) < 6)
    best = best_gamma(scores, labels, np.arange(9) < 6)
    s, u = map(np.array, thin_curve(summary, 10))
    h = (2 * s * u / np.maximum(s + u, 1e-9)).max()
    assert h == pytest.approx(evaluate_summary(summary, best)["H"], abs=1e-3)
