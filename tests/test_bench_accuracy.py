"""The bench of accuracy: its problems are what their names say, and its figures those of runs."""

from __future__ import annotations

import json

import numpy as np
import pytest
from problems import write_cache
from scipy.stats import rankdata
from typer.testing import CliRunner

from pzsl.bench import accuracy, bench_accuracy, methods, parts
from pzsl.bench.methods import mean_ranks
from pzsl.bench.problems import Recipe, arrays, draw, only_training, recipes, resplit
from pzsl.cli import app
from pzsl.errors import UsageError
from pzsl.extraction import zero_shot
from pzsl.store import load_cache
from pzsl.training import train


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_cache(tmp_path_factory.mktemp("accuracy") / "made.h5", seen=12, unseen=4)


@pytest.fixture(autouse=True)
def _train_briefly(monkeypatch):
    """What is compared with what does not depend on how long it is trained."""

    def briefly(*given, settings=None, **options):
        return train(*given, settings={"epochs": 2, "min_steps": 4, **(settings or {})}, **options)

    for module in (accuracy, methods, parts):
        monkeypatch.setattr(module, "train", briefly)


def images_of(cache, made):
    """Training images of each seen class."""
    return [int((cache.labels[made.train] == label).sum()) for label in made.seen]


def test_every_problem_keeps_training_and_test_apart_and_follows_from_its_seed(path):
    cache = load_cache(path)
    for recipe in recipes(cache):
        made, again, other = (draw(cache, recipe, seed) for seed in (1, 1, 2))
        assert not {*made.train} & {*made.test}
        assert not {*made.seen} & {*made.unseen}
        assert {*cache.labels[made.train]} <= {*made.seen}
        assert {*cache.labels[made.test]} <= {*made.seen, *made.unseen}
        assert made.train.tolist() == again.train.tolist()
        assert made.train.tolist() != other.train.tolist()


def test_problems_have_the_images_and_classes_of_their_recipe(path):
    cache = load_cache(path)
    assert images_of(cache, draw(cache, Recipe("", shots=3), 0)) == [3] * 12
    few = draw(cache, Recipe("", sizes=(4, 2)), 0)
    assert (len(few.seen), len(few.unseen)) == (4, 2)
    assert images_of(cache, draw(cache, Recipe("", shots=4, nameless=0.5), 0)) == [4] * 6 + [0] * 6
    tail = images_of(cache, draw(cache, Recipe("", shots=20, tail=True), 0))
    assert tail == sorted(tail, reverse=True)
    assert tail[0] > 2 * tail[-1]
    assert {*draw(cache, Recipe("", among=(1, 2, 3, 5)), 0).seen} <= {1, 2, 3, 5}


def test_identical_names_are_pairs(path):
    cache = load_cache(path)
    text = arrays(cache, draw(cache, Recipe("", twins=True), 0), "x")["text_features"]
    assert (text[0] == text[1]).all()
    assert (text[1] != text[2]).any()


def test_problems_to_develop_on_hold_no_test_image(path):
    cache = load_cache(path)
    made = draw(only_training(cache), Recipe("", shots=3), 0)
    assert {*cache.splits[np.concatenate([made.train, made.test])]} == {"trainval"}


def test_a_resplit_has_as_many_classes_of_each_kind_and_uses_every_image(path):
    cache = load_cache(path)
    made = resplit(cache, 1)
    assert (len(made.seen), len(made.unseen)) == (12, 4)
    assert {*made.unseen} != {*np.flatnonzero(~cache.seen)}
    assert sorted([*made.train, *made.test]) == list(range(len(cache.labels)))
    assert len(made.train) == pytest.approx((cache.splits == "trainval").sum(), rel=0.1)


