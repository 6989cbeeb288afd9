"""Probabilities that mean what they say: temperature, calibration error, conformal sets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from problems import write_cache

from pzsl import predict, train
from pzsl.errors import UsageError, UserError
from pzsl.evaluation import (
    HeldOut,
    calibration_error_by_chance,
    calibration_of,
    check_probabilities,
    expected_calibration_error,
    log_softmax,
    probability_metrics,
)
from pzsl.inference.model import open_model
from pzsl.inference.predict import _calibration_of
from pzsl.inference.record import read_record


def drawn(seed: int, images: int, temperature: float, classes: int = 10) -> HeldOut:
    """Scores whose softmax at `temperature` is how likely each class is, and a class drawn so."""
    rng = np.random.default_rng(seed)
    scores = 3 * rng.standard_normal((images, classes)).astype(np.float32)
    shares = np.exp(log_softmax(scores, temperature))
    classes_of = (shares.cumsum(axis=1) > rng.random((images, 1))).argmax(axis=1)
    return HeldOut(scores, np.arange(images), classes_of, np.ones(images))


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_that_made_the_labels_is_found(temperature):
    held = [drawn(seed, 1500, temperature, classes=8 + seed) for seed in range(3)]
    found = calibration_of(held)
    assert found.temperature == pytest.approx(temperature, rel=0.08)
    new = drawn(9, 4000, temperature)
    told = probability_metrics([check_probabilities(new.scores, new.columns, found)], found)
    assert told["expected_calibration_error"] < 0.03
    assert told["coverage"] >= 94


def test_the_temperature_does_not_depend_on_how_many_images_are_read_together(monkeypatch):
    part = drawn(0, 203, 2.0)
    together = calibration_of([part]).temperature
    monkeypatch.setattr("pzsl.evaluation.probabilities.CACHED", 40)  # four images
    assert calibration_of([part]).temperature == pytest.approx(together, rel=1e-12)


def test_no_temperature_is_below_the_coldest_that_is_allowed():
    part = drawn(0, 2000, temperature=0.4)
    assert calibration_of([part]).temperature == pytest.approx(0.4, rel=0.1)
    assert calibration_of([part], coldest=1.0).temperature == pytest.approx(1.0)


def test_beliefs_count_as_much_as_they_are_believed():
    """Two thirds for one class and one third for another say what three images would."""
    scores = np.array([[2.0, 0.0, -1.0]])
    soft = HeldOut(scores, np.zeros(2, int), np.array([0, 1]), np.array([2 / 3, 1 / 3]))
    hard = HeldOut(scores.repeat(3, axis=0), np.arange(3), np.array([0, 0, 1]), np.ones(3))
    one, other = calibration_of([soft]), calibration_of([hard])
    assert one.temperature == pytest.approx(other.temperature)


@pytest.mark.parametrize("error_rate", [0.02, 0.05, 0.1, 0.3])
def test_sets_lack_the_class_as_rarely_as_they_promise(error_rate):
    found = calibration_of([drawn(0, 2000, 1.5)])
    new = drawn(1, 20_000, 1.5)
    shares = np.exp(log_softmax(new.scores, found.temperature))
    own = shares[np.arange(len(shares)), new.columns]
    missed = (own < found.threshold(error_rate)).mean()
    assert missed == pytest.approx(error_rate, abs=0.02)
    told = found.coverage[round(error_rate * 200)]
    assert 1 - told == pytest.approx(error_rate, abs=0.02)


def test_thresholds_are_those_of_split_conformal():
    """At error rate a of n images: the floor(a (n + 1))-th smallest probability."""
    held = drawn(0, 59, 1.0)
    found = calibration_of([held])
    shares = np.exp(log_softmax(held.scores, found.temperature))
    own = np.sort(shares[np.arange(59), held.columns])
    assert found.threshold(0.05) == pytest.approx(own[2], abs=1e-6)  # 0.05 * 60 = 3
    assert found.threshold(0.1) == pytest.approx(own[5], abs=1e-6)
    assert found.threshold(0.0) == 0.0 and found.threshold(0.01) == 0.0  # too few to say


@pytest.mark.parametrize("seed", range(3))
def test_coverage_of_one_half_by_the_other_half_equals_loops(seed):
    """Each image has weights on several classes; equal scores make equal probabilities."""
    rng, images, classes = np.random.default_rng(seed), 41, 5
    scores = rng.integers(0, 4, (images, classes)).astype(np.float32)
    weights = rng.dirichlet(np.ones(classes), images)
    rows, columns = (axis.ravel() for axis in np.indices((images, classes)))
    found = calibration_of([HeldOut(scores, rows, columns, weights.ravel())])
    shares = np.exp(log_softmax(scores, found.temperature))
    covered = np.zeros(201)
    for half in (0, 1):
        other = [i for i in range(images) if i % 2 != half]
        pairs = sorted((shares[i, c], weights[i, c]) for i in other for c in range(classes))
        for level in range(201):
            limit, below = 0.0, 0.0
            for probability, weight in pairs:
                if below <= level / 200 * (len(other) + 1) - 1:
                    limit = np.floor(probability * 1e6) / 1e6
                below += weight
            covered[level] += weights[half::2][shares[half::2] >= limit].sum()
    np.testing.assert_allclose(found.coverage, covered / images, atol=6e-5)


def test_the_calibration_error_is_that_of_its_definition():
    confidence, right = np.array([0.95, 0.97, 0.55, 0.1]), np.array([True, False, True, False])
    by_hand = (abs(0.95 + 0.97 - 1) + abs(0.55 - 1) + abs(0.1 - 0)) / 4
    assert expected_calibration_error(confidence, right) == pytest.approx(by_hand)
    assert expected_calibration_error(np.empty(0), np.empty(0, bool)) is None


@pytest.mark.parametrize("images", [60, 250, 4000])
def test_the_calibration_error_of_a_perfect_model_is_that_of_drawn_answers(images):
    rng = np.random.default_rng(0)
    confidence = rng.beta(3, 1, images)
    draws = [rng.random(images) < confidence for _ in range(300)]
    mean = np.mean([expected_calibration_error(confidence, right) for right in draws])
    assert calibration_error_by_chance(confidence) == pytest.approx(mean, rel=0.05)
    assert calibration_error_by_chance(np.ones(images)) == 0
    assert calibration_error_by_chance(np.empty(0)) is None


def test_nothing_held_out_leaves_scores_as_they_are():
    found = calibration_of([])
    assert (found.temperature, found.thresholds, found.images) == (1.0, (), 0)


# --- of a run ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    cache = write_cache(folder / "toy.h5", each=60, spread=0.35)
    grid = {"rate": 0.3, "seeds": 1, "workers": 1, "settings": {"min_steps": 20, "epochs": 2}}
    return Path(train(cache, runs=folder / "runs", **grid)["runs"][0]["path"])


def test_a_run_records_how_its_probabilities_are_calibrated(run):
    metrics = json.loads((run / "metrics.json").read_text())
    found = read_record(run).calibration
    assert found.images > 100 and len(found.thresholds) == len(found.coverage) == 201
    assert metrics["temperature"] == found.temperature != 1
    assert metrics["expected_calibration_error"] <= 0.08  # of 480 test images
    assert metrics["coverage"] >= 80  # half of them are of four unseen classes
    assert list(found.thresholds) == sorted(found.thresholds)


def test_predict_marks_what_is_unsure(pzsl, run, tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "x.npy", rng.standard_normal((40, 16)).astype(np.float32))
    words = ["predict", "--run", run, tmp_path / "x.npy", "--top", "12"]
    code, out, err = pzsl(*words, "--error-rate", "0.05", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["calibration"]["coverage"] == pytest.approx(95, abs=2)
    limit = told["calibration"]["threshold"]
    for image in told["images"]:
        names = [one["name"] for one in image["classes"] if one["probability"] >= limit]
        assert image["likely"] == (names or [image["classes"][0]["name"]])
        assert image["unsure"] == (len(names) != 1)
        assert sum(one["probability"] for one in image["classes"]) == pytest.approx(1, abs=1e-3)
    assert any(image["unsure"] for image in told["images"])
    code, out, err = pzsl(*words, "--error-rate", "0.05")
    assert code == 0 and "unsure" in out and "held-out images" in out
    code, out, err = pzsl(*words, "--error-rate", "0.5")  # above the errors of the method
    assert code == 0 and "unsure, none is likely enough" in out
    out = tmp_path / "a.csv"
    assert pzsl(*words, "--error-rate", "0.05", "--out", out)[0] == 0
    assert "likely" in out.read_text().splitlines()[0]


def test_sets_that_know_no_added_class_are_reported(run, capsys):
    for rate, added, told in ((None, 2, 0), (0.1, 0, 0), (0.1, 2, 1)):
        model = open_model(run)
        _calibration_of(model, model.scorer((), None), rate, added)
        assert capsys.readouterr().err.count("without the 2 added classes") == told


def test_an_error_rate_that_nothing_supports_is_refused(run, tmp_path):
    np.save(tmp_path / "x.npy", np.ones((1, 16), np.float32))
    with pytest.raises(UsageError, match="error-rate"):
        predict(run, [tmp_path / "x.npy"], error_rate=1.0)
    cache = read_record(run).cache
    given = {"seeds": 1, "workers": 1, "runs": tmp_path / "runs", "rate": 0.3}
    plain = train(cache, method="clip", **given)["runs"][0]["path"]
    with pytest.raises(UserError, match="without held-out images"):
        predict(plain, [tmp_path / "x.npy"], error_rate=0.05)
    calibration = run / "calibration.json"
    whole = calibration.read_text()
    try:
        calibration.write_text(whole.replace('"temperature": ', '"temperature": 9'))
        with pytest.raises(UserError, match=r"calibration.json is of another run, or was changed"):
            read_record(run)
    finally:
        calibration.write_text(whole)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["caltech69", "ucf50", "sun34", "imagenet1k_fewshot"])
def test_probabilities_fit_on_real_features(real_data, tmp_path, name):
    from pzsl.exchange import import_npz

    cache = import_npz(real_data / "clip_features" / f"{name}.npz", tmp_path / f"{name}.h5")
    runs = train(cache, rate=0.1, seeds=3, runs=tmp_path / "runs")["runs"]
    metrics = [json.loads((Path(run["path"]) / "metrics.json").read_text()) for run in runs]
    error, chance, coverage = (
        np.mean([of_run[key] for of_run in metrics])
        for key in ("expected_calibration_error", "calibration_error_by_chance", "coverage")
    )
    few = 0.01 if name == "sun34" else 0  # 258 test images: a perfect model has 0.035
    assert chance < error <= 0.05 + few
    assert coverage >= 90
