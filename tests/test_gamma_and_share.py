"""The choice of gamma and of the share of what is trained, on held-out images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pzsl.evaluation import Summary
from pzsl.training import gamma_and_share
from pzsl.training.folds import SHARES
from pzsl.training.gamma_and_share import choose


def held_out(seen, unseen, images, gap=4.0, right=1.0, seed=0):
    """Images of both kinds of classes, whose margins lie around `gap` and 1."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(seen + unseen), images)
    is_seen = labels < seen
    margin = rng.normal(np.where(is_seen, gap, 1.0), 1.0)
    known = rng.random(len(labels)) < right
    return Summary(
        seen_score=margin,
        seen_class=np.where(is_seen & known, labels, -1),
        unseen_score=np.zeros(len(labels)),
        unseen_class=np.where(~is_seen & known, labels, -1),
        label=labels,
        is_seen=is_seen,
    )


def harmonic(summary, gamma):
    seen = summary.is_seen
    margin = summary.seen_score
    s, u = (margin[seen] > gamma).mean(), (margin[~seen] <= gamma).mean()
    return 2 * s * u / (s + u)


def test_with_many_classes_gamma_is_near_the_best_of_a_slow_search():
    summary = held_out(400, 400, 10)
    best = max(np.linspace(-2, 8, 501), key=lambda gamma: harmonic(summary, gamma))
    share, gamma = choose([[summary]], [1.0], 100)
    assert share == 1
    assert gamma == pytest.approx(best, abs=0.3)
    assert harmonic(summary, gamma) > harmonic(summary, best) - 0.005


def test_gamma_shrinks_towards_none_with_few_held_out_classes():
    found = [choose([[held_out(400, unseen, 40)]], [1.0], 100).gamma for unseen in (1, 4, 100)]
    assert 0 <= found[0] < found[1] < found[2]
    assert found[1] < 0.6 * found[2]


def without_unseen(summary):
    """The same images, where no class is unseen."""
    count = len(summary.label)
    return replace(summary, unseen_score=np.full(count, -np.inf), unseen_class=np.full(count, -1))


@pytest.mark.parametrize("closed", [False, True])
def test_s_and_u_of_the_search_are_the_sums_over_classes(closed):
    summary = held_out(30, 0 if closed else 20, 11, right=0.8)  # two chunks, some images wrong
    grid = np.linspace(-3, 9, 40)
    s, u = gamma_and_share._sides(summary, grid, 2.0)
    expected = gamma_and_share._hits(summary, grid, 100, 0.02).sides()
    np.testing.assert_allclose(s, expected[0], rtol=0, atol=1e-12)
    assert (u is None) == closed
    if u is not None:
        np.testing.assert_allclose(u, expected[1], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("accuracies", "images", "least", "most"),
    [
        ([0.5, 0.6, 0.7, 0.8, 0.9], 1, 0.9, 1.0),  # what is trained helps
        ([0.9, 0.8, 0.7, 0.6, 0.5], 1, 0.0, 0.1),  # it harms
        ([0.7] * 5, 1, 0.45, 0.55),  # it makes no difference: n / (n + 1)
        ([0.7] * 5, 9, 0.75, 0.9),
    ],
)
def test_without_unseen_classes_the_share_follows_from_s_and_gamma_is_0(
    accuracies, images, least, most
):
    folds = [[without_unseen(held_out(40, 0, 20, right=right)) for right in accuracies]]
    share, gamma = choose(folds, SHARES, 100, images)
    assert gamma == 0
    assert least <= share <= most


def test_without_both_kinds_of_held_out_images_frozen_clip_stands():
    summary = held_out(4, 0, 5)
    assert choose([], SHARES, 100) == (0, 0)
    assert choose([[summary] * len(SHARES)], SHARES, 100) == (0, 0)


def test_what_helps_gets_a_large_share_and_what_harms_a_small_one():
    def chosen(accuracies):
        folds = [[held_out(40, 40, 20, gap=1.0, right=each) for each in accuracies]]
        return choose(folds, SHARES, 100, images=1).share

    assert chosen([0.5, 0.6, 0.7, 0.8, 0.9]) > 0.9
    assert chosen([0.9, 0.8, 0.7, 0.6, 0.5]) < 0.1


def test_where_nothing_is_better_the_share_grows_with_the_images_of_a_class():
    folds = [[held_out(40, 40, 20)] * len(SHARES)]
    found = [choose(folds, SHARES, 100, images).share for images in (1, 4, 100)]
    assert found[0] == pytest.approx(1 / 2, abs=0.02)
    assert found[0] < found[1] < found[2]
    assert found[2] > 0.85


def test_the_same_gain_counts_for_less_with_few_classes():
    def chosen(classes):
        frozen = held_out(classes, classes, 10, gap=1.0)
        wrong = frozen.is_seen & (frozen.label % 4 == 0)
        frozen.seen_class[wrong] = -1
        trained = held_out(classes, classes, 10, gap=1.0)
        return choose([[frozen, trained]], [0.0, 1.0], 100, images=1).share

    assert chosen(4) < 0.7
    assert chosen(400) > 0.99


def test_a_gain_within_its_error_changes_nothing_and_a_sure_one_nearly_nothing_less():
    def chosen(right, cautious=True):
        frozen = held_out(20, 20, 10, gap=1.0, right=0.5, seed=1)
        trained = held_out(20, 20, 10, gap=1.0, right=right, seed=2)
        return choose([[frozen, trained]], [0.0, 1.0], 100, cautious=cautious)

    assert chosen(0.45) == (0, 0)
    assert chosen(0.45, cautious=False).share > 0
    assert chosen(0.9).share > 0.95
