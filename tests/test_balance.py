"""Label weights that agree with the sizes of the classes."""

from __future__ import annotations

import numpy as np
import torch

from pzsl.methods.clip_pzsl.balance import SOFT, balanced_weights, class_sizes
from pzsl.methods.core import CandidateEntries


def dense(scores):
    """Every image has every class as a candidate: its entries, and their softmax."""
    images, classes = scores.shape
    offsets = torch.arange(images + 1) * classes
    candidates = CandidateEntries.of(offsets, torch.arange(classes).repeat(images))
    return candidates, torch.softmax(scores, dim=1).flatten()


def drawn(sizes, leaning, seed=0):
    """Images of classes of these sizes; each class draws images of others by its own leaning."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    noise = torch.randn(len(truth), len(sizes), generator=generator)
    pull = leaning * torch.randn(len(sizes), generator=generator)
    return truth, noise + pull + 4 * torch.nn.functional.one_hot(truth, len(sizes))


def right(candidates, weights, truth):
    return (candidates.heaviest(weights) == truth).float().mean().item()


def test_it_is_a_slow_transport_onto_the_sizes():
    _, scores = drawn([6, 6, 6], 1.0)
    candidates, weights = dense(scores)
    plan = weights.view(-1, 3).double().numpy()
    sizes = class_sizes(candidates.labels, weights, 3, 18).numpy()
    rows, columns = np.ones(18), np.ones(3)
    for _ in range(20):
        rows = np.array([1 / sum(plan[i] * columns) for i in range(18)])
        columns = np.array([(sizes[c] / sum(plan[:, c] * rows)) ** SOFT for c in range(3)])
    slow = plan * columns
    slow /= slow.sum(1, keepdims=True)
    found = balanced_weights(candidates, weights, 3)
    np.testing.assert_allclose(found.view(-1, 3).numpy(), slow, atol=2e-4)


def test_small_classes_of_one_size_get_their_images_back_from_those_that_draw_them():
    truth, scores = drawn([4] * 40, 0.7)
    candidates, weights = dense(scores)
    found = balanced_weights(candidates, weights, 40)
    assert right(candidates, found, truth) > right(candidates, weights, truth) + 0.03
    torch.testing.assert_close(found.view(-1, 40).sum(1), torch.ones(160))


def test_sizes_that_differ_are_believed():
    truth, scores = drawn([80, 40, 20, 10, 5, 0], 0.0)
    candidates, weights = dense(scores)
    found = balanced_weights(candidates, weights, 6)
    assert right(candidates, found, truth) >= right(candidates, weights, truth) - 0.02
    sizes = class_sizes(candidates.labels, weights, 6, 155)
    assert sizes[0] > 60
    assert sizes[5] < 8


def test_counts_that_vary_by_chance_are_taken_for_one_size():
    labels = torch.repeat_interleave(torch.arange(4), torch.tensor([5, 7, 6, 6]))
    sizes = class_sizes(labels, torch.ones(24), 4, 30)
    torch.testing.assert_close(sizes, torch.full((4,), 7.5))


def test_one_class_or_nothing_sure_changes_nothing_and_is_finite():
    candidates, weights = dense(torch.zeros(3, 1))
    torch.testing.assert_close(balanced_weights(candidates, weights, 1), weights)
    candidates, weights = dense(torch.zeros(3, 4))
    torch.testing.assert_close(balanced_weights(candidates, weights, 4), weights)
