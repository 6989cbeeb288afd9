"""Where few classes have most of the images, classes count alike, and not images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from problems import make_problem

from pzsl import PartialLabelClassifier
from pzsl.methods.clip_pzsl.class_statistics import POWER, find_space, gather
from pzsl.methods.clip_pzsl.dominance import (
    class_centre,
    class_counts,
    dominance,
    entry_logits_and_sums,
    image_weights,
)
from pzsl.methods.clip_pzsl.label_weights import leave_one_out_weights
from pzsl.methods.core import CandidateEntries, Problem


def uneven(images: int = 60) -> tuple[Problem, torch.Tensor]:
    """Nine in ten images of class 0; two candidates each; and label weights near the truth."""
    problem, _ = make_problem(images=images, seen=4)
    truth = torch.where(torch.arange(images) % 10 == 9, torch.arange(images) // 10 % 3 + 1, 0)
    labels = torch.stack([truth, (truth + 1) % 4], dim=1).sort(dim=1).values.flatten()
    candidates = CandidateEntries.of(torch.arange(images + 1) * 2, labels)
    own = torch.repeat_interleave(truth, 2) == labels
    changed = Problem(problem.images, candidates, problem.seen, problem.unseen, scale=20.0)
    return changed, torch.where(own, 0.9, 0.1)


def dense(problem: Problem, weights: torch.Tensor) -> np.ndarray:
    """(N, K) label weights."""
    array = torch.zeros(len(problem.images), len(problem.seen))
    rows = torch.repeat_interleave(problem.candidates.sizes)
    array[rows, problem.candidates.labels.long()] = weights
    return array.numpy().astype(np.float64)


@given(st.integers(20, 600), st.floats(1, 100))
def test_long_tails_and_equal_classes_are_left_alone(classes: int, ratio: float):
    tail = ratio ** -(torch.arange(classes) / (classes - 1))
    assert dominance(tail) == 0
    assert dominance(torch.ones(classes)) == 0
    assert dominance(torch.tensor([7.0])) == 0


@given(st.lists(st.floats(0.1, 100), min_size=2, max_size=30))
def test_the_extent_is_that_of_the_formula(sizes: list[float]):
    total, count = sum(sizes), len(sizes)
    excess = (max(sizes) / total - 1 / count) / (1 - 1 / count)
    occupied = total**2 / (count * sum(size**2 for size in sizes))
    expected = max(0.0, min(1.0, max((excess - 0.25) / 0.15, (0.3 - occupied) / 0.1)))
    assert dominance(torch.tensor(sizes)) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("sizes", [[10, 1], [100, 10, 10], [20, 20, *[0.5] * 28]], ids=str)
def test_one_class_or_two_of_many_dominate(sizes):
    assert dominance(torch.tensor(sizes, dtype=torch.float32)) == 1


def test_the_centre_is_the_mean_of_the_class_means():
    problem, weights = uneven()
    shares, images = dense(problem, weights), problem.images.numpy().astype(np.float64)
    counts = shares.sum(axis=0)
    assert np.allclose(class_counts(problem.candidates, weights, 4).numpy(), counts, atol=1e-4)
    means = [(shares[:, label] @ images) / counts[label] for label in range(4)]
    part = np.minimum(counts / counts.mean(), 1)
    expected = sum(one * mean for one, mean in zip(part, means, strict=True)) / part.sum()
    statistics = gather(problem, problem.candidates, weights, problem.embeddings)
    assert np.allclose(class_centre(*statistics).numpy(), expected, atol=1e-5)
    space = find_space(problem, problem.candidates, weights, problem.embeddings, whiten=False)
    assert np.allclose(space.centre.numpy(), expected, atol=1e-5)


def test_images_are_weighed_so_that_classes_count_alike():
    problem, weights = uneven()
    shares = dense(problem, weights)
    expected = (shares / np.maximum(shares.sum(axis=0), 1)).sum(axis=1)
    found = image_weights(problem.candidates, weights, 4)
    assert np.allclose(found.numpy(), expected / expected.max(), atol=1e-5)
    even, _ = make_problem(images=40)
    assert image_weights(even.candidates, even.candidates.uniform(), 8) is None


@pytest.mark.parametrize("is_uneven", [False, True])
def test_what_attracts_images_is_the_weighted_sum(is_uneven: bool):
    problem, _ = uneven() if is_uneven else make_problem(images=60, seen=4)

    def logits(rows: torch.Tensor) -> torch.Tensor:
        return 20 * problem.cosines(rows)

    found, sums = entry_logits_and_sums(problem.candidates, logits, POWER)
    table = logits(torch.arange(60)).numpy().astype(np.float64)
    rows = torch.repeat_interleave(problem.candidates.sizes).numpy()
    labels = problem.candidates.labels.numpy()
    assert np.allclose(found.numpy(), table[rows, labels], atol=1e-4)
    powers = np.exp(table[rows, labels])
    shares = powers / np.bincount(rows, powers)[rows]
    weights = image_weights(problem.candidates, torch.from_numpy(shares).float(), 4)
    assert (weights is not None) == is_uneven
    of_image = np.ones(60) if weights is None else weights.numpy()
    expected = np.log((of_image[:, None] * np.exp(POWER * table)).sum(axis=0))
    assert np.allclose(sums.numpy(), expected, atol=1e-4)


def test_prototypes_of_classes_with_few_images_count_less():
    problem, weights = uneven()
    shares, images = dense(problem, weights), problem.images.numpy().astype(np.float64)
    found = leave_one_out_weights(
        problem, problem.candidates, weights, problem.embeddings, torch.zeros(120), 8.0
    )
    rows = torch.repeat_interleave(problem.candidates.sizes).numpy()
    scores = []
    for row, label in zip(rows, problem.candidates.labels.tolist(), strict=True):
        others = shares[:, label].copy()
        others[row] = 0
        total, count = others @ images, others.sum()
        scores.append(8 * images[row] @ total / np.linalg.norm(total) * count / (count + 1))
    powers = np.exp(scores)
    assert np.allclose(found.numpy(), powers / np.bincount(rows, powers)[rows], atol=2e-3)


def test_a_rare_class_keeps_its_labels_on_real_features(real_data):
    """Two actions, one with ten times the images of the other, each perhaps a candidate."""
    with np.load(real_data / "clip_features" / "ucf50.npz") as arrays:
        features = arrays["image_features"].astype(np.float32)
        text, labels = arrays["text_features"], arrays["labels"]
    right = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        classes = rng.choice(50, 2, replace=False)
        often, rare = (np.flatnonzero(labels == one) for one in classes)
        rows = np.concatenate([often, rare[: len(often) // 10]])
        truth = (labels[rows] == classes[1]).astype(int)
        sets = np.eye(2, dtype=bool)[truth] | (rng.random((len(rows), 2)) < 0.5)
        model = PartialLabelClassifier(seed=seed).fit(features[rows], sets, text[classes])
        several = sets.all(axis=1)
        right.append((model.labels_ == truth)[several].mean())
    assert np.mean(right) > 0.95