def test_the_table_is_made_of_run_records(path, tmp_path, monkeypatch):
    monkeypatch.setattr(accuracy, "recipes", lambda _: [Recipe("2 a class", shots=2)])
    monkeypatch.setattr(accuracy, "RUN", 0.0)  # then the worth of one image is the bound
    how = {"runs": tmp_path, "seeds": 2, "noises": ["uniform:0.3"], "workers": 1}
    found = bench_accuracy([path], ["small"], **how)["small"]
    (row,) = found["rows"]
    assert json.loads(json.dumps(found)) == found
    records = [json.loads(file.read_text()) for file in tmp_path.rglob("metrics.json")]
    assert row["runs"] == len(records) == found["summary"]["runs"] == 2
    assert row["H"] == pytest.approx(np.mean([record["H"] for record in records]))
    assert row["gain"] == pytest.approx(row["H"] - row["frozen"])
    assert row["worst"] <= row["gain"]
    assert row["gamma_loss"] >= 0


def test_without_unseen_classes_the_table_compares_s(path, tmp_path, monkeypatch):
    closed = Recipe("closed", shots=2, sizes=(16, 0))
    monkeypatch.setattr(accuracy, "recipes", lambda _: [closed])
    how = {"runs": tmp_path, "seeds": 1, "noises": ["uniform:0.3"], "workers": 1}
    (row,) = bench_accuracy([path], ["small"], **how)["small"]["rows"]
    (record,) = (json.loads(file.read_text()) for file in tmp_path.rglob("metrics.json"))
    (made,) = tmp_path.rglob("*.h5")
    assert (row["H"], row["gamma_loss"]) == (record["S"], 0)
    assert row["frozen"] == pytest.approx(zero_shot(load_cache(made))["S"])


def test_identical_names_share_what_frozen_clip_finds(path, tmp_path):
    cache = load_cache(path)
    assert accuracy.frozen_sides(cache) == pytest.approx(
        [zero_shot(cache)[side] for side in ("S", "U")]
    )
    made = draw(cache, Recipe("", twins=True), 0)
    problem = accuracy._problem("twins", 0, 1, cache, made, tmp_path)
    twins = load_cache(problem.cache)
    found = {}
    for row in np.flatnonzero(twins.splits != "trainval"):
        scores = twins.label_embeddings() @ twins.images[row]
        tied = np.flatnonzero(np.isclose(scores, scores.max(), rtol=0, atol=1e-6))
        label = twins.labels[row]
        found.setdefault(label, []).append((label in tied) / len(tied))
    sides = [
        100 * np.mean([np.mean(found[label]) for label in found if twins.seen[label] == seen])
        for seen in (True, False)
    ]
    assert accuracy.frozen_sides(twins) == pytest.approx(sides)
    assert sides[0] < 0.6 * zero_shot(twins)["S"]  # the first of each pair got all


def test_parts_are_compared_on_the_same_sets(path, tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "PARTS", {"--off calibrate": ("default", {"calibrate": False})})
    how = {"runs": tmp_path, "seeds": 2, "noises": ["uniform:0.3"], "workers": 1}
    found = bench_accuracy([path], ["parts"], **how)["parts"]
    (row,) = found["rows"]
    h: dict[bool, list[float]] = {True: [], False: []}
    for record in (file.parent for file in tmp_path.rglob("metrics.json")):
        options = json.loads((record / "config.json").read_text())["options"]
        h[options["calibrate"]].append(json.loads((record / "metrics.json").read_text())["H"])
    assert row["runs"] == len(h[True]) == len(h[False]) == 2
    assert row["H"] == pytest.approx(np.mean(h[False]))
    assert row["difference"] == pytest.approx(np.mean(h[False]) - np.mean(h[True]))
    assert found["summary"] == {"--off calibrate": row["difference"]}


def test_methods_are_compared_on_the_same_sets_and_ranked(path, tmp_path, monkeypatch):
    contenders = {"default": ("clip", "prototype"), "calibrated": ("clip",)}
    monkeypatch.setitem(accuracy.CONTENDERS, "methods", contenders)
    how = {"runs": tmp_path, "seeds": 2, "noises": ["uniform:0.3", "noisy:0.3"], "workers": 1}
    found = bench_accuracy([path], ["methods"], **how)["methods"]
    assert [row["method"] for row in found["rows"]] == ["clip", "prototype", "clip (calibrated)"]
    records = [file.parent for file in tmp_path.rglob("metrics.json")]
    h = [
        json.loads((record / "metrics.json").read_text())["H"]
        for record in records
        if (config := json.loads((record / "config.json").read_text()))["method"] == "prototype"
        and config["noise"] == "noisy"
    ]
    assert len(records) == 12 and len(h) == 2
    assert found["rows"][1]["noisy:0.3"] == pytest.approx(np.mean(h))
    assert sorted(found["summary"]) == ["clip", "clip (calibrated)", "prototype"]


