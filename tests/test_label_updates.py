"""Label weights of `clip-pzsl` that are made anew while the network is trained."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from problems import make_problem, prepared

from pzsl.exchange import import_npz
from pzsl.methods import load_method, make_options
from pzsl.methods.clip_pzsl.label_weights import is_due
from pzsl.methods.clip_pzsl.method import ClipPzsl
from pzsl.methods.core import Method
from pzsl.training import train
from pzsl.training.loop import fit


def made(problem, **changes) -> ClipPzsl:
    options = make_options("clip-pzsl", changes={"min_steps": 1, **changes})
    return prepared(ClipPzsl(problem, options, torch.Generator().manual_seed(0)))


@given(st.integers(0, 300), st.integers(0, 12))
def test_updates_are_evenly_spaced_and_none_is_before_the_first_epoch(epochs, updates):
    due = [epoch for epoch in range(epochs) if is_due(epoch, epochs, updates)]
    assert 0 not in due and len(due) <= updates
    if epochs > updates:
        assert len(due) == updates
        gaps = np.diff([0, *due, epochs])
        assert not updates or gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize("changes", [{}, {"k_means": True}, {"hubness": 0.0}], ids=str)
def test_an_update_weighs_by_the_network_and_by_other_images(changes):
    problem, _ = make_problem(images=60, rate=0.4)
    method = made(problem, balance=False, whiten=False, **changes)
    before = method.weights.clone()
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=drawn()))
        method.relabel()
        labels = method._refined()[:8]
        logits = method.logits(method.image_adapter(problem.images), labels).double()
    logits = less_hubness(logits, method.options.hubness).numpy()
    centred = problem.images.double().numpy()
    centred = centred - centred.mean(0)
    images = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    dense = np.zeros((60, 8))
    rows = torch.repeat_interleave(problem.candidates.sizes).numpy()
    columns = problem.candidates.labels.numpy()
    dense[rows, columns] = before.numpy()
    strength = 0.08 * problem.scale * (1 - 8 / 60)
    for row in range(60):
        scores = []
        for label in columns[rows == row]:
            others = sum(dense[one, label] * images[one] for one in range(60) if one != row)
            cosine = images[row] @ others / max(np.linalg.norm(others), 1e-3)
            scores.append(logits[row, label] + strength * cosine)
        powers = np.exp(np.array(scores) - max(scores))
        found = method.weights[torch.from_numpy(rows == row)].numpy()
        assert np.allclose(found, powers / powers.sum(), atol=2e-3)


def drawn() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def less_hubness(logits: torch.Tensor, share: float) -> torch.Tensor:
    hubs = (0.4 * logits).logsumexp(dim=0) / 0.4
    return logits - share * (hubs - hubs.mean())


def test_updates_find_more_true_labels_of_actions_that_are_named_poorly(real_data, tmp_path):
    features = real_data / "clip_features" / "ucf50.npz"
    cache = import_npz(features, tmp_path / "ucf50.h5")
    sets = {"noise": "uniform", "rate": 0.7, "seeds": 1, "workers": 1}
    without, with_two = (
        train(cache, settings={"label_updates": updates}, runs=tmp_path / "runs", **sets)["runs"][0]
        for updates in (0, 2)
    )
    assert with_two["disambiguation"] > without["disambiguation"]
    assert with_two["H"] > without["H"]


def test_updates_leave_the_share_of_the_candidates_as_it_began():
    problem, _ = make_problem(images=400, seen=12, rate=0.3, eta=0.3)
    method = made(problem, balance=False)
    assert method.inside is not None and 0.05 < float(method.inside.mean()) < 0.95
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=drawn()))
        method.relabel()
    rows = torch.repeat_interleave(method.candidates.sizes)
    held = method.weights * (method.candidates.log_mask >= 0)
    now = torch.zeros(400).index_add_(0, rows, held)
    assert torch.allclose(now, method.inside, atol=1e-4)


def test_a_run_updates_as_often_as_it_says(monkeypatch):
    epochs = []
    relabel = ClipPzsl.relabel
    monkeypatch.setattr(ClipPzsl, "relabel", lambda self: epochs.append(1) or relabel(self))
    problem, _ = make_problem(images=80)
    for changes, count in (({}, 2), ({"label_updates": 3}, 3), ({"left_out": False}, 0)):
        epochs.clear()
        fit(made(problem, epochs=7, **changes), 0)
        assert len(epochs) == count
    single, _ = make_problem(images=80, rate=0.0)
    untrained = made(problem, image_adapter=False, label_adapter=False)
    for method in (untrained, made(single, noise_model=False)):
        epochs.clear()
        fit(method, 0)
        assert not epochs


def test_other_methods_are_never_asked_to(monkeypatch):
    asked = []
    monkeypatch.setattr(Method, "relabel", asked.append)
    problem, _ = make_problem(images=80)
    method_class, _ = load_method("proden")
    fit(method_class(problem, make_options("proden"), torch.Generator().manual_seed(0)), 0)
    assert not asked
