"""Candidate sets that the encoder itself made are read by other images, too."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from problems import make_problem, prepared

from pzsl import annotate
from pzsl.exchange import import_npz
from pzsl.methods import load_method, make_options
from pzsl.methods.clip_pzsl.explanation import OWN_ETA
from pzsl.methods.clip_pzsl.noise_model import NoiseModel, at_least, estimate_noise, widen
from pzsl.methods.core import OUTSIDE, CandidateEntries, Problem, inside_odds, set_likelihood
from pzsl.training import train

IMAGES = 60


def own_problem(**changes) -> tuple[Problem, np.ndarray]:
    """Images whose only candidate is frozen CLIP's first class, which is often wrong."""
    problem, truth = make_problem(images=IMAGES, spread=0.5)
    first = problem.cosines(torch.arange(IMAGES)).argmax(dim=1)
    candidates = CandidateEntries.of(torch.arange(IMAGES + 1), first)
    return replace(problem, candidates=candidates, annotated=True, **changes), truth


def method_of(problem: Problem, **options):
    chosen = make_options("clip-pzsl", "default", options)
    method_class, _ = load_method("clip-pzsl")
    return prepared(method_class(problem, chosen, torch.Generator().manual_seed(0)))


def slow_cosines(problem: Problem, weights: np.ndarray) -> np.ndarray:
    """Cosines (N, K) of centred images with the weighted sums of all others, by label."""
    images = problem.images.numpy().astype(np.float64)
    images = images - images.mean(axis=0)
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    cosines = np.zeros(weights.shape)
    for row in range(len(images)):
        for label in range(weights.shape[1]):
            others = weights[:, label].copy()
            others[row] = 0
            total = others @ images
            cosines[row, label] = images[row] @ total / max(np.linalg.norm(total), 1e-3)
    return cosines


def softmax(logits: np.ndarray, mask: np.ndarray) -> np.ndarray:
    powers = np.where(mask, np.exp(logits - logits.max(axis=1, keepdims=True)), 0)
    return powers / powers.sum(axis=1, keepdims=True)


def test_own_sets_are_read_as_documented():
    """Weights by names, then by names and others, which count less the fewer images there are."""
    problem, _ = own_problem()
    classes = len(problem.seen)
    mask = np.zeros((IMAGES, classes), bool)
    mask[np.arange(IMAGES), problem.candidates.labels.numpy()] = True
    method = method_of(problem)
    frozen = method._frozen_logits(torch.arange(IMAGES)).numpy().astype(np.float64)
    each = IMAGES / classes
    strength = 64 * each / (each + 16)
    assert method.name_weight.names == 1
    assert method.name_weight.images == pytest.approx(strength)
    weights = softmax(frozen, mask)
    for _ in range(2):
        logits = frozen + strength * slow_cosines(problem, weights)
        mass = torch.from_numpy((softmax(logits, mask >= 0) * mask).sum(axis=1))
        odds = inside_odds(problem.candidates.sizes, classes)
        wrong = set_likelihood(mass[None], odds).wrong[0].numpy()
        weights = softmax(logits, mask) * (1 - wrong[:, None])
    entries = torch.from_numpy(logits)[
        torch.repeat_interleave(method.candidates.sizes), method.candidates.labels.long()
    ]
    assert torch.allclose(method._frozen_at.double(), entries, atol=2e-2)
    estimated = estimate_noise(problem.candidates, mass.float(), classes)
    assert method.noise.eta == pytest.approx(max(OWN_ETA, estimated.eta), abs=1e-3)
    assert method.noise.assumed == (estimated.eta < OWN_ETA)


def test_without_weighing_names_or_for_other_people_s_sets_nothing_changes():
    problem, _ = own_problem()
    off = method_of(problem, weigh_names=False)
    assert not off.name_weight.images and not off.noise.assumed
    theirs = method_of(replace(problem, annotated=False), weigh_names=False)
    assert torch.equal(off.weights, theirs.weights) and off.noise == theirs.noise


def test_a_record_says_whether_the_share_was_assumed():
    problem, _ = own_problem()
    method = method_of(problem)
    for assumed, name in ((True, "assumed_eta"), (False, "estimated_eta")):
        method.noise = NoiseModel(0.2, 1.0, assumed)
        assert method.describe()[name] == 0.2
        assert ("assumed_eta" in method.describe()) == assumed


def test_the_least_share_leaves_a_larger_one_alone():
    problem, _ = own_problem()
    classes = len(problem.seen)
    large = NoiseModel(0.4, 1.5)
    assert at_least(large, 0.2, problem.candidates, classes) is large
    small = at_least(NoiseModel(0.01, 9.0), 0.2, problem.candidates, classes)
    assert small.eta == 0.2 and small.assumed
    assert small.penalty == pytest.approx(np.log(0.8 * (classes - 1) / 0.2))


def test_labels_given_by_hand_stay():
    """Whatever other images say: nothing but its label can have weight in such an image."""
    problem, truth = own_problem()
    labelled = torch.arange(IMAGES) % 3 == 0
    labels = torch.where(labelled, torch.from_numpy((truth + 1) % 8), problem.candidates.labels)
    candidates = CandidateEntries.of(torch.arange(IMAGES + 1), labels)
    method = method_of(replace(problem, candidates=candidates, labelled=labelled))
    assert method.noise.eta >= OWN_ETA
    kept = method.candidates.heaviest(method.weights)[labelled]
    assert torch.equal(kept, labels[labelled])
    rows = torch.repeat_interleave(method.candidates.sizes)
    others = method.weights[labelled[rows] & (method.candidates.log_mask < 0)]
    assert len(others) and not others.any()
    assert method.weights[~labelled[rows] & (method.candidates.log_mask < 0)].max() > 0


def test_only_labelled_images_are_certain():
    problem, _ = own_problem()
    labelled = torch.arange(IMAGES) < 5
    wider, _ = widen(problem.candidates, NoiseModel(0.2, 3.0), problem.cosines, labelled)
    rows = torch.repeat_interleave(wider.sizes)
    assert set(wider.log_mask[labelled[rows]].tolist()) == {0.0, OUTSIDE}
    assert set(wider.log_mask[~labelled[rows]].tolist()) == {0.0, -3.0}


def test_clip_s_own_mistakes_are_found_on_real_features(real_data, tmp_path):
    cache = import_npz(real_data / "clip_features" / "ucf50.npz", tmp_path / "ucf50.h5")
    annotate(cache, rule="ratio")
    options = {"noise": "annotated", "seeds": 1, "workers": 1, "runs": tmp_path / "runs"}
    (read,) = train(cache, **options)["runs"]
    (believed,) = train(cache, settings={"weigh_names": False}, **options)["runs"]
    assert read["disambiguation"] > believed["disambiguation"] + 4
    assert read["H"] > believed["H"] + 1.5
    assert read["H"] > 84
