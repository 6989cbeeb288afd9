"""Label embeddings from attributes: folds make them from their own images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from problems import unit, write_cache

from pzsl.candidates import CandidateSets
from pzsl.store import load_cache
from pzsl.training import folds as folds_module
from pzsl.training.candidate_sets import candidate_sets
from pzsl.training.config import Source, expand
from pzsl.training.folds import fold_fits
from pzsl.training.label_embeddings import project_attributes, standardise
from pzsl.training.loop import fit_all
from pzsl.training.make_method import prepared_method
from pzsl.training.task import make_task


def made(tmp_path, labels):
    """A cache whose unseen classes come first, a run on it, and what the run learns from."""
    attributes = np.random.default_rng(2).standard_normal((12, 5)).astype(np.float32)
    cache = load_cache(write_cache(tmp_path / "att.h5", attributes=attributes))
    cache = replace(
        cache,
        classes=cache.classes[::-1],
        seen=cache.seen[::-1].copy(),
        labels=11 - cache.labels,
        text=cache.text[::-1].copy(),
        attributes=attributes[::-1].copy(),
    )
    axes = ["clip"], ["default"], ["uniform"], [0.4], [0.0], [0]
    (config,) = expand(Source("made", "hash", "m"), *axes, labels=labels)
    return cache, config, make_task(cache, config, torch.device("cpu"))


def folds_of(problem, config, truth):
    """The problems of the folds, and which of the seen classes each has."""
    parts, kept = [], []

    whole = prepared_method(config, problem, config.seed)

    def make(part, seed):
        parts.append(part)
        return prepared_method(config, part, seed, whole)

    labels = torch.from_numpy(truth)
    fit_all(fold_fits(make, problem, labels, 0, lambda method, seen, rows: kept.append(seen)))
    return list(zip(parts, kept, strict=True))


def expected_labels(cache, config, task, part, kept):
    """The fold's label embeddings, made from the cache as if it had the fold's images alone."""
    row_of = {tuple(cache.images[row].tolist()): row for row in task.rows}
    rows = [row_of[tuple(image)] for image in part.images[torch.arange(len(part.images))].tolist()]
    whole = dict(zip(task.rows, candidate_sets(cache, config, task.rows).to_lists(), strict=True))
    classes = np.flatnonzero(cache.seen)[kept.numpy()]
    sets = [[label for label in whole[row] if label in classes] or classes for row in rows]
    is_seen = np.isin(np.arange(len(cache.classes)), classes)
    sets = CandidateSets.from_lists(sets)
    labels = project_attributes(cache.images[rows], sets, cache.attributes, is_seen)
    if config.labels == "both":
        labels = unit(labels + cache.label_embeddings())
    held_out = np.flatnonzero(cache.seen & ~is_seen)
    return labels[np.concatenate([classes, held_out, np.flatnonzero(~cache.seen)])]


@pytest.mark.parametrize("labels", ["attributes", "both"])
@pytest.mark.parametrize("sampled", [False, True])
def test_labels_of_a_fold_come_from_its_own_images_alone(labels, sampled, tmp_path, monkeypatch):
    cache, config, task = made(tmp_path, labels)
    if sampled:
        for name, value in {"VERY_MANY": 80, "SAMPLE": 60, "PER_CLASS": 1}.items():
            monkeypatch.setattr(folds_module, name, value)
    folds = folds_of(task.problem, config, task.truth)
    assert len(folds) == 4
    for part, kept in folds:
        assert len(part.seen) == kept.sum() < len(kept)
        expected = expected_labels(cache, config, task, part, kept)
        found = torch.cat([part.seen, part.unseen]).numpy()
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_images_that_a_fold_holds_out_do_not_influence_its_labels(tmp_path):
    _, config, task = made(tmp_path, "attributes")
    part, kept = folds_of(task.problem, config, task.truth)[0]
    held_out = ~kept[torch.from_numpy(task.truth)]
    images = torch.where(held_out[:, None], -task.problem.images, task.problem.images)
    again, _ = folds_of(replace(task.problem, images=images), config, task.truth)[0]
    assert torch.equal(again.seen, part.seen) and torch.equal(again.unseen, part.unseen)
    others = replace(task.problem, images=-task.problem.images)
    assert not torch.equal(folds_of(others, config, task.truth)[0][0].unseen, part.unseen)


def test_labels_of_text_are_the_same_in_the_folds(tmp_path):
    _, config, task = made(tmp_path, "text")
    assert task.problem.label_source is None
    for part, kept in folds_of(task.problem, config, task.truth):
        seen = task.problem.seen
        assert torch.equal(part.seen, seen[kept])
        assert torch.equal(part.unseen, torch.cat([seen[~kept], task.problem.unseen]))


def test_an_attribute_that_is_constant_over_the_seen_classes_is_not_blown_up():
    seen = np.arange(40) < 30
    for value in (0.1, 0.3, 0.7, 123.4):
        attributes = np.full((40, 1), value, np.float32)
        attributes[~seen] += 0.2
        scaled = standardise(attributes, seen)
        assert np.abs(scaled[:, 0]).max() < 1, value
    varied = np.linspace(0.1, 0.1 + 1e-4, 40, dtype=np.float32)[:, None]
    assert standardise(varied, seen)[seen, 0].std() == pytest.approx(1, abs=1e-3)
