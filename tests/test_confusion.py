"""Wrong labels that follow their class: found by the labels alone, and only where they do."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from problems import make_problem, prepared

from pzsl.inference.labelling import label_weights
from pzsl.inference.labelling.confusion import IMAGES, ROUNDS, START, estimate_confusion
from pzsl.inference.labelling.label_weights import fit, reported_weights, weigh, with_confusion
from pzsl.methods import load_method, make_options
from pzsl.methods.core import IMAGINED, CandidateEntries, LabelEvidence, Problem

CLASSES = 12


def given_labels(truth: torch.Tensor, wrong: torch.Tensor, kind: str) -> torch.Tensor:
    """The true labels with wrong ones: the next class's (in `half` of even classes), or any."""
    if kind == "any":
        steps = torch.randint(1, CLASSES, truth.shape, generator=torch.manual_seed(2))
        return torch.where(wrong, (truth + steps) % CLASSES, truth)
    if kind == "half":
        wrong = wrong & (truth % 2 == 0)
    return torch.where(wrong, (truth + 1) % CLASSES, truth)


def made(kind: str, share: float = 0.3, images: int = 1200) -> tuple:
    """Logits that tell classes apart, though the next class is always the runner-up."""
    random = torch.Generator().manual_seed(0)
    truth = torch.arange(images) % CLASSES
    logits = torch.randn(images, CLASSES, generator=random)
    logits[torch.arange(images), truth] += 8
    logits[torch.arange(images), (truth + 1) % CLASSES] += 4
    wrong = torch.rand(images, generator=random) < share
    given = given_labels(truth, wrong, kind)
    nothing = torch.zeros_like(logits)
    evidence = LabelEvidence(logits.__getitem__, nothing.__getitem__)
    return evidence, CandidateEntries.of(torch.arange(images + 1), given), truth, given


def found(evidence: LabelEvidence, candidates: CandidateEntries, fitted) -> torch.Tensor:
    entries, weights = weigh(evidence, candidates, fitted)
    return entries.heaviest(weights)


@pytest.mark.parametrize("kind", ["pair", "half"])
def test_labels_of_the_next_class_are_found(kind):
    evidence, candidates, truth, given = made(kind)
    uniform = fit(evidence, candidates)
    fitted = with_confusion(evidence, candidates, uniform)
    changed = found(evidence, candidates, fitted) != given
    wrong = given != truth
    assert fitted is not uniform
    assert (changed & wrong).sum() / changed.sum() > 0.97  # precision
    assert (changed & wrong).sum() / wrong.sum() > 0.95  # recall
    assert fitted.eta == pytest.approx(wrong.float().mean().item(), abs=0.03)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.2, 0.4])
def test_any_wrong_labels_keep_the_fit(share):
    evidence, candidates, *_ = made("any", share)
    uniform = fit(evidence, candidates)
    assert with_confusion(evidence, candidates, uniform) is uniform


def test_a_few_images_a_class_tell_nothing_of_their_wrong_labels():
    evidence, candidates, *_ = made("pair", 0.3, images=2 * CLASSES)
    uniform = fit(evidence, candidates)
    assert with_confusion(evidence, candidates, uniform) is uniform


def test_too_many_classes_keep_the_fit(monkeypatch):
    evidence, candidates, *_ = made("pair")
    uniform = fit(evidence, candidates)
    monkeypatch.setattr(label_weights, "MOST_CLASSES", CLASSES - 1)
    assert with_confusion(evidence, candidates, uniform) is uniform


def slow_confusion(p: np.ndarray, given: list[int]) -> tuple[np.ndarray, float, float]:
    """The same by loops over images and cells, as the formulas have it."""
    images, classes = p.shape
    eta, counts = START, np.zeros((classes, classes))

    def prior(true: int, label: int) -> float:
        return IMAGES * (1 - eta if true == label else eta / (classes - 1))

    cells = [(true, label) for true in range(classes) for label in range(classes)]
    for _ in range(ROUNDS):
        matrix = np.zeros((classes, classes))
        for true, label in cells:
            matrix[true, label] = counts[true, label] + prior(true, label)
            matrix[true, label] /= counts[true].sum() + IMAGES
        counts, log_likelihood = np.zeros((classes, classes)), 0.0
        for image, label in enumerate(given):
            joint = [p[image, true] * matrix[true, label] for true in range(classes)]
            counts[:, label] += np.array(joint) / sum(joint)
            log_likelihood += math.log(sum(joint))
        eta = (images - np.trace(counts) + IMAGINED) / (images + IMAGINED)
    for true in range(classes):
        log_likelihood += math.lgamma(IMAGES) - math.lgamma(counts[true].sum() + IMAGES)
    for true, label in cells:
        expected, count = prior(true, label), counts[true, label]
        log_likelihood += math.lgamma(count + expected) - math.lgamma(expected)
        log_likelihood -= count * math.log(matrix[true, label])
    return matrix, eta, log_likelihood / images


