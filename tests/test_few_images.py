"""As few images as can be: one a class, one in all, all alike, one class: no fault, no NaN."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from problems import unit, write_cache

from pzsl import PartialLabelClassifier, train
from pzsl.errors import UserError
from pzsl.methods import METHODS
from pzsl.store import load_cache
from pzsl.training.sweep_messages import _say_untested

BUDGET = {"epochs": 2, "min_steps": 4}


def rates(cache: Path, runs: Path, method: str, **grid) -> dict[str, float]:
    given = {"rate": 0.1, "settings": BUDGET, **grid}
    return train(cache, method=method, seeds=1, workers=1, runs=runs, **given)["runs"][0]


@pytest.mark.parametrize("method", METHODS)
def test_one_image_a_class_trains(method, tmp_path):
    cache = write_cache(tmp_path / "c.h5", seen=21, unseen=3, each=1, dim=64, spread=0.0)
    row = rates(cache, tmp_path / "runs", method)
    assert np.isfinite(row["U"])


@pytest.mark.parametrize("method", ["transclip", "zlap", "clip-pzsl"])
def test_a_cache_without_test_images_trains(method, tmp_path):
    cache = write_cache(tmp_path / "c.h5", seen=4, unseen=0, each=1)
    assert rates(cache, tmp_path / "runs", method)["H"] is None


def test_few_shot_labels_of_one_image_a_class_train(tmp_path):
    cache = write_cache(tmp_path / "c.h5", seen=21, unseen=3, each=1, dim=64)
    row = rates(cache, tmp_path / "runs", "clip-pzsl", few_shot=2)
    assert np.isfinite(row["U"])


@pytest.mark.parametrize(("images", "classes"), [(300, 300), (1, 4)], ids=str)
def test_the_classifier_takes_one_image_a_class_and_one_in_all(images, classes):
    rng = np.random.default_rng(0)
    text = unit(rng.standard_normal((classes, 32)))
    points = unit(text[np.arange(images) % classes] + 0.05 * rng.standard_normal((images, 32)))
    sets = np.eye(classes, dtype=bool)[np.arange(images) % classes]
    model = PartialLabelClassifier(options=BUDGET).fit(points, sets, text)
    frozen = (points @ text.T).argmax(1)
    truth = np.arange(images) % classes
    assert np.mean(model.predict(points) == truth) >= np.mean(frozen == truth)


@pytest.mark.parametrize("images", [1, 40])
def test_a_single_class_is_refused_in_one_line(images):
    points = unit(np.random.default_rng(0).standard_normal((images, 32)))
    with pytest.raises(UserError, match="it needs at least two"):
        PartialLabelClassifier().fit(points, np.ones((images, 1), dtype=bool), points[:1])


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([[1, 0, 1, 0]] * 12, "make a mask bool"),
        ([[2**63]] * 12, "row 0 has candidate 9223372036854775808"),
        (([0, 1] for _ in range(12)), "is of type generator"),
        (3, "is of type int"),
        ([[True, False, True, False]] * 11 + [[False] * 4], "row 11 has no candidate label"),
        (torch.zeros(12, 4, dtype=torch.bool), "row 0 has no candidate label"),
    ],
    ids=("numbers", "large", "generator", "one", "lists", "tensor"),
)
def test_candidates_that_are_none_are_refused_in_one_line(given, told):
    with pytest.raises(UserError, match=told):
        fitted(given)


def test_a_mask_of_two_classes_that_is_no_mask_is_asked_about(capsys):
    fitted([[0, 1], [1, 0]] * 6, classes=2)
    assert "if the rows are those of a mask, make it bool" in capsys.readouterr().err
    fitted([[True, False], [False, True]] * 6, classes=2)
    assert "mask" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [{"scale": 0}, {"scale": "a"}, {"seed": -1}, {"seed": 1.5}, {"seed": None}], ids=str
)
def test_a_scale_and_a_seed_that_are_none_are_refused(words):
    with pytest.raises(UserError, match=f"{next(iter(words))} should be (None or )?a"):
        fitted([[0, 1]] * 12, **words)


@pytest.mark.parametrize("weights", [[0] * 12, [np.nan] * 12, [1] * 3, [-1] * 12], ids=str)
def test_weights_of_images_that_are_none_are_refused(weights):
    model = fitted([[0, 1]] * 12)
    with pytest.raises(UserError, match=r"sample_weight should be \(12,\)"):
        model.score(np.ones((12, 8)), [0] * 12, weights)


def fitted(given, classes: int = 4, **words) -> PartialLabelClassifier:
    points = unit(np.random.default_rng(0).standard_normal((12, 8)))
    model = PartialLabelClassifier(method="clip", **words)
    return model.fit(points, given, points[:classes])


@pytest.mark.parametrize("spread", [0.0, 1e-7])
def test_images_that_are_all_alike_teach_nothing_wrong(spread):
    rng = np.random.default_rng(0)
    text = unit(rng.standard_normal((5, 32)))
    same = unit(text[[2]] + 0.2 * rng.standard_normal((1, 32)))
    points = unit(np.repeat(same, 60, axis=0) + spread * rng.standard_normal((60, 32)))
    sets = rng.random((60, 5)) < 0.4
    sets[:, 2] = True
    model = PartialLabelClassifier(options=BUDGET).fit(points, sets, text)
    assert (model.predict(points) == 2).all()


def test_test_images_and_classes_that_no_metric_counts_are_reported(tmp_path, capsys):
    cache = load_cache(write_cache(tmp_path / "toy.h5"))
    _say_untested(cache)
    assert capsys.readouterr().err == ""
    labels = cache.labels.copy()
    labels[(cache.splits != "trainval") & (cache.labels % 8 == 1)] = -1  # of 8 seen and 4 unseen
    _say_untested(replace(cache, labels=labels))
    lines = capsys.readouterr().err.splitlines()
    assert "test images have no label, such as '" in lines[0] and "no metric counts" in lines[0]
    assert lines[1:] == [
        "1 of 8 seen classes have no test image, such as 'class 1': S is the mean over the others.",
        "1 of 4 unseen classes have no test image, such as 'class 9': U is the mean over the "
        "others.",
    ]


def test_what_is_not_done_as_asked_is_reported_and_the_table_shows_every_axis(
    tmp_path, capsys, pzsl
):
    cache = write_cache(tmp_path / "toy.h5", each=9)
    given = {"method": "proden", "seeds": 1, "workers": 1, "runs": tmp_path / "runs"}
    train(cache, rate=0.1, few_shot=7, settings={"epochs": 1, "min_steps": 2}, **given)
    told = capsys.readouterr().err
    assert "is raised" not in told
    assert "8 classes with fewer than 7 labelled training images, such as 'class 0'" in told
    row = train(cache, rate=0.1, few_shot=6, settings={"epochs": 2}, **given)["runs"][0]
    told = capsys.readouterr().err
    assert "epochs=2 was raised to 60, because training takes at least 60 steps" in told
    assert "fewer" not in told
    train(cache, rate=0.1, few_shot=2, imbalance=[1, 6], **{**given, "method": "clip"})
    assert "classes with fewer than 2 labelled" in capsys.readouterr().err  # in the long tail
    history = (Path(row["path"]) / "history.jsonl").read_text().splitlines()
    assert len(history) == 60
    words = ["--method", "clip", "--preset", "default,calibrated", "--noise", "noisy"]
    words += ["--eta", "0.1,0.5", "--rate", "0.3", "--seeds", "1", "--runs", tmp_path / "more"]
    code, out, err = pzsl("train", "--cache", cache, *words)
    assert code == 0, err
    header, *rows = (line.split() for line in out.split("\n\n")[0].splitlines())
    assert header[:6] == ["method", "preset", "noise", "rate", "eta", "seed"]
    keys = {tuple(row[:6]) for row in rows}
    assert len(keys) == 4 and ("clip", "calibrated", "noisy", "0.3", "0.5", "0") in keys
