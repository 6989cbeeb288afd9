"""Prototypes, left-out label weights, whitening and hubness against slow, obvious references."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from problems import make_problem, prepared, unit

from pzsl.methods import make_options
from pzsl.methods.clip_pzsl.class_statistics import (
    POWER,
    all_prototypes,
    balanced_hubness,
    find_space,
    gather,
    hubness,
)
from pzsl.methods.clip_pzsl.label_weights import leave_one_out_weights
from pzsl.methods.clip_pzsl.method import ClipPzsl
from pzsl.methods.clip_pzsl.noise_model import keep_inside
from pzsl.models.prototypes import leave_one_out_cosines, whitening, within_covariance
from pzsl.training.calibration import refined_labels
from pzsl.training.loop import fit


def ragged(problem, seed: int = 0):
    """Random label weights: as entries (M,), and as a dense array (N, K)."""
    candidates = problem.candidates
    rows = torch.repeat_interleave(candidates.sizes)
    drawn = torch.rand(len(rows), generator=torch.Generator().manual_seed(seed)) + 0.05
    total = torch.zeros(len(candidates)).index_add_(0, rows, drawn)
    weights = drawn / total[rows]
    dense = np.zeros((len(candidates), len(problem.seen)))
    dense[rows.numpy(), candidates.labels.numpy()] = weights.double().numpy()
    return weights, dense


def covariance(images: np.ndarray, dense: np.ndarray) -> np.ndarray:
    """Sum over images and labels of weight times the outer product around the class mean, / N."""
    total = np.zeros((images.shape[1], images.shape[1]))
    for label in range(dense.shape[1]):
        mean = dense[:, label] @ images / dense[:, label].sum()
        for image, weight in zip(images, dense[:, label], strict=True):
            total += weight * np.outer(image - mean, image - mean)
    return total / len(images)


def test_within_covariance_equals_a_slow_loop():
    problem, _ = make_problem(images=60)
    _, dense = ragged(problem)
    images = problem.images.double()
    weights = torch.from_numpy(dense)
    found = within_covariance(images.T @ images, weights.T @ images, weights.sum(0), 60)
    assert np.allclose(found.numpy(), covariance(images.numpy(), dense), atol=1e-12)


@pytest.mark.parametrize("images", [3, 300, 300_000])
@pytest.mark.parametrize("rounding", [0.0, 1e-8, 3e-8])
def test_images_that_do_not_vary_are_whitened_by_the_identity(images, rounding):
    """The covariance of one image a class: zero but for rounding, of either sign."""
    noise = rounding * np.random.default_rng(0).standard_normal((32, 32)).astype(np.float32)
    found = whitening(torch.from_numpy((noise + noise.T) / 2), images)
    torch.testing.assert_close(found, torch.eye(32))


@pytest.mark.parametrize("images", [10, 10_000])
def test_whitening_evens_out_the_shrunk_covariance(images):
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((6, 6))
    matrix = mixing @ mixing.T
    share = 2 * 6 / (2 * 6 + images)
    level = np.trace(matrix) / 6
    shrunk = (1 - share) * matrix + share * level * np.eye(6)
    found = whitening(torch.from_numpy(matrix), images).numpy()
    assert np.allclose(found.T @ shrunk @ found, level * np.eye(6), atol=1e-8)


def test_a_left_out_cosine_is_that_with_the_sum_of_the_others():
    rng = np.random.default_rng(1)
    images, weights = unit(rng.standard_normal((7, 5))).astype(float), rng.random(7)
    total = weights @ images
    near = torch.from_numpy(images @ total)
    squares = torch.full((7,), float(total @ total), dtype=torch.float64)
    found = leave_one_out_cosines(near, squares, torch.from_numpy(weights)).numpy()
    for row in range(7):
        others = sum(weights[i] * images[i] for i in range(7) if i != row)
        assert found[row] == pytest.approx(images[row] @ others / np.linalg.norm(others), abs=1e-6)


@pytest.mark.parametrize("whiten", [False, True])
def test_prototypes_and_leave_one_out_weights_equal_a_slow_loop(whiten):
    problem, _ = make_problem(images=50, rate=0.4)
    candidates = problem.candidates
    weights, dense = ragged(problem)
    space = find_space(problem, candidates, weights, lambda rows: problem.images[rows], whiten)
    project = lambda rows: space.project(problem.images[rows])  # noqa: E731
    found = gather(problem, candidates, weights, project)
    images = problem.images.double().numpy()
    centred = images - images.mean(0)
    metric = np.eye(16)
    if whiten:
        metric = whitening(torch.from_numpy(covariance(centred, dense)), 50).numpy()
    projected = centred @ metric
    projected /= np.linalg.norm(projected, axis=1, keepdims=True)
    sums = dense.T @ projected
    assert np.allclose(found.sums.numpy(), sums, atol=1e-4)
    assert np.allclose(found.counts.numpy(), dense.sum(0), atol=1e-5)
    prototypes = all_prototypes(found, torch.cat([problem.seen, problem.unseen]), 0.5)
    assert np.allclose(prototypes[:8].numpy(), unit(sums), atol=1e-4)
    assert np.allclose(prototypes[8:].norm(dim=1).numpy(), 0.5, atol=1e-5)

    logits = 20 * images @ problem.seen.double().numpy().T
    at_entries = torch.from_numpy(logits).float()[
        torch.repeat_interleave(candidates.sizes), candidates.labels
    ]
    answer = leave_one_out_weights(problem, candidates, weights, project, at_entries, 3.0)
    offsets = candidates.offsets.tolist()
    for row, (start, end) in enumerate(pairwise(offsets)):
        labels = candidates.labels[start:end].tolist()
        scores = []
        for label in labels:
            others = sums[label] - dense[row, label] * projected[row]
            length = max(np.sqrt(others @ others), 1e-3)
            scores.append(logits[row, label] + 3 * projected[row] @ others / length)
        powers = np.exp(np.array(scores) - max(scores))
        assert np.allclose(answer[start:end].numpy(), powers / powers.sum(), atol=1e-3)


def test_hubness_is_a_power_mean_over_images():
    problem, _ = make_problem(images=40)
    logits = (20 * problem.images @ problem.seen.T).double()
    expected = np.log(np.exp(POWER * logits.numpy()).sum(0)) / POWER
    found = hubness(problem.candidates, lambda rows: logits[rows].float())
    assert np.allclose(found.numpy(), expected - expected.mean(), atol=1e-4)


def test_hubness_counts_a_class_s_own_images_as_one_class():
    problem, _ = make_problem(images=40)
    weights, dense = ragged(problem)
    labels = torch.cat([problem.seen, problem.unseen])
    logits = (20 * problem.images @ labels.T).double()
    drawn = np.exp(POWER * logits.numpy())
    own = np.hstack([dense, np.zeros((40, 4))])
    expected = []
    for label in range(len(labels)):
        mean = (drawn * (1 - own))[:, label].sum() / (1 - own)[:, label].sum()
        if own[:, label].any():
            mean += np.average(drawn[:, label], weights=own[:, label]) / len(labels)
        expected.append(np.log(mean) / POWER)
    found = balanced_hubness(problem.candidates, lambda rows: logits[rows].float(), weights)
    assert np.allclose(found.numpy(), np.array(expected) - np.mean(expected), atol=1e-4)


def test_hubness_is_finite_for_images_and_classes_without_weight():
    problem, _ = make_problem(images=6, seen=3, rate=1.0)
    weights = torch.tensor([1.0, 0, 0]).repeat(6)  # all images are of the first class
    logits = 100 * problem.images @ problem.seen.T
    found = balanced_hubness(problem.candidates, lambda rows: logits[rows], weights)
    assert found.isfinite().all()


def test_a_label_that_draws_everything_is_a_hub_and_loses_its_lead():
    problem, _ = make_problem(images=40)
    logits = 20 * problem.images @ problem.seen.T
    logits[:, 2] += 5
    drawn = hubness(problem.candidates, lambda rows: logits[rows])
    assert drawn.argmax() == 2
    freed = logits - drawn
    lead = [scores[:, 2].mean() - scores.mean() for scores in (logits, freed)]
    assert lead[1] < 0.2 * lead[0]


def test_left_out_prototypes_find_more_true_labels_than_frozen_clip():
    problem, truth = make_problem(images=400, rate=0.5, spread=0.2)
    drawn = torch.randn(problem.seen.shape, generator=torch.Generator().manual_seed(0))
    problem = replace(problem, seen=F.normalize(problem.seen + 0.2 * drawn, dim=-1))  # poor names
    first = [
        prepared(ClipPzsl(problem, make_options("clip-pzsl", changes=changes), torch.Generator()))
        for changes in (
            {"weigh_names": False, "left_out": False},
            {"weigh_names": False, "left_out_share": 0.5},
        )
    ]
    frozen, corrected = ((refined_labels(m).numpy() == truth).mean() for m in first)
    assert corrected > frozen + 0.02


def test_training_leaves_the_share_of_the_candidates_as_it_began():
    problem, _ = make_problem(images=400, seen=12, rate=0.3, eta=0.3)
    # Balancing moves the share before training, which forgets that by half with each pass.
    changes = {"left_out": False, "progressive": True, "momentum": 0.5}
    options = make_options("clip-pzsl", changes=changes)
    method = prepared(ClipPzsl(problem, options, torch.Generator().manual_seed(0)))
    assert method.inside is not None
    started, weights = method.inside.clone(), method.weights.clone()
    fit(method, 0)
    rows = torch.repeat_interleave(method.candidates.sizes)
    held = method.weights * (method.candidates.log_mask >= 0)
    now = torch.zeros(len(started)).index_add_(0, rows, held)
    assert torch.allclose(now, started, atol=1e-4)
    assert (method.weights - weights).abs().max() > 0.01


def test_a_batch_has_the_log_mask_of_its_entries_be_it_a_number_each_or_one_for_all():
    problem, _ = make_problem(images=5, seen=4, rate=0.5)
    plain, rows = problem.candidates, torch.tensor([4, 1, 1] * 5)
    masked = replace(plain, log_mask=-torch.arange(len(plain.labels)).float())
    expected = torch.cat([masked.log_mask[slice(*plain.offsets[i : i + 2])] for i in rows])
    assert torch.equal(masked.batch(rows, 4).log_mask, expected)
    assert torch.equal(plain.batch(rows, 4).log_mask, torch.zeros(len(expected)))


def test_keeping_the_share_survives_sets_with_everything_and_with_nothing_inside():
    problem, _ = make_problem(images=4, seen=3, rate=1.0)
    entries = problem.candidates.batch(torch.arange(4), 3)
    mask = torch.tensor([0.0, 0, 0, 0, -2, -2, -2, -2, -2, 0, -2, -2])
    entries = entries._replace(log_mask=mask)
    answer = torch.tensor([0.2, 0.3, 0.5, 0.0, 0.4, 0.6, 0.1, 0.1, 0.8, 1.0, 0.0, 0.0])
    inside = torch.tensor([1.0, 0.25, 0.0, 1.0])
    kept = keep_inside(answer, entries, inside).view(4, 3)
    assert kept.isfinite().all()
    assert torch.allclose(kept[0], answer[:3], atol=1e-5)
    assert torch.allclose(kept[1], torch.tensor([0.0, 0.3, 0.45]), atol=1e-5)
    assert torch.allclose(kept[2], answer[6:9], atol=1e-5)
    assert torch.allclose(kept[3], answer[9:], atol=1e-5)


def test_few_images_with_every_label_allowed_don_t_break_the_noise_update():
    """With fewer classes than outsiders allowed, some images have the whole class list inside."""
    problem, _ = make_problem(images=60, seen=6, rate=0.5, eta=0.3)
    method = fit(prepared(ClipPzsl(problem, make_options("clip-pzsl"), torch.Generator())), 0)
    assert method.weights.isfinite().all()
    assert method.scores(problem.images).isfinite().all()


def test_a_method_that_nobody_needs_any_more_is_gone_at_once():
    """On millions of images each takes half a gibibyte: a circle of references would keep it."""
    problem, _ = make_problem(images=60, rate=0.5, eta=0.3)
    options = make_options("clip-pzsl", "transductive")
    method = fit(prepared(ClipPzsl(problem, options, torch.Generator())), 0)
    with torch.no_grad():
        method.observe_queries(lambda: [problem.images])
    there = weakref.ref(method)
    gc.disable()
    try:
        del method
        assert there() is None
    finally:
        gc.enable()