def test_a_noise_is_named_as_its_runs_are(path, tmp_path, monkeypatch):
    monkeypatch.setitem(accuracy.CONTENDERS, "methods", {"default": ("clip",)})
    how = {"runs": tmp_path, "seeds": 1, "noises": ["uss", "uniform:0.30"], "workers": 1}
    (row,) = bench_accuracy([path], ["methods"], **how)["methods"]["rows"]
    assert [*row][2:] == ["uss:0.5", "uniform:0.3"]


def test_ranks_are_scipys_and_leave_the_oracle_out():
    scores = {"a": [3.0, 1.0], "b": [3.0, 2.0], "c": [1.0, 5.0], "oracle": [9.0, 9.0]}
    rows = [{"cache": "x", "method": m, "k1": one, "k2": two} for m, (one, two) in scores.items()]
    ranks = rankdata([[-3.0, -3.0, -1.0], [-1.0, -2.0, -5.0]], axis=1).mean(0)
    assert mean_ranks(rows) == pytest.approx(dict(zip("abc", ranks, strict=True)))
    assert [*mean_ranks(rows)] == sorted("abc", key=dict(zip("abc", ranks, strict=True)).get)


def test_a_cell_that_loses_is_counted():
    good = {"problem": "a", "gain": 1.0, "harmed_runs": 0, "runs": 3, "gamma_loss": 0.1}
    told = accuracy.summary([good, {**good, "problem": "b", "gain": -0.4, "harmed_runs": 1}])
    assert told["cells more than 0.3 below frozen CLIP"] == 1
    assert told["runs more than 1 (and one test image) below"] == 1
    assert told["worst cell"] == -0.4


def test_what_is_wrong_with_the_request_is_said(path):
    with pytest.raises(UsageError, match="needs caches"):
        bench_accuracy([])
    with pytest.raises(UsageError, match="small or main or parts"):
        bench_accuracy([path], ["large"])
    with pytest.raises(UsageError, match="--development is for --tables small"):
        bench_accuracy([path], ["small", "main"], development=True)
    assert CliRunner().invoke(app, ["bench", "load,accuracy"]).exit_code != 0


def test_development_makes_the_small_problems_alone(path, monkeypatch, tmp_path):
    for name in ("small_problems", "main_problems", "_cells", "summary"):
        monkeypatch.setattr(accuracy, name, lambda *_: [])
    assert [*bench_accuracy([path], runs=tmp_path, development=True)] == ["small"]
    assert [*bench_accuracy([path], runs=tmp_path)] == ["small", "main"]


def test_a_cache_of_the_same_name_has_problems_of_its_own(tmp_path):
    one, other = (
        load_cache(write_cache(tmp_path / name / "c.h5", seed=seed, seen=12, unseen=4))
        for seed, name in enumerate("ab")
    )
    first, second = (
        accuracy._problem("c: few", 0, 1, cache, draw(cache, Recipe("", shots=3), 0), tmp_path)
        for cache in (one, other)
    )
    assert first.cache != second.cache
    assert load_cache(first.cache).fingerprint != load_cache(second.cache).fingerprint


def test_scores_that_differ_in_their_last_bits_are_equal(tmp_path):
    run = {"H": None, "S": 0.1 + 0.2, "disambiguation": 1.0}
    problem = accuracy.Problem("p", 0, 1, tmp_path, frozen=0.3, image=0.5)
    assert run["S"] != problem.frozen
    assert accuracy._row("p", "uniform:0.1", [(problem, run)])["worst"] == 0
    rows = [{"cache": "c", "method": m, "uniform": s} for m, s in (("a", 0.3), ("b", run["S"]))]
    assert mean_ranks(rows) == {"a": 1.5, "b": 1.5}
