"""Class means in place of label embeddings: folds make them from their own images."""

from __future__ import annotations

import numpy as np
import torch
from problems import unit

from pzsl import PartialLabelClassifier
from pzsl.candidates import CandidateSets
from pzsl.inference.class_means import ClassMeans
from pzsl.methods.core import CandidateEntries
from pzsl.training import folds

CLASSES, DIM = 3, 6


def images_and_sets(count: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    images = unit(rng.standard_normal((count, DIM)))
    return images, [sorted({row % CLASSES, int(rng.integers(CLASSES))}) for row in range(count)]


def slow_means(images, sets):
    """Means by a loop; the mean of all images for a class that has none."""
    means = []
    for label in range(CLASSES):
        parts = [image / len(one) for image, one in zip(images, sets, strict=True) if label in one]
        means.append(sum(parts) if parts else images.mean(axis=0))
    return unit(np.array(means))


def test_folds_of_an_estimator_without_label_embeddings_make_means_of_their_own(monkeypatch):
    images, sets = images_and_sets(30)
    parts, hold_out = [], folds.hold_out

    def watched(problem, seen_classes, train):
        part = hold_out(problem, seen_classes, train)
        parts.append((part, train.numpy()))
        return part

    monkeypatch.setattr(folds, "hold_out", watched)
    PartialLabelClassifier("clip-pzsl", options={"epochs": 1, "min_steps": 1}).fit(images, sets)
    assert len(parts) >= 2
    for part, train in parts:
        assert len(train) < 30
        expected = slow_means(images[train], [sets[row] for row in train])
        np.testing.assert_allclose(part.seen.numpy(), expected, atol=1e-6)


def test_a_class_without_images_in_a_fold_gets_the_mean_of_all():
    images, _ = images_and_sets(4)
    sets = [[0], [0, 1], [1], [0]]
    stored = CandidateSets.from_lists(sets)
    tensors = torch.from_numpy(stored.offsets), torch.from_numpy(stored.labels)
    found = ClassMeans().embeddings(
        torch.from_numpy(images), CandidateEntries.of(*tensors), CLASSES
    )
    np.testing.assert_allclose(found.numpy(), slow_means(images, sets), atol=1e-6)
