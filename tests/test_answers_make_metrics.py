"""What a user computes from the answers of `predict` is what the run's record says of them."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from problems import make_problem, write_cache

from pzsl import PartialLabelClassifier, load_cache, predict, train
from pzsl.methods import METHODS

SHORT = {"min_steps": 4, "epochs": 2}


def per_class(answers: np.ndarray, labels: np.ndarray) -> float:
    """Mean accuracy of the classes that occur, in percent."""
    return 100 * np.mean([np.mean(answers[labels == one] == one) for one in set(labels.tolist())])


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    edges = np.linspace(0, 1, 16)[1:-1]
    bins = np.digitize(confidence, edges)
    gaps = [(right - confidence)[bins == one].sum() for one in set(bins.tolist())]
    return float(np.abs(gaps).sum() / len(right))


def curve_area(scores: np.ndarray, labels: np.ndarray, seen: np.ndarray) -> float:
    """The area under U over S, with gamma half-way between neighbouring margins."""
    margins = np.unique(scores[:, seen].max(1) - scores[:, ~seen].max(1))
    between = (margins[1:] + margins[:-1]) / 2
    shown, points = seen[labels], []
    for gamma in [margins[0] - 1, *between, margins[-1] + 1]:
        best = (scores - gamma * seen).argmax(1)
        points.append([per_class(best[side], labels[side]) for side in (shown, ~shown)])
    s, u = np.array(points).T
    return float((s[1:] + s[:-1]) / 2 @ np.diff(u) / 100)


@pytest.mark.parametrize(
    ("method", "preset"),
    [
        *(("clip-pzsl", preset) for preset in ("default", "transductive")),
        *((name, "default") for name in ("conse", "gda", "transclip")),
    ],
)
def test_the_answers_to_the_test_images_have_the_metrics_of_the_record(tmp_path, method, preset):
    path = write_cache(tmp_path / "toy.h5", spread=0.5)
    given = {"rate": (0.3,), "seeds": 1, "workers": 1, "settings": SHORT, "preset": (preset,)}
    result = train(path, method=(method,), runs=tmp_path / "runs", **given)
    run, cache = Path(result["runs"][0]["path"]), load_cache(path)
    tests = np.flatnonzero(cache.splits != "trainval")
    np.save(tmp_path / "tests.npy", cache.images[tests])
    answers = predict(run, tmp_path / "tests.npy", top=len(cache.classes), error_rate=0.05)
    labels, seen, names = cache.labels[tests], cache.seen, list(cache.classes)
    scores, shares = np.zeros((2, len(tests), len(names)))
    for row, answer in enumerate(answers["images"]):
        for one in answer["classes"]:
            scores[row, names.index(one["name"])] = one["score"]
            shares[row, names.index(one["name"])] = one["probability"]
    best, shown = scores.argmax(1), seen[labels]
    likely = [answer["likely"] for answer in answers["images"]]
    covered = [names[label] in one for label, one in zip(labels, likely, strict=True)]
    s, u = per_class(best[shown], labels[shown]), per_class(best[~shown], labels[~shown])
    alone = np.flatnonzero(~seen)[scores[:, ~seen].argmax(1)]
    expected = {
        "S": s,
        "U": u,
        "H": 2 * s * u / (s + u),
        "T1": per_class(alone[~shown], labels[~shown]),
        "AUSUC": curve_area(scores, labels, seen),
        "coverage": 100 * np.mean(covered),
    }
    error = calibration_error(shares.max(1), best == labels)
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    assert 0 < metrics["H"] < 90  # nothing here is trivially right
    assert {name: metrics[name] for name in expected} == pytest.approx(expected, abs=2e-3)
    moved = 1.5 / len(tests)  # an image whose rounded probability falls into the next bin
    assert metrics["expected_calibration_error"] == pytest.approx(error, abs=moved)


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"oracle"}))
def test_scores_depend_on_the_images_of_the_call_alone_and_survive_a_file(method):
    """Other images between two calls, and another fit before this one, change nothing."""
    problem, _ = make_problem(images=96)
    images, labels = problem.images.numpy(), np.concatenate([problem.seen, problem.unseen])
    ends = problem.candidates.offsets.numpy()[1:-1]
    sets = [part.tolist() for part in np.split(problem.candidates.labels.numpy(), ends)]
    fitted = PartialLabelClassifier(method, options=SHORT, scale=20.0, device="cpu")
    first = fitted.fit(images, sets, labels).decision_function(images[:40])
    fitted.decision_function(images[40:45])
    assert np.array_equal(fitted.decision_function(images[:40]), first)
    copied = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(copied.decision_function(images[:40]), first)
    fitted.fit(images[::2], sets[::2], labels).fit(images, sets, labels)
    assert np.array_equal(fitted.decision_function(images[:40]), first)
