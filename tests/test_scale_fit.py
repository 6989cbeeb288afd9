"""A logit scale that is too small by far is named wherever its results are used."""

from __future__ import annotations

import dataclasses

import caches
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import unit

from pzsl import PartialLabelClassifier, train
from pzsl.evaluation import encoder_fit, sample_size, scale_doubt
from pzsl.evaluation.scale_fit import log_likelihoods
from pzsl.exchange import import_npz
from pzsl.store import CacheWriter, load_cache

SCALE, CLASSES, DIM = 60.0, 8, 32
SMALL = "is too small for these embeddings"


def drawn(scale: float, count: int = 400, seed: int = 0):
    """Images, label embeddings, and labels that are drawn from the softmax at a scale."""
    rng = np.random.default_rng(seed)
    text = unit(rng.standard_normal((CLASSES, DIM)) + 3)
    images = unit(text[np.arange(count) % CLASSES] + 0.7 * rng.standard_normal((count, DIM)) / 6)
    cosines = images @ text.T
    gumbel = rng.gumbel(size=cosines.shape)
    return images, text, (scale * cosines + gumbel).argmax(axis=1)


def candidates(labels: np.ndarray, rate: float, wrong: float, seed: int = 0) -> np.ndarray:
    """(n, C): each label, others at a rate, and for a share of the images a wrong label alone."""
    rng = np.random.default_rng(seed)
    sets = rng.random((len(labels), CLASSES)) < rate
    sets[np.arange(len(labels)), labels] = True
    other = (labels + 1 + rng.integers(CLASSES - 1, size=len(labels))) % CLASSES
    replaced = rng.random(len(labels)) < wrong
    sets[replaced, labels[replaced]] = False
    sets[replaced, other[replaced]] = True
    return sets


def doubt(factor: float, rate: float = 0.0, wrong: float = 0.0, seed: int = 0) -> str | None:
    images, text, labels = drawn(SCALE, seed=seed)
    sets = candidates(labels, rate, wrong)
    return scale_doubt(images @ text.T, sets, factor * SCALE, "Mend it.")


@pytest.mark.parametrize(("rate", "wrong"), [(0.0, 0.0), (0.3, 0.0), (0.0, 0.2)])
def test_labels_tell_a_scale_that_is_too_small(rate: float, wrong: float):
    for seed in range(5):
        line = doubt(1 / 8, rate, wrong, seed)
        assert line.startswith("The logit scale 7.5 is too small") and line.endswith("Mend it.")
        assert not any(doubt(factor, rate, wrong, seed) for factor in (1, 2, 8))


def test_sets_of_all_labels_or_none_and_few_images_say_nothing():
    images, text, labels = drawn(SCALE)
    cosines, sets = images @ text.T, candidates(labels, 0.0, 0.0)
    for nothing in (np.zeros_like(sets), np.ones_like(sets)):
        assert scale_doubt(cosines, nothing, SCALE / 8, "") is None
    assert scale_doubt(cosines[:10], sets[:10], SCALE / 8, "") is None


@given(st.integers(0, 10**6), st.floats(1, 200), st.floats(0, 0.5))
def test_the_likelihood_equals_a_loop(seed: int, scale: float, rate: float):
    images, text, labels = drawn(SCALE, count=7, seed=seed)
    cosines, sets = images @ text.T, candidates(labels, rate, 0.2, seed)
    best = -np.inf
    for wrong in (0.0, 0.01, 0.03, 0.1, 0.2, 0.3, 0.4, 0.5):
        total = 0.0
        for row in range(7):
            odds = np.exp(scale * (cosines[row] - cosines[row].max()))
            inside = sum(odds[label] for label in range(CLASSES) if sets[row, label]) / odds.sum()
            total += np.log(max(1e-30, (1 - wrong) * inside + wrong * sets[row].mean()))
        best = max(best, total)
    found = log_likelihoods(cosines, sets, np.array([scale]))
    assert found[0] == pytest.approx(best, rel=1e-6, abs=1e-6)


def test_the_sample_is_bounded():
    assert sample_size(10, 5) == 10
    assert sample_size(10**6, 100) == 1024
    assert sample_size(10**6, 2**21) == 2
    assert sample_size(10**6, 2**30) == 1


@pytest.mark.parametrize("name", ["sun34", "ucf50", "caltech69", "imagenet1k_fewshot"])
def test_the_scale_of_clip_is_never_doubted_and_half_of_it_is(tmp_path, real_data, name):
    source = real_data / "clip_features" / f"{name}.npz"
    cache = load_cache(import_npz(source, tmp_path / "real.h5"))
    assert cache.logit_scale == 100
    for factor in (1, 2, 8):
        assert encoder_fit(dataclasses.replace(cache, logit_scale=100 * factor)).warning is None
    for factor in (1 / 16, 1 / 4, 1 / 2):
        assert SMALL in encoder_fit(dataclasses.replace(cache, logit_scale=100 * factor)).warning


def write(path, scale: float):
    """A cache whose labels are drawn at `SCALE`, which says that the scale is another."""
    images, text, labels = drawn(SCALE)
    count = len(images)
    head = caches.header(
        count,
        labels=labels.astype(np.int64),
        classes=tuple(f"class {label}" for label in range(CLASSES)),
        seen=np.arange(CLASSES) < CLASSES - 1,
        splits=np.where(
            labels == CLASSES - 1,
            "test_unseen",
            np.where(np.arange(count) % 5 == 0, "test_seen", "trainval"),
        ),
        paths=tuple(f"{row}.jpg" for row in range(count)),
        dim=DIM,
        logit_scale=scale,
    )
    with CacheWriter(path, head) as writer:
        writer.write_text(np.repeat(text[:, None].astype(np.float32), len(head.templates), axis=1))
        writer.write(np.arange(count), images.astype(np.float32), None)
        writer.finish()
    return path


def test_train_tells_of_it(tmp_path, capsys):
    options = {"settings": {"epochs": 1, "min_steps": 2}, "workers": 1, "runs": tmp_path / "runs"}
    for scale in (SCALE, SCALE / 8):
        train(write(tmp_path / f"{scale}.h5", scale), method="cc", rate=0.3, seeds=1, **options)
        assert (SMALL in capsys.readouterr().err) == (scale < SCALE)


def test_the_estimator_tells_of_it(capsys):
    images, text, labels = drawn(SCALE)
    for scale in (SCALE, SCALE / 8):
        classifier = PartialLabelClassifier(method="clip", scale=scale)
        classifier.fit(images, labels, label_embeddings=text)
        line = capsys.readouterr().err
        assert (SMALL in line) == (scale < SCALE)
        assert ("scale=model.logit_scale.exp().item()" in line) == (scale < SCALE)
