"""The logit scale where no label embeddings are given: a slow formula, and what it is for."""

from __future__ import annotations

import numpy as np
import pytest
from problems import unit

from pzsl import PartialLabelClassifier
from pzsl.candidates import CandidateSets
from pzsl.errors import UsageError
from pzsl.evaluation import log_likelihoods
from pzsl.evaluation.scale_fit import WRONG
from pzsl.inference.likeliest_scale import (
    _SCALES,
    USUAL_SCALE,
    _left_out_cosines,
    likeliest_scale,
)

CLASSES, DIM = 5, 12


def blurred(spread: float, offset: float = 0.0, count: int = 200, seed: int = 0):
    """Images around class centres, all moved by an offset, and their classes."""
    rng = np.random.default_rng(seed)
    centres, truth = unit(rng.standard_normal((CLASSES, DIM))), np.arange(count) % CLASSES
    images = centres[truth] + spread * rng.standard_normal((count, DIM)) + offset
    return unit(images), truth


def estimate(images, sets) -> float:
    return likeliest_scale(images, CandidateSets.from_lists(sets), CLASSES)


def test_cosines_and_likelihoods_equal_a_loop():
    images, truth = blurred(0.4, count=23)
    rng = np.random.default_rng(1)
    sets = [sorted({int(one), int(rng.integers(CLASSES))}) for one in truth]
    sets[4] = list(range(CLASSES))
    chosen = np.array([0, 3, 7, 20])
    stored = CandidateSets.from_lists(sets)
    cosines, inside = _left_out_cosines(images, stored, CLASSES, chosen)
    expected = np.zeros((len(_SCALES), len(WRONG)))
    for position, row in enumerate(chosen):
        others = [other for other in range(len(sets)) if other != row]
        for label in range(CLASSES):
            mean = sum(images[one] / len(sets[one]) for one in others if label in sets[one])
            assert cosines[position, label] == pytest.approx(images[row] @ unit(mean), abs=1e-5)
            assert inside[position, label] == (label in sets[row])
        for index, scale in enumerate(_SCALES):
            odds = np.exp(scale * cosines[position])
            mass, chance = odds[sets[row]].sum() / odds.sum(), len(sets[row]) / CLASSES
            expected[index] += np.log((1 - WRONG) * mass + WRONG * chance)
    found = log_likelihoods(cosines, inside, _SCALES)
    np.testing.assert_allclose(found, expected.max(axis=1), rtol=1e-6)


def test_wide_angles_have_a_small_scale_and_narrow_ones_a_large_one():
    for wrong in (0.0, 0.3):
        scales = []
        for offset in (0.0, 2.0):
            images, truth = blurred(0.4, offset)
            given = np.where(np.arange(len(truth)) % 10 < 10 * wrong, (truth + 1) % CLASSES, truth)
            scales.append(estimate(images, [[int(one)] for one in given]))
        assert scales[0] < 15 and scales[1] > 150


@pytest.mark.parametrize("single", [0, 1])
def test_images_that_say_nothing_leave_the_usual_scale(single: int):
    images, truth = blurred(0.4)
    everything = list(range(CLASSES))
    sets = [[int(one)] if row < single * CLASSES else everything for row, one in enumerate(truth)]
    assert estimate(images, sets) == USUAL_SCALE


def test_centred_features_keep_right_labels_and_lose_wrong_ones():
    images, truth = blurred(0.5, count=300)
    given = np.where(np.arange(len(truth)) % 5 == 0, (truth + 1 + truth % 3) % CLASSES, truth)
    found = {}
    for scale in (None, USUAL_SCALE):
        for name, labels in (("right", truth), ("wrong", given)):
            fitted = PartialLabelClassifier(
                scale=scale, device="cpu", options={"weigh_names": False}
            ).fit(images, labels)
            found[scale, name] = (fitted.labels_ == truth).mean()
            assert (fitted.scale_ == USUAL_SCALE) == (scale is not None)
    assert found[None, "right"] > 0.99 > found[USUAL_SCALE, "right"] + 0.03
    assert found[None, "wrong"] > found[USUAL_SCALE, "wrong"] + 0.03


def test_label_embeddings_have_the_usual_scale_unless_another_is_given():
    images, truth = blurred(0.4)
    labels = unit(np.stack([images[truth == one].mean(axis=0) for one in range(CLASSES)]))
    fitted = PartialLabelClassifier("clip", device="cpu").fit(images, truth, labels)
    assert fitted.scale_ == fitted.method_.problem.scale == USUAL_SCALE
    assert PartialLabelClassifier("clip", scale=7).fit(images, truth, labels).scale_ == 7
    with pytest.raises(UsageError, match="None or a number above 0"):
        PartialLabelClassifier("clip", scale=0).fit(images, truth, labels)