def test_matrix_eta_and_likelihood_are_those_of_the_formulas():
    random = torch.Generator().manual_seed(0)
    p = (2 * torch.randn(40, 4, generator=random)).softmax(dim=1).double()
    given = torch.randint(0, 4, (40,), generator=random)
    result = estimate_confusion(p, given)
    matrix, eta, likelihood = slow_confusion(p.numpy(), given.tolist())
    assert np.allclose(result.matrix.numpy(), matrix)
    assert result.eta == pytest.approx(eta)
    assert result.likelihood == pytest.approx(likelihood)


def test_weights_are_bayes_rule_with_the_matrix():
    evidence, candidates, _, given = made("pair", images=60)
    matrix = torch.full((CLASSES, CLASSES), 0.01).fill_diagonal_(1 - 0.01 * (CLASSES - 1))
    matrix[3, 4] = 0.2
    fitted = label_weights.Fit(1.0, 1.0, 0.2, 0.0, matrix)
    entries, weights = weigh(evidence, candidates, fitted)
    for image in range(60):
        expected = evidence.logits(torch.tensor([image]))[0].softmax(0) * matrix[:, given[image]]
        expected /= expected.sum()
        first, last = entries.offsets[image : image + 2]
        assert torch.allclose(weights[first:last], expected[entries.labels[first:last]], atol=1e-3)


def test_sets_of_several_labels_have_no_matrix(monkeypatch):
    def never(*_):
        raise AssertionError

    monkeypatch.setattr(label_weights, "estimate_confusion", never)
    problem, _ = make_problem(rate=0.3, eta=0.2)
    method = trained_briefly(problem)
    assert method.label_evidence() is not None
    reported_weights(method)
    single = replace(problem, candidates=first_of_each(problem.candidates))
    with pytest.raises(AssertionError):
        reported_weights(trained_briefly(single))


def trained_briefly(problem: Problem):
    kind, _ = load_method("clip-pzsl")
    options = make_options("clip-pzsl", "default", {})
    return prepared(kind(problem, options, torch.Generator().manual_seed(0)))


def first_of_each(sets: CandidateEntries) -> CandidateEntries:
    return CandidateEntries.of(torch.arange(len(sets) + 1), sets.labels[sets.offsets[:-1]])


def real_pairs(file: Path, share: float) -> tuple[Problem, torch.Tensor]:
    """Training images of seen classes; a share has the label whose name is nearest to the true."""
    arrays = np.load(file)
    seen = np.flatnonzero(~arrays["unseen"])
    training = arrays["split"] == "trainval"
    truth = torch.from_numpy(np.searchsorted(seen, arrays["labels"][training]))
    text = torch.from_numpy(arrays["text_features"][seen]).float()
    nearest = (text @ text.T).fill_diagonal_(-1).argmax(dim=1)
    wrong = torch.rand(len(truth), generator=torch.manual_seed(0)) < share
    given = torch.where(wrong, nearest[truth], truth)
    sets = CandidateEntries.of(torch.arange(len(truth) + 1), given)
    images = torch.from_numpy(arrays["image_features"][training]).float()
    return Problem(images, sets, text, text[:0], scale=100.0), truth


@pytest.mark.parametrize("name", ["caltech69", "ucf50"])
def test_labels_of_the_nearest_class_are_found_on_real_features(real_data: Path, name: str):
    problem, truth = real_pairs(real_data / "clip_features" / f"{name}.npz", 0.3)
    given = problem.candidates.labels
    entries, weights = reported_weights(trained_briefly(problem))
    changed, wrong = entries.heaviest(weights) != given, given != truth
    assert (changed & wrong).sum() / changed.sum() > 0.95
    assert (changed & wrong).sum() / wrong.sum() > 0.75
