"""Label weights as they are reported: what makes the candidate sets likeliest, and calibrated."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from problems import make_problem, prepared

from pzsl.inference.labelling.label_weights import Fit, fit, weigh
from pzsl.methods import load_method, make_options
from pzsl.methods.core import IMAGINED, CandidateEntries, LabelEvidence

CLASSES = 6


def drawn(eta: float, temperature: float, images: int = 4000) -> tuple:
    """Logits that are `temperature` times too large, labels drawn by them, a share eta swapped."""
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(3 * rng.standard_normal((images, CLASSES))).float()
    truth = torch.multinomial(logits.softmax(1), 1, generator=torch.manual_seed(0)).flatten()
    wrong = torch.from_numpy(rng.random(images) < eta)
    other = (truth + torch.from_numpy(rng.integers(1, CLASSES, images))) % CLASSES
    given = torch.where(wrong, other, truth)
    candidates = CandidateEntries.of(torch.arange(images + 1), given)
    scaled = temperature * logits
    evidence = LabelEvidence(lambda rows: 0.5 * scaled[rows], lambda rows: 0.5 * scaled[rows])
    return evidence, candidates, logits, truth, given


@pytest.mark.parametrize(("eta", "temperature"), [(0.05, 1.0), (0.2, 1.0), (0.2, 1.7), (0.4, 0.7)])
def test_the_share_of_wrong_labels_and_the_temperature_are_found(eta, temperature):
    evidence, candidates, _, truth, given = drawn(eta, temperature)
    found = fit(evidence, candidates)
    assert found.eta == pytest.approx((given != truth).float().mean().item(), abs=0.03)
    part = (1 + found.strength) / 2
    assert found.temperature / part == pytest.approx(temperature, rel=0.25)


def test_two_images_a_class_hide_no_wrong_sets():
    """Labels that are easy to tell, in sets of half the classes; a fifth lack the truth."""
    classes, images, right, shares = 20, 40, [], []
    for seed in range(10):
        random = torch.Generator().manual_seed(seed)
        logits = torch.randn(images, classes, generator=random)
        truth = logits.argmax(dim=1)
        logits[torch.arange(images), truth] += 8
        members = torch.rand(images, classes, generator=random) < 0.5
        members[torch.arange(images), truth] = torch.arange(images) % 5 > 0
        candidates = CandidateEntries.of(
            torch.nn.functional.pad(members.sum(1).cumsum(0), (1, 0)), members.nonzero()[:, 1]
        )
        nothing = torch.zeros_like(logits)
        evidence = LabelEvidence(logits.__getitem__, nothing.__getitem__)
        found = fit(evidence, candidates)
        entries, weights = weigh(evidence, candidates, found)
        right.append((entries.heaviest(weights) == truth).float().mean().item())
        shares.append(found.eta)
    assert np.mean(right) > 0.97
    assert np.mean(shares) == pytest.approx((8 + IMAGINED) / (40 + IMAGINED), abs=0.03)


def test_logits_that_say_nothing_get_next_to_no_weight():
    """As with class names that fit poorly: the other images alone know."""
    evidence, candidates, _, truth, given = drawn(0.2, 1.0)
    noise = torch.randn(len(truth), CLASSES, generator=torch.manual_seed(1))
    found = fit(LabelEvidence(lambda rows: noise[rows], evidence.of_others), candidates)
    assert found.strength > 10
    assert found.strength / found.temperature == pytest.approx(2.0, rel=0.15)
    assert found.eta == pytest.approx((given != truth).float().mean().item(), abs=0.03)


def test_weights_are_bayes_rule():
    """P(label) by the evidence, times how likely it makes the label that was given."""
    evidence, candidates, logits, _, given = drawn(0.2, 1.0, images=50)
    result = weigh(evidence, candidates, Fit(1.0, 1.0, 0.2, 0.0))
    for image in range(50):
        likelihood = torch.full((CLASSES,), 0.2 / (CLASSES - 1))
        likelihood[given[image]] = 0.8
        expected = logits[image].softmax(0) * likelihood
        expected /= expected.sum()
        first, last = result.candidates.offsets[image : image + 2]
        labels = result.candidates.labels[first:last]
        assert torch.allclose(result.weights[first:last], expected[labels], atol=1e-3)
        assert given[image] in labels and len(labels) >= 2


def test_confidences_are_right_as_often_as_they_say():
    evidence, candidates, _, truth, _ = drawn(0.2, 1.5)
    candidates, weights = weigh(evidence, candidates, fit(evidence, candidates))
    best = candidates.heaviest(weights)
    confidence = torch.segment_reduce(weights, "max", offsets=candidates.offsets)
    assert confidence.mean().item() == pytest.approx(
        (best == truth).float().mean().item(), abs=0.02
    )


@pytest.mark.parametrize("seen", [5, 10, 20])
def test_the_other_images_speak_for_a_label_also_where_classes_take_turns(seen):
    """Every tenth image may be all that a class has: it must not be left out as a whole."""
    problem, truth = make_problem(images=200, seen=seen, dim=48, rate=0.02)
    kind, _ = load_method("clip-pzsl")
    options = make_options("clip-pzsl", "default", {})
    method = prepared(kind(problem, options, torch.Generator().manual_seed(0)))
    likeliest = method.label_evidence().of_others(torch.arange(200)).argmax(dim=1).numpy()
    assert (likeliest == truth).mean() > 0.95
