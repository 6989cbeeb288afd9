"""Names that say little: candidate sets are read by other images, too, as their likelihood asks."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import make_problem, prepared, unit

from pzsl.evaluation import labels_doubt
from pzsl.exchange import import_npz
from pzsl.methods import load_method, make_options
from pzsl.methods.clip_pzsl.explanation import NameWeight, Reading, _Sets
from pzsl.methods.clip_pzsl.set_reading import _overrules
from pzsl.methods.core import IMAGINED, CandidateEntries, Method, Problem, set_likelihood
from pzsl.record_hashes import read_object
from pzsl.training import train

OPTIONS = {"epochs": 2, "min_steps": 10, "batch_size": 64}


def made(problem: Problem, **options) -> Method:
    chosen = make_options("clip-pzsl", "default", {**OPTIONS, **options})
    method_class, _ = load_method("clip-pzsl")
    return prepared(method_class(problem, chosen, torch.Generator().manual_seed(0)))


def right(method: Method, truth: np.ndarray) -> float:
    """Share of images whose heaviest label is the true one."""
    heaviest = method.candidates.heaviest(method.weights)
    return float(np.mean(heaviest.numpy() == truth))


def with_other_names(problem: Problem, seed: int = 1) -> Problem:
    """The same images and sets; the names are vectors that have nothing to do with either."""
    names = unit(np.random.default_rng(seed).standard_normal(problem.seen.shape))
    return replace(problem, seen=torch.from_numpy(names))


def slow_likelihood(mass: list[float], odds: list[float]) -> tuple[float, float]:
    """The documented EM, set by set."""
    eta = 0.1
    for _ in range(100):
        pairs = [((1 - m) * eta * o, m * (1 - eta)) for m, o in zip(mass, odds, strict=True)]
        wrong = sum(out / max(out + inside, 1e-30) for out, inside in pairs)
        eta = min((wrong + IMAGINED) / (len(mass) + IMAGINED), 0.95)
    return eta, sum(math.log(max(out + inside, 1e-30)) for out, inside in pairs) / len(mass)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.01, 5)), min_size=1, max_size=30))
@settings(max_examples=30)
def test_the_likelihood_of_sets_is_that_of_the_formula(sets):
    mass, odds = zip(*sets, strict=True)
    two = torch.tensor([mass, mass[::-1]], dtype=torch.float64)
    found = set_likelihood(two, torch.tensor(odds, dtype=torch.float64))
    for row, values in enumerate((mass, mass[::-1])):
        eta, likelihood = slow_likelihood(list(values), list(odds))
        assert found.eta[row].item() == pytest.approx(eta, abs=1e-9)
        assert found.mean[row].item() == pytest.approx(likelihood, abs=1e-9)


def test_an_image_is_compared_with_prototypes_of_all_others():
    problem, _ = make_problem(images=40)
    candidates = problem.candidates
    weights = torch.rand(len(candidates.labels), generator=torch.Generator().manual_seed(3))
    rows = torch.tensor([0, 7, 39])
    found = _Sets(problem, candidates, problem.cosines)._cosines(weights)(rows)
    centred = problem.images - problem.images.mean(0)
    images = centred / centred.norm(dim=1, keepdim=True)
    dense = torch.zeros(40, len(problem.seen))
    dense[torch.repeat_interleave(candidates.sizes), candidates.labels.long()] = weights
    for place, row in enumerate(rows.tolist()):
        others = [one for one in range(40) if one != row]
        for label in range(len(problem.seen)):
            total = sum(dense[one, label] * images[one] for one in others)
            cosine = images[row] @ total / total.norm()
            assert found[place, label].item() == pytest.approx(cosine.item(), abs=1e-4)


@pytest.mark.parametrize(
    ("rate", "eta"), [(0.0, 0.0), (0.0, 0.2), (0.3, 0.0), (0.3, 0.15)], ids=str
)
def test_labels_are_found_without_names_that_say_anything(rate, eta):
    problem, truth = make_problem(images=320, rate=rate, eta=eta)
    problem = with_other_names(problem)
    method = made(problem)
    assert method.name_weight.names <= 0.25
    assert right(method, truth) >= 0.93
    assert method.noise.eta == pytest.approx(eta, abs=0.06)
    believing = made(problem, weigh_names=False)
    assert right(believing, truth) <= 0.6


@pytest.mark.parametrize("share", [0.3, 0.45], ids=str)
def test_wrong_labels_with_a_system_do_not_overrule_names_that_fit(share):
    """Some images of each class bear the label of the next one; images of a label agree on it."""
    problem, truth = make_problem(images=800, rate=0.0, spread=0.15)
    problem = replace(problem, scale=40.0)
    swapped = np.random.default_rng(4).random(len(truth)) < share
    given = torch.from_numpy(np.where(swapped, (truth + 1) % 8, truth))
    candidates = CandidateEntries.of(torch.arange(len(truth) + 1), given)
    method = made(replace(problem, candidates=candidates))
    assert method.name_weight.names == 1 and not method.name_weight.images
    assert right(method, truth) >= 0.9
    assert method.noise.eta == pytest.approx(share, abs=0.06)


@pytest.mark.parametrize(
    ("fitting", "named", "kept"),
    [(2, 0.4, False), (20, 0.7, True), (20, 0.55, True), (10, 0.7, True)],
    ids=["two names fit by accident", "all fit", "half of the labels wrong", "half of them fit"],
)
def test_images_overrule_names_unless_these_fit_the_classes_concerned(fitting, named, kept):
    """20 images of 20 classes; names are right for a share of the images of those that fit."""
    labels = torch.arange(20).repeat_interleave(20)
    candidates = CandidateEntries.of(torch.arange(401), labels)
    right = (torch.arange(20).repeat(20) < 20 * named) & (labels < fitting)
    by_name = F.one_hot(torch.where(right, labels, (labels + 7) % 20), 20).float()
    mass = torch.where(right, 0.95, 0.01)
    doubtful = right | (labels < fitting) if fitting == 10 else torch.ones(400, dtype=torch.bool)
    readings = [
        Reading(NameWeight(), None, lambda rows: by_name[rows], torch.zeros(400), each)
        for each in (torch.where(doubtful, 0.98, 0.01), mass)
    ]
    assert _overrules(*readings, candidates, 20) == kept


def test_names_that_fit_count_as_before():
    problem, _ = make_problem(spread=0.4, rate=0.2, eta=0.15)
    method, before = made(problem), made(problem, weigh_names=False)
    assert method.name_weight.names == 1
    assert method.noise == before.noise
    assert torch.equal(method.weights, before.weights)


def test_with_one_image_a_class_nothing_is_known_but_the_names():
    problem, _ = make_problem(images=8, rate=0.2)
    problem = with_other_names(problem)
    method, before = made(problem), made(problem, weigh_names=False)
    assert method.name_weight.names == 1
    assert torch.equal(method.weights, before.weights)


def test_the_order_of_images_does_not_matter():
    problem, _ = make_problem(images=320, rate=0.3)
    problem = with_other_names(problem)
    order = torch.randperm(320, generator=torch.Generator().manual_seed(5))
    index, _ = problem.candidates.entries(order)
    sizes = problem.candidates.sizes[order]
    offsets = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
    entries = CandidateEntries.of(offsets, problem.candidates.labels[index].long())
    other = replace(problem, images=problem.images[order], candidates=entries)
    one, two = made(problem), made(other)
    assert one.name_weight.names == two.name_weight.names
    agreed = one.candidates.heaviest(one.weights)[order] == two.candidates.heaviest(two.weights)
    assert agreed.float().mean() >= 0.98


def test_a_run_tells_of_names_that_say_little():
    little = {"eta_by_names": 0.5, "estimated_eta": 0.2}
    assert "of 50 % of the training images, by the other images of each label of 20 %" in (
        labels_doubt(little, encoder="another")
    )
    fitting = {"name_weight": 0.0, "eta_by_names": 0.25, "estimated_eta": 0.2}
    assert labels_doubt(fitting) is labels_doubt({"estimated_eta": 0.1}) is labels_doubt({}) is None
    assert labels_doubt(fitting, encoder="another") == "another"
    assert "not plausible" in labels_doubt({"eta_by_names": 0.95, "estimated_eta": 0.9})


def test_real_images_are_learnt_by_names_of_something_else(real_data, tmp_path):
    """Scenes under names of objects: labels with a fifth of them wrong, then candidate sets."""
    scenes = np.load(real_data / "clip_features" / "sun34.npz", allow_pickle=False)
    objects = np.load(real_data / "clip_features" / "caltech69.npz", allow_pickle=False)
    seen = ~scenes["unseen"]
    kept, column = seen[scenes["labels"]], np.cumsum(seen) - 1
    arrays = {
        "image_features": scenes["image_features"][kept],
        "labels": column[scenes["labels"][kept]],
        "split": scenes["split"][kept],
        "class_names": np.array([f"code {number}" for number in range(seen.sum())]),
        "unseen": np.zeros(seen.sum(), bool),
        "text_features": objects["text_features"][: seen.sum()],
        "model": scenes["model"],
        "pretrained": scenes["pretrained"],
    }
    np.savez(tmp_path / "codes.npz", **arrays)
    cache = import_npz(tmp_path / "codes.npz", tmp_path / "codes.h5")
    for noise in ({"noise": "noisy", "rate": 0.0, "eta": 0.2}, {"noise": "uniform", "rate": 0.3}):
        row = train(cache, seeds=1, runs=tmp_path / "runs", workers=1, **noise)["runs"][0]
        assert row["S"] >= 85  # frozen CLIP: 3
        environment = read_object(Path(row["path"]) / "env.json")
        assert "say little to the encoder" in environment["encoder_warning"]
