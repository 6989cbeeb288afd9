"""Transduction against a slow reference; that only who asks for it gets it, and that it helps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from problems import make_problem, prepared, unit

import pzsl
from pzsl.errors import UsageError
from pzsl.methods import make_options
from pzsl.methods.clip_pzsl.method import ClipPzsl
from pzsl.methods.clip_pzsl.transduction import HALF_COUNT, LONGEST, ROUNDS, TransductivePrototypes
from pzsl.training.loop import fit


def trained(problem, **changes):
    options = make_options("clip-pzsl", changes=changes)
    return fit(prepared(ClipPzsl(problem, options, torch.Generator().manual_seed(0))), 0)


def images_of_all(count=60, poor=0.5):
    """A problem whose unseen names are poor, and images of all of its 12 classes."""
    problem, _ = make_problem(images=200)
    rng = np.random.default_rng(7)
    centres = torch.cat([problem.seen, problem.unseen]).numpy()
    label = np.arange(count) % 12
    images = unit(centres[label] + 0.08 * rng.standard_normal((count, 16)))
    drawn = torch.from_numpy(unit(rng.standard_normal((4, 16))))
    unseen = F.normalize(problem.unseen + poor * drawn, dim=-1)
    return replace(problem, unseen=unseen), torch.from_numpy(images), label


def slow_scores(start, projected, initial_prototypes, weight):
    """Scores after all rounds: each image's prototypes summed up anew without it."""
    start, projected, initial_prototypes = (
        each.double().numpy() for each in (start, projected, initial_prototypes)
    )
    count, seen = len(start), start.shape[1] - len(initial_prototypes)
    scores = start.copy()
    for _ in range(ROUNDS):
        mass = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
        after = scores.copy()
        for label in range(len(initial_prototypes)):
            own = mass[:, seen + label]
            for image in range(count):
                others = sum(own[row] * projected[row] for row in range(count) if row != image)
                prototype = initial_prototypes[label] + LONGEST / (HALF_COUNT + own.sum()) * others
                prototype = prototype / max(1, np.sqrt(prototype @ prototype))
                plain = (
                    start[image, seen + label]
                    - weight * projected[image] @ initial_prototypes[label]
                )
                after[image, seen + label] = plain + weight * projected[image] @ prototype
        scores = after
    return scores


def test_each_image_is_scored_by_the_prototypes_that_all_others_make():
    generator = torch.Generator().manual_seed(0)
    start = 3 * torch.randn(12, 5, generator=generator)
    projected = F.normalize(torch.randn(12, 6, generator=generator), dim=-1)
    initial_prototypes = 0.5 * F.normalize(torch.randn(2, 6, generator=generator), dim=-1)
    blocks = [(start[:7], projected[:7]), (start[7:], projected[7:])]
    prototypes = TransductivePrototypes(initial_prototypes, 2.0, lambda: iter(blocks))
    expected = slow_scores(start, projected, initial_prototypes, 2.0)
    assert np.allclose(prototypes.rescore(start, projected).numpy(), expected, atol=1e-4)
    assert not np.allclose(expected, start.numpy(), atol=0.1)


def test_the_default_does_not_look_and_transduction_does():
    problem, images, _ = images_of_all()
    for points, same in (("none", True), ("test", False)):
        method = trained(problem, unseen_points=points)
        with torch.no_grad():
            before = method.scores(images)
            method.observe_queries(lambda: [images])
            after = method.scores(images)
        assert torch.equal(before, after) == same
        assert torch.equal(before[:, :8], after[:, :8])  # seen labels have images of their own


def test_how_images_are_cut_into_blocks_changes_nothing():
    problem, images, _ = images_of_all()
    method, found = trained(problem, unseen_points="test"), []
    for size in (60, 7):
        with torch.no_grad():
            method.observe_queries(lambda size=size: images.split(size))
            found.append(torch.cat([method.scores(block) for block in images.split(size)]))
    assert torch.allclose(*found, atol=1e-4)


def test_other_images_make_up_for_poor_names():
    problem, images, label = images_of_all(count=240, poor=2.5)
    right = []
    for points in ("none", "test"):
        method = trained(problem, unseen_points=points, prototype_share=0.3)
        with torch.no_grad():
            method.observe_queries(lambda: [images])
            found = method.scores(images)[:, 8:].argmax(1).numpy() + 8
        right.append((found == label)[label >= 8].mean())
    assert right[1] > right[0] + 0.05


def test_no_unseen_class_and_a_single_image_are_no_trouble():
    problem, images, _ = images_of_all()
    without = replace(problem, unseen=problem.unseen[:0])
    for part, some in ((without, images), (problem, images[:1])):
        method = trained(part, unseen_points="test")
        with torch.no_grad():
            method.observe_queries(lambda some=some: [some])
            assert method.scores(some).isfinite().all()


@pytest.mark.parametrize("word", ["tset", "centroids"])
def test_what_unseen_labels_cannot_attend_to_is_said_before_any_run(word):
    with pytest.raises(UsageError, match="unseen_points"):
        make_options("clip-pzsl", changes={"unseen_points": word})
    assert make_options("clip-pzsl", "paper", {"unseen_points": "centroids"})


def test_the_estimator_classifies_images_together():
    problem, images, _ = images_of_all()
    labels = torch.cat([problem.seen, problem.unseen]).numpy()
    seen, sets = np.arange(12) < 8, problem.candidates
    candidates = np.split(sets.labels.numpy(), sets.offsets.numpy()[1:-1])
    options = {"fade": False}
    model = pzsl.PartialLabelClassifier(
        preset="transductive", options=options, scale=20.0, device="cpu"
    )
    model.fit(problem.images.numpy(), candidates, labels, seen)
    whole, part = (model.decision_function(images.numpy()[:end]) for end in (60, 30))
    assert not np.allclose(whole[:30], part, atol=1e-3)
