"""Closed sets: the weight of prototypes grows with the images of a class, until one is added."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from problems import make_problem, prepared
from torch import Tensor
from torch.nn.functional import normalize

from pzsl import load_cache
from pzsl.evaluation import per_class_accuracy
from pzsl.exchange import import_npz
from pzsl.methods import load_method, make_options
from pzsl.methods.core import Method, Problem
from pzsl.training.config import RunConfig
from pzsl.training.loop import fit
from pzsl.training.make_method import prepared_method
from pzsl.training.task import make_task

OPEN = make_problem(images=8)[0]
CLOSED = replace(OPEN, unseen=OPEN.unseen[:0])
OPTIONS = {"epochs": 1, "min_steps": 2, "batch_size": 64}


def trained(problem: Problem, **options) -> Method:
    made = make_options("clip-pzsl", "default", {**OPTIONS, **options})
    method_class, _ = load_method("clip-pzsl")
    return fit(prepared(method_class(problem, made, torch.Generator().manual_seed(0))), 0)


def slow_scores(method: Method, images: Tensor, share: float) -> Tensor:
    """The documented formula, image by image and class by class."""
    scale, labels = method.problem.scale, method.label_embeddings()
    scores = torch.zeros(len(images), len(labels))
    for row, image in enumerate(images):
        adapted = method.image_adapter(image[None])[0]
        whitened = normalize((adapted - method.centre) @ method.metric, dim=0)
        for column, label in enumerate(labels):
            cosines = adapted @ label + share * (whitened @ method.prototypes[column])
            hub = method.options.hubness * method.hubness[column]
            scores[row, column] = scale * cosines - hub
    return scores


@given(st.floats(0.01, 1), st.floats(0, 1), st.floats(1, 500))
def test_the_share_grows_from_one_limit_to_the_other(least, most, images):
    options = make_options("clip-pzsl", "default", {"prototype_share": least, "closed_share": most})
    counts = torch.full((3,), images)
    assert options.share_in_score(OPEN, counts) == least
    share = options.share_in_score(CLOSED, counts)
    assert least <= share <= max(least, most)
    assert options.share_in_score(CLOSED, counts + 1) >= share
    chosen = {"prototype_share": least, **options.of_folds(CLOSED, counts, True)}
    fold = make_options("clip-pzsl", "default", chosen)
    assert fold.share_in_score(CLOSED, 0.75 * counts) == (share if images > 1.4 else least)
    assert options.share_in_score(CLOSED, torch.ones(3)) == least
    assert options.share_in_score(CLOSED, torch.full((3,), 1e9)) == max(least, most)


def test_scores_of_closed_and_of_open_sets_are_those_of_the_formula():
    problem, _ = make_problem(images=40)  # five of each class
    images = problem.images[:6]
    closed = replace(problem, unseen=problem.unseen[:0])
    cases = (closed, {}, 0.06 * 3), (closed, {"closed_share": 0.1}, 0.1), (problem, {}, 0.06)
    for each, options, share in cases:
        method = trained(each, **options)
        with torch.no_grad():
            found, expected = method.scores(images), slow_scores(method, images, share)
        assert torch.allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize(("name", "gain"), [("ucf50", 1.0), ("sun34", 1.0), ("caltech69", 0.1)])
def test_many_images_of_a_class_gain_on_real_features(
    real_data: Path, tmp_path: Path, name: str, gain: float
):
    cache = load_cache(import_npz(real_data / "clip_features" / f"{name}.npz", tmp_path / "a.h5"))
    test = np.flatnonzero(cache.splits == "test_seen")
    column = np.cumsum(cache.seen) - 1
    accuracy = []
    for share in (0.06, 0.25):
        options = {"closed_share": share, "fade": False}
        identity = "made", "", "", "clip-pzsl", "default", "uniform", 0.1, 0.0, "text"
        config = RunConfig(*identity, 0, options)
        problem = make_task(cache, config, torch.device("cpu")).problem
        method = fit(prepared_method(config, replace(problem, unseen=problem.unseen[:0]), 0), 0)
        with torch.no_grad():
            best = method.scores(torch.from_numpy(np.array(cache.images[test]))).argmax(dim=1)
        accuracy.append(per_class_accuracy(best.numpy(), column[cache.labels[test]]))
    assert accuracy[1] > accuracy[0] + gain, accuracy
