"""PaPi, CRDPLL and RECORDS against slow references; what others do as their code was released."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import write_cache
from test_losses import Array, agree, cases, edges, rows_of, softmax, unit_rows, within
from test_methods import one_step, restricted, scores, started

from pzsl.errors import UsageError, UserError
from pzsl.losses.consistency import divergences, outside_losses
from pzsl.losses.papi import mixed_prototype_losses
from pzsl.methods.core import OUTSIDE
from pzsl.training import train
from pzsl.training.config import expand


def t(array: Array) -> torch.Tensor:
    return torch.from_numpy(np.asarray(array))


# --- losses --------------------------------------------------------------------------------------


@edges
@given(cases())
def test_the_loss_of_labels_outside_and_its_gradient(case):
    logits, candidates = case

    def reference(g: Array) -> float:
        total = 0.0
        for row, members in zip(g, candidates, strict=True):
            f = softmax(row)
            total -= sum(math.log(1 - f[j] + 1e-7) for j in range(len(f)) if not members[j])
        return total / len(g)

    agree(lambda g: outside_losses(g, t(candidates)).mean(), reference, logits / 4)


@edges
@given(cases())
def test_the_divergence_of_label_weights_and_its_gradient(case):
    logits, candidates = case
    weights = np.array([within(-row, s) for row, s in zip(logits, candidates, strict=True)])
    weights[0] = np.arange(weights.shape[1]) == candidates[0].argmax()  # 0 log 0 counts nothing

    def reference(g: Array) -> float:
        total = 0.0
        for row, w in zip(g, weights, strict=True):
            f = softmax(row)
            total += sum(w[j] * math.log(w[j] / f[j]) for j in range(len(f)) if w[j] > 0)
        return total / len(g)

    ragged = t(weights[candidates > 0])
    agree(lambda g: divergences(g, ragged, rows_of(candidates)).mean(), reference, logits)


@settings(max_examples=40)
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 4), st.sampled_from([0.0, 0.3, 1])
)
def test_the_loss_of_mixed_images_and_prototypes_and_its_gradient(seed, batch, classes, share):
    rng = np.random.default_rng(seed)
    prototypes = unit_rows(rng.standard_normal((classes, 3)))
    prototypes[-1] = 0  # of a class that was never met
    targets, order = rng.dirichlet(np.ones(classes), batch), rng.permutation(batch)
    targets[0] = np.arange(classes) == 0

    def reference(z: Array) -> float:
        total = 0.0
        for i, vector in enumerate(z):
            s = softmax(prototypes @ vector / 0.3)
            for weight, p in ((share, targets[i]), (1 - share, targets[order[i]])):
                divergence = sum(a * math.log(a / b) for a, b in zip(p, s, strict=True) if a > 0)
                total += weight * divergence
        return total / batch

    fixed = t(prototypes), t(targets), t(order), share, 0.3
    features = unit_rows(rng.standard_normal((batch, 3)))
    agree(lambda z: mixed_prototype_losses([z], *fixed).mean(), reference, features)


# --- the methods, step by step -------------------------------------------------------------------


def viewed(name: str, epoch: int, **changes: Any) -> tuple[Any, torch.Tensor, list[torch.Tensor]]:
    """A method in an epoch, the rows of a batch, and the two strong views it will draw of them."""
    method, _, rows = started(name, epoch, **changes)
    pair = method.views.pair("strong", rows, torch.Generator().manual_seed(5))
    return method, rows, pair


def predicted(method: Any, images: torch.Tensor) -> Array:
    with torch.no_grad():
        return method.scores(images)[:, : len(method.problem.seen)].double().numpy()


def test_views_of_crdpll_agree_on_the_geometric_mean_within_the_candidates():
    method, rows, views = viewed("crdpll", 3)
    images = [method.problem.images[rows], *views]
    with torch.no_grad():
        logits = [torch.from_numpy(predicted(method, each)) for each in images]
    one_step(method, rows)
    entries, batch_row = method.candidates.entries(rows)
    powers = np.prod([np.array([softmax(r) for r in each.numpy()]) for each in logits], 0) ** (
        1 / 3
    )
    inside = powers[batch_row.numpy(), method.candidates.labels[entries].numpy()]
    sums = np.bincount(batch_row.numpy(), inside)[batch_row.numpy()]
    np.testing.assert_allclose(method.weights[entries].numpy(), inside / sums, atol=1e-5)


def test_crdpll_learns_consistency_more_and_more():
    method, _, rows = started("crdpll", 0, alignment=0.0)
    ramps = []
    for epoch in range(10):
        method.epoch = epoch
        ramps.append(method.ramp)
    assert ramps == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1, 1])
    method.epoch = 0
    candidates = torch.zeros(len(rows), 8)
    for at, row in enumerate(rows.tolist()):
        span = slice(method.candidates.offsets[row], method.candidates.offsets[row + 1])
        candidates[at, method.candidates.labels[span]] = 1
    outside = outside_losses(method.seen_logits(rows)[0], candidates).mean()
    assert method.loss(rows).item() == pytest.approx(outside.item(), abs=1e-5)


def test_records_weighs_labels_less_what_the_mean_image_is_taken_for():
    method, rows, views = viewed("records", 3, momentum=0.75)
    before = method.mean_image.copy_(method.problem.images[:7].mean(dim=0)).clone()
    clean = method.problem.images[rows]
    logits = [predicted_plainly(method, each) for each in (clean, views[0])]
    method.loss(rows)
    mean = 0.75 * before + 0.25 * (clean.mean(dim=0) + views[0].mean(dim=0)) / 2
    assert torch.allclose(method.mean_image, mean, atol=1e-6)
    bias = np.log(softmax(predicted_plainly(method, mean[None])[0]) + 1e-9)
    np.testing.assert_allclose(method.bias().detach().numpy(), bias, atol=1e-4)
    method.after_step(rows)
    expected = restricted(t(sum(logits) / 2 - bias), method.candidates, rows)
    entries, _ = method.candidates.entries(rows)
    np.testing.assert_allclose(method.weights[entries].numpy(), expected, atol=1e-5)
    found = scores(method, clean).numpy()
    np.testing.assert_allclose(found[:, :8], logits[0] - bias + bias.mean(), atol=1e-3)
    plain = (method.problem.scale * clean @ method.problem.unseen.T).numpy()
    np.testing.assert_allclose(found[:, 8:], plain, atol=1e-3)


def predicted_plainly(method: Any, images: torch.Tensor) -> Array:
    """An untrained network's logits for the seen classes: frozen CLIP's."""
    return (method.problem.scale * images @ method.problem.seen.T).double().numpy()


def test_records_keeps_uniform_weights_in_its_warm_up():
    method, problem, rows = started("records", 0)
    one_step(method, rows)
    assert torch.equal(method.weights, problem.candidates.uniform())
    assert method.mean_image.any()


def test_papi_moves_weights_by_its_own_predictions_before_the_loss():
    method, problem, rows = started("papi", 5, first_phi=0.9, last_phi=0.5)
    old, before = method.weights.clone(), method.seen_logits(rows)[0]
    method.loss(rows)
    entries, _ = method.candidates.entries(rows)
    expected = 0.7 * old[entries].numpy() + 0.3 * restricted(before, problem.candidates, rows)
    np.testing.assert_allclose(method.weights[entries].numpy(), expected, atol=1e-6)


def test_prototypes_of_papi_move_by_both_views():
    method, problem, rows = started("papi", 5, first_momentum=0.9, last_momentum=0.7)
    start = F.normalize(torch.randn(8, 128, generator=torch.Generator().manual_seed(2)), dim=-1)
    method.prototypes.copy_(start)
    clean, drawn = problem.images[rows], torch.Generator().manual_seed(5)
    method.generator = drawn
    other = method.augmented(rows)
    method.generator = torch.Generator().manual_seed(5)
    method.loss(rows)
    expected = start.double().numpy()
    for view in (clean, other):
        features = (view @ method.head.T).detach().double().numpy()
        logits = predicted_plainly(method, view)
        for row, g, z in zip(rows.tolist(), logits, unit_rows(features), strict=True):
            span = slice(problem.candidates.offsets[row], problem.candidates.offsets[row + 1])
            members = problem.candidates.labels[span].numpy()
            best = members[np.argmax(g[members])]
            expected[best] = 0.8 * expected[best] + 0.2 * z
    np.testing.assert_allclose(method.prototypes.numpy(), unit_rows(expected), atol=1e-5)


def test_the_alignment_of_papi_sets_in_slowly():
    method, _, _ = started("papi", 0, contrast=2.0)
    ramps = []
    for epoch in range(4):
        method.epoch = epoch
        ramps.append(method.ramp)
    assert ramps == [0, 1, 2, 2]


# --- as released ---------------------------------------------------------------------------------


def test_lws_begins_with_the_same_weight_for_every_class():
    method, _, rows = started("lws", preset="paper", alignment=0.0)
    g = method.seen_logits(rows)[0].detach().double().numpy()
    total = 0.0
    for row, values in zip(rows.tolist(), g, strict=True):
        span = slice(method.candidates.offsets[row], method.candidates.offsets[row + 1])
        members = set(method.candidates.labels[span].tolist())
        for j, value in enumerate(values):
            sign = 1 if j in members else -1
            total += 1 / 8 / (1 + math.exp(sign * value))
    assert method.loss(rows).item() == pytest.approx(total / len(rows), abs=1e-5)


def test_pico_warms_up_against_its_queue_alone():
    method, problem, rows = started("pico", preset="paper", warm_up=0.1, queue=60)
    one_step(method, rows)  # fills the queue
    query = method.project(problem.images[rows])
    key = torch.roll(query, 1, 0).detach()
    queue = method.queue[:50].double().numpy()
    found = method._contrast(query, key, torch.zeros(len(rows), dtype=torch.long))
    total, q, k = 0.0, query.detach().double().numpy(), key.double().numpy()
    for one, own in zip(q, k, strict=True):
        values = np.array([one @ own, *(queue @ one)]) / method.options.temperature
        total -= math.log(softmax(values)[0]) / len(q)
    assert found.item() == pytest.approx(total, abs=1e-4)


def test_theta_of_pop_grows_only_where_little_was_removed():
    thetas = {}
    for steady in (1e-6, 0.9, 1.0):
        method, _, rows = started("pop", warm_up=0.2, theta=0.2, growth=1.5, steady=steady)
        assert method.stackable is (steady == 1)
        for epoch in range(3):
            method.begin_epoch(epoch, torch.Generator())
            one_step(method, rows)
        assert (method.log_mask == OUTSIDE).any()
        thetas[steady] = float(method.theta)
    assert thetas == pytest.approx({1e-6: 0.2, 0.9: 0.3, 1.0: 0.3})


# --- long tails and variants of noise, through training ------------------------------------------


def test_a_noise_can_be_a_variant_and_carry_a_rate():
    def asked(*noises: str) -> list[tuple[str, float | None]]:
        source = ("made", "hash", "model")
        runs = expand(source, ["clip"], ["default"], noises, [0.2, 0.4], [0], [0])
        return [(run.noise, run.rate) for run in runs]

    variant = "instance:published"
    assert asked(variant) == [(variant, 0.2), (variant, 0.4)]
    assert asked(f"{variant}:0.1", "uniform:added:0") == [(variant, 0.1), ("uniform:added", 0.0)]
    assert asked("instance:0.1") == [("instance", 0.1)]
    with pytest.raises(UsageError, match=r"a rate, such as 0\.1, or it is instance:published"):
        asked("instance:publishd")


def test_a_long_tail_reaches_the_method_the_record_and_the_report(tmp_path):
    from pzsl import refine
    from pzsl.reports import report

    cache = write_cache(tmp_path / "toy.h5", each=30)
    asked = {"method": ["clip", "records"], "noise": ["uniform"], "rate": [0.2], "seeds": 1}
    asked["settings"] = {"epochs": 3, "min_steps": 1, "batch_size": 32}
    runs = tmp_path / "runs"
    found = train(cache, runs=runs, workers=1, imbalance=[1, 10], **asked)["runs"]
    assert [row["imbalance"] for row in found] == [1, 1, 10, 10]
    whole, tail = (
        json.loads((Path(row["path"]) / "config.json").read_text()) for row in found[1::2]
    )
    assert "imbalance" not in whole and tail["imbalance"] == 10
    images = [
        refine(row["path"], tmp_path / f"{row['imbalance']}.csv")["images"] for row in found[1::2]
    ]
    each = [int(20 * 10 ** (-rank / 7) + 1e-9) for rank in range(8)]
    assert images == [8 * 20, sum(each)]
    told = report(runs, tmp_path / "out", ("csv", "md", "html"))["rows"]
    assert sorted(row["imbalance"] for row in told) == [1, 1, 10, 10]
    table = (tmp_path / "out" / "table.md").read_text()
    assert "uniform, imbalance 10" in table
    assert "--imbalance 10" in (tmp_path / "out" / "index.html").read_text()
    with pytest.raises(UsageError, match=r"--imbalance should be a number from 1 to"):
        train(cache, runs=runs, imbalance=0.5, **asked)


def test_a_long_tail_needs_true_labels(tmp_path):
    cache = write_cache(tmp_path / "toy.h5", candidates=True, unlabelled=2)
    with pytest.raises(UserError, match=r"2 training images is unknown .*--imbalance 10 needs"):
        train(cache, noise="file", imbalance=10, runs=tmp_path / "runs", seeds=1)
