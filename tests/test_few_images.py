"""As few images as can be: one a class, one in all, all alike, one class: no fault, no NaN."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from problems import unit, write_cache

from pzsl import PartialLabelClassifier, train
from pzsl.errors import UserError
from pzsl.methods import METHODS

BUDGET = {"epochs": 2, "min_steps": 4}


def rates(cache: Path, runs: Path, method: str, **grid) -> dict[str, float]:
    given = {"rate": 0.1, "settings": BUDGET, **grid}
    return train(cache, method=method, seeds=1, workers=1, runs=runs, **given)["runs"][0]


@pytest.mark.parametrize("method", METHODS)
def test_one_image_a_class_trains(method, tmp_path):
    cache = write_cache(tmp_path / "c.h5", seen=21, unseen=3, each=1, dim=64, spread=0.0)
    row = rates(cache, tmp_path / "runs", method)
    assert np.isfinite(row["U"])


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
