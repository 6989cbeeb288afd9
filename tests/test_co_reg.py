"""Co-Reg: losses by slow references, the mixture at its limits, two networks, few-shot labels."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from problems import make_problem, unit, write_cache
from scipy import stats
from test_losses import CLOSE, Array, agree, cases, edges, softmax, unit_rows
from test_methods import make, one_step, scores, with_checkpoints

from pzsl.candidates import CandidateSets, choose_labelled, give_labels
from pzsl.device import cpu_threads
from pzsl.errors import UsageError, UserError
from pzsl.losses.co_reg import (
    align_distribution,
    candidate_loss,
    cross_entropy,
    prototype_loss,
    restrict,
    scale_to_unit,
    sharpen,
    squared_error,
    warm_up_loss,
)
from pzsl.losses.ragged import Rows
from pzsl.methods import METHODS
from pzsl.methods.co_reg.contrast import Contrast
from pzsl.methods.co_reg.mixing import draw_mixing
from pzsl.methods.co_reg.options import CoRegOptions
from pzsl.methods.co_reg.pseudo_labels import HISTORY, CoPseudoLabels, PseudoLabels
from pzsl.methods.core.candidate_entries import CandidateEntries
from pzsl.methods.core.method import Problem
from pzsl.methods.core.views import Views, mixing_shares, perturb
from pzsl.models.gaussian_mixture import Mixture, fit_mixture, low_posterior
from pzsl.store import load_cache
from pzsl.training import train
from pzsl.training.calibration import refined_labels
from pzsl.training.config import expand
from pzsl.training.folds import hold_out
from pzsl.training.loop import fit, make_optimizer
from pzsl.training.optimizer import Sgd

SOON = {"warm_up": 1, "ramp_up": 2, "late": 1}
"""All parts at work within a few epochs."""
PARTS = (
    *("distribution_alignment", "co_pseudo_labels", "unlabelled", "mixup"),
    *("prototype_alignment", "contrast", "noisy_contrast"),
)


@pytest.fixture(scope="module", autouse=True)
def one_thread_for_small_tensors():
    with cpu_threads(torch.device("cpu")):
        yield


def t(array: Array) -> torch.Tensor:
    return torch.from_numpy(np.asarray(array))


@st.composite
def predictions(draw: st.DrawFn) -> tuple[Array, Array]:
    """Probabilities (B, K) and candidates (B, K), at least one in each row."""
    logits, candidates = draw(cases())
    return np.array([softmax(row) for row in logits]), candidates


# --- losses and updates --------------------------------------------------------------------------


@pytest.mark.parametrize("entropy_of_all", [False, True])
@edges
@given(case=cases())
def test_the_warm_up_loss_and_its_gradient(entropy_of_all, case):
    logits, candidates = case

    def reference(g: Array) -> float:
        likely, certain, counted = 0.0, 0.0, 0
        for row, members in zip(g, candidates, strict=True):
            f = softmax(row)
            if entropy_of_all or not members.all():
                certain += sum(p * math.log(p) for p in f)
            if not members.all():
                likely -= math.log(sum(f[j] for j in range(len(f)) if members[j]))
                counted += 1
        images = len(g) if entropy_of_all else max(counted, 1)
        return likely / max(counted, 1) + certain / images

    agree(lambda g: warm_up_loss(g, t(candidates), entropy_of_all), reference, logits)


@pytest.mark.parametrize("by_set", [False, True])
@settings(max_examples=40)
@given(case=cases(), seed=st.integers(0, 2**32 - 1))
def test_cross_entropy_on_p_and_squared_error_on_u_and_their_gradients(by_set, case, seed):
    logits, _ = case
    rng = np.random.default_rng(seed)
    targets = rng.dirichlet(np.ones(logits.shape[1]), len(logits))
    partial = rng.integers(0, 2, len(logits)).astype(float)
    of_p, of_u = (divisor(which, by_set) for which in (partial, 1 - partial))
    of_u *= logits.shape[1] if by_set else 1

    def on_p(g: Array) -> float:
        each = [-sum(p * np.log(softmax(row))) for row, p in zip(g, targets, strict=True)]
        return sum(w * loss for w, loss in zip(partial, each, strict=True)) / of_p

    def on_u(g: Array) -> float:
        each = [sum((softmax(row) - p) ** 2) for row, p in zip(g, targets, strict=True)]
        return sum((1 - w) * loss for w, loss in zip(partial, each, strict=True)) / of_u

    p, sure = t(targets), t(partial)
    agree(lambda g: cross_entropy(g.log_softmax(1), p, sure, by_set), on_p, logits)
    agree(lambda g: squared_error(g.log_softmax(1), p, 1 - sure, by_set), on_u, logits)


def divisor(share: Array, by_set: bool) -> float:
    """What a sum over some images is divided by: how many they are, or all images."""
    return max(share.sum(), 1.0) if by_set else float(len(share))


@pytest.mark.parametrize("by_set", [False, True])
@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**32 - 1),
    batch=st.integers(1, 4),
    classes=st.integers(1, 4),
)
def test_prototype_alignment_and_its_gradient(by_set, seed, batch, classes):
    rng = np.random.default_rng(seed)
    prototypes = unit_rows(rng.standard_normal((classes, 3)))
    targets = rng.dirichlet(np.ones(classes), batch)
    targets[0] = np.arange(classes) == 0  # a certain label: 0 log 0 counts nothing
    partial = rng.integers(0, 2, batch).astype(float)

    of_p, of_u = (divisor(which, by_set) for which in (partial, 1 - partial))
    of_u *= classes if by_set else 1

    def reference(z: Array) -> float:
        total = 0.0
        for vector, p, sure in zip(z, targets, partial, strict=True):
            s = softmax(prototypes @ vector / 0.3)
            if sure:
                each = [a * math.log(a / b) for a, b in zip(p, s, strict=True) if a > 0]
                total += sum(each) / of_p
            else:
                total += sum((s - p) ** 2) / of_u
        return total

    def loss(z: torch.Tensor) -> torch.Tensor:
        return prototype_loss(z, t(prototypes), t(targets), t(partial), 0.3, by_set)

    agree(loss, reference, unit_rows(rng.standard_normal((batch, 3))))


@settings(max_examples=60)
@given(predictions(), st.integers(0, 2**32 - 1))
def test_updates_of_predictions_are_those_of_a_slow_loop(case, seed):
    f, candidates = case
    ratio = np.random.default_rng(seed).uniform(0.2, 5, f.shape[1])
    found = [
        align_distribution(t(f), t(ratio)),
        restrict(t(f), t(candidates)),
        sharpen(t(f), 0.5),
        candidate_loss(t(f), t(candidates)),
    ]
    for i, (p, members) in enumerate(zip(f, candidates, strict=True)):
        inside = [j for j in range(len(p)) if members[j]]
        floor = np.maximum(p, 1e-12)
        aligned = p * ratio / sum(p * ratio)
        limited = [floor[j] / sum(floor[inside]) if j in inside else 0 for j in range(len(p))]
        sharp = floor**2 / sum(floor**2)
        loss = -math.log(max(*p[inside], 1e-12))
        for value, expected in zip(found, (aligned, limited, sharp, loss), strict=True):
            np.testing.assert_allclose(value[i].numpy(), expected, rtol=0, atol=CLOSE)


@settings(max_examples=40)
@given(arrays(np.float64, st.integers(1, 8), elements=st.floats(-50, 50)))
def test_scaled_values_run_from_zero_to_one(values):
    found = scale_to_unit(t(values)).numpy()
    if np.ptp(values) > 1e-9:
        np.testing.assert_allclose(found, (values - values.min()) / np.ptp(values), atol=CLOSE)
    elif not np.ptp(values):
        assert not found.any()


def test_doubtful_pairs_of_one_label_can_leave_the_contrast():
    """A slow loop over all pairs, by who is in P: the first and third image, and an older key."""
    rng = np.random.default_rng(4)
    labels, sure = np.array([0, 0, 0, 1]), np.array([True, False, True, True])
    query, key = (unit_rows(rng.standard_normal((4, 3))) for _ in range(2))
    older, older_labels, older_sure = unit_rows(rng.standard_normal((2, 3))), [0, 0], [True, False]
    targets = torch.eye(2)[t(labels)].double()
    pseudo = PseudoLabels(targets, t(sure).double())
    vectors = np.concatenate([query, key, older])
    every_label, every_sure = [*labels, *labels, *older_labels], [*sure, *sure, *older_sure]
    for ignore in (False, True):
        contrast = Contrast(2, 3, 0.5, True, ignore).double()
        contrast.queue.copy_(t(older))
        contrast.queue_labels.copy_(torch.tensor(older_labels))
        contrast.queue_sure.copy_(torch.tensor(older_sure))
        total = 0.0
        for i in range(4):
            positives, rivals = [], []
            for a in range(10):
                same = every_label[a] == labels[i]
                if a == i:
                    continue
                if a == i + 4 or (same and sure[i] and every_sure[a]):
                    positives.append(a)
                elif same and ignore:
                    continue
                rivals.append(a)
            powers = {a: math.exp(query[i] @ vectors[a] / 0.5) for a in rivals}
            each = [math.log(powers[a] / sum(powers.values())) for a in positives]
            total -= sum(each) / len(each) / 4
        found = contrast.loss(t(query), t(key), pseudo)
        assert found.item() == pytest.approx(total, abs=CLOSE)


# --- the mixture ---------------------------------------------------------------------------------


def slow_density(value: float, mean: float, variance: float) -> float:
    return math.exp(-((value - mean) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)


def slow_posterior(value: float, mixture: Mixture) -> float:
    value = min(max(value, float(mixture.means[0])), float(mixture.means[1]))
    joint = [
        float(share) * slow_density(value, float(mean), float(variance))
        for share, mean, variance in zip(
            mixture.shares, mixture.means, mixture.variances, strict=True
        )
    ]
    return joint[0] / sum(joint)


def two_groups(seed: int, count: int = 400) -> Array:
    rng = np.random.default_rng(seed)
    low = np.arange(count) % 4 > 0
    return np.where(low, rng.normal(0.1, 0.04, count), rng.normal(0.6, 0.12, count))


def test_a_mixture_finds_two_groups_as_they_were_made():
    mixture = fit_mixture(t(two_groups(0, 4000)))
    assert mixture.means.tolist() == pytest.approx([0.1, 0.6], abs=0.02)
    assert mixture.variances.sqrt().tolist() == pytest.approx([0.04, 0.12], abs=0.01)
    assert mixture.shares.tolist() == pytest.approx([0.75, 0.25], abs=0.02)


def test_a_fitted_mixture_is_where_a_slow_em_stands_still():
    values = two_groups(1)
    mixture = fit_mixture(t(values))
    weight = np.array([slow_posterior_unbounded(v, mixture) for v in values])
    for which, answer in enumerate((weight, 1 - weight)):
        mean = sum(answer * values) / sum(answer)
        variance = sum(answer * (values - mean) ** 2) / sum(answer)
        assert float(mixture.means[which]) == pytest.approx(mean, abs=1e-3)
        assert float(mixture.variances[which]) == pytest.approx(variance, abs=1e-3)
        assert float(mixture.shares[which]) == pytest.approx(answer.mean(), abs=1e-3)


def slow_posterior_unbounded(value: float, mixture: Mixture) -> float:
    parts = zip(mixture.shares, mixture.means, mixture.variances, strict=True)
    joint = [float(s) * slow_density(value, float(m), float(v)) for s, m, v in parts]
    return joint[0] / sum(joint)


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(4, 60))
def test_the_posterior_is_that_of_a_slow_loop_and_falls(seed, count):
    values = two_groups(seed, count)
    mixture = fit_mixture(t(values))
    if mixture is None:
        return
    found = low_posterior(t(values), mixture).numpy()
    np.testing.assert_allclose(found, [slow_posterior(v, mixture) for v in values], atol=CLOSE)
    extreme = low_posterior(t(np.array([-100.0, 100.0])), mixture)
    assert extreme[0] >= 0.5 - CLOSE or extreme[0] >= extreme[1]


@settings(max_examples=60)
@given(arrays(np.float64, st.integers(1, 12), elements=st.floats(0, 1)))
def test_a_mixture_of_anything_is_finite(values):
    posterior = low_posterior(t(values), fit_mixture(t(values)))
    assert ((posterior >= 0) & (posterior <= 1)).all()


@pytest.mark.parametrize("values", [[0.3] * 5, [0.0], [0.0, 0.0], [1e-30, 2e-30]])
def test_equal_losses_are_all_low(values):
    assert fit_mixture(torch.tensor(values)) is None
    assert low_posterior(torch.tensor(values), None).tolist() == [1.0] * len(values)


def test_one_outlier_is_a_group_of_its_own_and_the_rest_stay_low():
    values = torch.tensor([0.1, 0.11, 0.09, 0.1, 0.12, 5.0])
    assert low_posterior(values, fit_mixture(values)).round().tolist() == [1, 1, 1, 1, 1, 0]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_mixture_refuses_what_is_not_finite(bad):
    with pytest.raises(ValueError, match=f"value 1 is {bad}"):
        fit_mixture(torch.tensor([0.1, bad, 0.2]))
    with pytest.raises(ValueError, match="there is none"):
        fit_mixture(torch.tensor([]))


# --- co-pseudo-labels ----------------------------------------------------------------------------


def judge(
    count: int, classes: int, co: bool = True, sure: Array | None = None, **changes: Any
) -> CoPseudoLabels:
    known = torch.zeros(count, dtype=torch.bool) if sure is None else t(sure)
    prior = torch.full((classes,), 1 / classes, dtype=torch.float64)
    return CoPseudoLabels(prior, True, known, co, 0.5, **changes)


@settings(max_examples=40)
@given(
    st.integers(0, 2**32 - 1), st.booleans(), st.integers(0, 1), st.sampled_from(["own", "other"])
)
def test_a_network_is_served_as_a_slow_loop_would(seed, co, which, restricted):
    rng = np.random.default_rng(seed)
    f = rng.dirichlet(np.ones(5), (2, 6))
    candidates = (rng.random((6, 5)) < 0.4) | np.eye(5, dtype=bool)[rng.integers(0, 5, 6)]
    trust = rng.random((2, 9))
    rows = rng.permutation(9)[:6]
    pseudo = judge(9, 5, co, restricted=restricted)
    pseudo.trust.copy_(t(trust))
    inside = [restrict(t(each), t(candidates * 1.0)) for each in f]
    found = pseudo.pseudo_labels_for(which, t(rows), [t(f[0]), t(f[1])], inside)
    cells = torch.arange(30)
    entries = Rows(cells // 5, torch.arange(0, 31, 5), cells)
    found_f = [t(each).flatten() for each in f]
    weights = pseudo.label_weights(t(rows), found_f, t(candidates).flatten(), entries).view(6, 5)
    other = 1 - which if co else which
    for i, row in enumerate(rows):
        w = trust[other, row]
        narrow, wide = (which, other) if restricted == "own" else (other, which)
        p = f[narrow, i] * candidates[i] / sum(f[narrow, i] * candidates[i])
        target = w * p + (1 - w) * f[wide, i] if w > 0.5 else (f[which, i] + f[other, i]) / 2
        target = target**2 / sum(target**2)
        np.testing.assert_allclose(found.targets[i].numpy(), target, rtol=0, atol=CLOSE)
        assert found.partial[i] == (w > 0.5)
        mean, share = f[:, i].mean(0), trust[:, row].mean()
        inside = mean * candidates[i] / sum(mean * candidates[i])
        expected = share * inside + (1 - share) * mean
        np.testing.assert_allclose(weights[i].numpy(), expected, rtol=0, atol=CLOSE)


def test_trust_comes_from_the_mean_of_the_last_five_scaled_losses():
    rng = np.random.default_rng(0)
    candidates = np.eye(4, dtype=float)[rng.integers(0, 4, 40)]
    pseudo, kept, ratio = judge(40, 4), [], np.ones(4)
    blocks = [torch.arange(25), torch.arange(25, 40)]
    for epoch in range(7):
        f = rng.dirichlet(np.ones(4), 40)
        pseudo.update_trust(
            epoch, 1, lambda rows, f=f: t(f)[rows], lambda r: t(candidates)[r], blocks
        )
        aligned = f * ratio / (f * ratio).sum(1, keepdims=True)
        losses = -np.log((aligned * candidates).max(1))
        kept.append((losses - losses.min()) / np.ptp(losses))
        ratio = 0.25 / f.mean(0)
        np.testing.assert_allclose(pseudo.ratio[1].numpy(), ratio, rtol=CLOSE)
        average = np.mean(kept[-HISTORY:], axis=0)
        expected = low_posterior(t(average), fit_mixture(t(average)))
        np.testing.assert_allclose(pseudo.trust[1].numpy(), expected.numpy(), atol=1e-5)
    assert (pseudo.trust[0] == 1).all() and not pseudo.losses[0].any()


def test_labels_given_by_hand_are_always_trusted():
    sure = np.arange(30) % 3 == 0
    pseudo = judge(30, 3, sure=sure)
    f = np.random.default_rng(0).dirichlet(np.ones(3), 30)
    candidates = np.eye(3)[np.arange(30) % 3]
    pseudo.update_trust(0, 0, lambda r: t(f)[r], lambda r: t(candidates)[r], [torch.arange(30)])
    assert (pseudo.trust[0][t(sure)] == 1).all() and (pseudo.trust[0] < 0.5).any()
    pseudo.trust[1] = pseudo.trust[0]
    rows = torch.arange(30)
    inside = restrict(t(f), t(candidates))
    served = pseudo.pseudo_labels_for(0, rows, [t(f), t(f)], [inside, inside])
    assert torch.allclose(served.targets[t(sure)], t(candidates)[t(sure)], atol=1e-6)
    assert (served.partial[t(sure)] == 1).all()


def test_predictions_within_the_candidates_are_kept_from_the_beginning_of_an_epoch():
    rng = np.random.default_rng(0)
    f, candidates = rng.dirichlet(np.ones(4), 10), rng.random((10, 4)) < 0.5
    candidates[~candidates.any(1)] = True
    pseudo = judge(10, 4, once=True)
    pseudo.ratio[1] = t(np.array([0.5, 1.0, 2.0, 1.0]))
    blocks = [torch.arange(6), torch.arange(6, 10)]
    pseudo.update_trust(0, 1, lambda r: t(f)[r], lambda r: t(candidates * 1.0)[r], blocks)
    raised = f * np.array([0.5, 1.0, 2.0, 1.0]) * candidates
    expected = (raised / raised.sum(1, keepdims=True))[candidates]
    np.testing.assert_allclose(pseudo.inside[1].numpy(), expected, atol=CLOSE)
    assert not len(pseudo.inside[0])


def test_losses_that_are_no_numbers_are_refused_in_one_line():
    pseudo = judge(4, 3)
    nothing = torch.full((4, 3), math.nan, dtype=torch.float64)
    with pytest.raises(UserError, match=r"epoch 2 .* value 0 is nan.*lower the learning rate"):
        pseudo.update_trust(
            2, 0, lambda r: nothing[r], lambda r: torch.ones(4, 3), [torch.arange(4)]
        )


# --- views and MixUp -----------------------------------------------------------------------------


def with_views(problem: Problem, kinds: tuple[str, ...]) -> Problem:
    """Cached views that tell which they are by their first coordinates."""
    marks = torch.eye(len(kinds), problem.images.shape[1])
    views = F.normalize(problem.images[:, None] + 3 * marks, dim=-1)
    return replace(problem, views=views, view_kinds=kinds)


def test_cached_views_are_drawn_by_kind_and_differ():
    problem = with_views(make_problem()[0], ("weak", "strong", "weak", "strong", "strong"))
    views, rows = Views(problem, 0.1, 0.5, 0.1), torch.tensor([4, 1, 7, 4])
    generator = torch.Generator().manual_seed(0)
    for kind, columns in (("weak", {0, 2}), ("strong", {1, 3, 4})):
        met = set()
        for _ in range(20):
            first, second = views.pair(kind, rows, generator)
            for at, row in enumerate(rows.tolist()):
                found = [
                    int((view[at] == problem.views[row]).all(dim=1).nonzero())
                    for view in (first, second)
                ]
                assert found[0] != found[1]
                met |= set(found)
        assert met == columns
    assert views.describe() == "cached"


@pytest.mark.parametrize(
    ("kinds", "told"),
    [
        (None, "features"),
        ((), "weak features, strong cached"),
        (("weak",), "weak cached, strong features"),
    ],
)
def test_views_that_are_not_cached_are_augmented_features(kinds, told):
    problem, _ = make_problem(dim=64)
    if kinds is not None:
        problem = replace(with_views(problem, kinds or ("strong",)), view_kinds=kinds)
    views, rows = Views(problem, 0.1, 0.5, 0.1), torch.arange(40)
    assert views.describe() == told
    for kind, noise in (("weak", (0.1, 0.0)), ("strong", (0.5, 0.1))):
        first, second = views.pair(kind, rows, torch.Generator().manual_seed(3))
        if f"{kind} cached" in told:
            assert torch.equal(first, second)  # there is but one
        else:
            expected = perturb(problem.images[rows], *noise, torch.Generator().manual_seed(3))
            assert torch.equal(first, expected) and not torch.equal(first, second)


@pytest.mark.parametrize("alpha", [1, 4])
def test_mixing_shares_follow_beta_and_favour_the_image(alpha):
    found = mixing_shares(4000, alpha, torch.Generator().manual_seed(0)).numpy().ravel()
    assert found.min() >= 0.5
    expected = stats.beta(alpha, alpha)
    test = stats.kstest(found, lambda x: expected.cdf(x) - expected.cdf(1 - x))
    assert test.pvalue > 0.01


def test_a_batch_can_be_mixed_by_one_share():
    generator, device = torch.Generator().manual_seed(0), torch.device("cpu")
    by_image, by_batch = (
        draw_mixing(CoRegOptions(mixup=True, mixup_share=which), 50, generator, device)
        for which in ("image", "batch")
    )
    assert all(len(one.share.unique()) == 50 for one in by_image)
    assert all(len(one.share.unique()) == 1 and one.share.shape == (50, 1) for one in by_batch)
    assert by_batch[0].share[0] != by_batch[1].share[0]
    values = torch.randn(50, 3, generator=generator)
    for one in (*by_image, *by_batch):
        for i in range(50):
            share, other = one.share[i], values[one.order[i]]
            expected = share * values[i] + (1 - share) * other
            assert torch.allclose(one.mix(values)[i], expected)


# --- the method ----------------------------------------------------------------------------------


def annotated(images: int = 400, tilt: float = 0.9) -> tuple[Problem, np.ndarray]:
    """A closed set whose names mislead CLIP on some classes; candidates are CLIP's two best."""
    problem, truth = make_problem(images=images, seen=10, unseen=0, dim=32, rate=0, spread=0.2)
    rng = np.random.default_rng(100)
    text = unit(problem.seen.numpy() + tilt * rng.standard_normal((10, 32)) / 32**0.5)
    best = (problem.images @ t(text).T).topk(2, dim=1).indices.sort(dim=1).values
    offsets = torch.arange(0, 2 * images + 1, 2)
    return replace(
        problem, seen=t(text), candidates=CandidateEntries.of(offsets, best.flatten())
    ), truth


@pytest.mark.parametrize(
    "changes", [{}, {"head": "linear"}, {"mixup": True}], ids=("cosine", "linear", "mixup")
)
def test_it_learns_more_than_its_annotator_knows(changes):
    problem, truth = annotated()
    clip = (scores(make("clip", problem), problem.images).argmax(1).numpy() == truth).mean()
    inside = (problem.candidates.labels.view(-1, 2) == t(truth)[:, None]).any(1).numpy().mean()
    assert 0.8 < clip < 0.92 and inside < 0.99
    settings_ = {"epochs": 10, "alignment": 0.02, "lr": 1e-2, "strong_noise": 0.5} | SOON | changes
    method = fit(make("co-reg", problem, **settings_), 0)
    found = (scores(method, problem.images).argmax(1).numpy() == truth).mean()
    assert found > clip + 0.05
    refined = refined_labels(method).numpy()
    assert (refined == truth).mean() > clip + 0.05
    beyond = (refined[:, None] != problem.candidates.labels.view(-1, 2).numpy()).all(1)
    assert (beyond & (refined == truth)).any()  # truth outside the candidates is found, too


@pytest.mark.parametrize("head", ["cosine", "linear"])
def test_untrained_it_is_zero_shot_clip_twice(head):
    problem, _ = annotated()
    frozen = scores(make("clip", problem), problem.images)
    method = make("co-reg", problem, head=head)
    assert torch.allclose(scores(method, problem.images), 2 * frozen, atol=1e-4)


def test_scores_are_the_sum_of_both_networks():
    problem, _ = make_problem(eta=0.2)
    method = fit(make("co-reg", problem, **SOON), 0)
    with torch.no_grad():
        parts = [network.scores(problem.images) for network in method.networks]
    assert torch.equal(scores(method, problem.images), parts[0] + parts[1])
    assert not torch.allclose(*parts)


MATTERS = 1e-3
"""Difference of a score that no rounding makes."""


@lru_cache(maxsize=2)  # what parts and choices are compared with is trained once
def trained_scores(rate: float, seen: int, **changes: Any) -> torch.Tensor:
    """Scores of all images after a training with some options changed."""
    problem, _ = make_problem(rate=rate, eta=0.3, seen=seen)
    return scores(fit(make("co-reg", problem, lr=1e-2, **SOON, **changes), 0), problem.images)


AS_RELEASED: dict[str, Any] = {
    "entropy_of_all": True,
    "aligned": "epoch",
    "restricted": "other",
    "means": "set",
    "mixup_share": "batch",
    "prototype_view": "weak",
    "ignore_doubtful": True,
}


@pytest.mark.parametrize("option", AS_RELEASED)
def test_each_choice_of_the_released_code_matters(option):
    # Of so few classes, some candidate sets hold all.
    usual, released = (
        trained_scores(0.7, 5, mixup=True, **changes)
        for changes in ({}, {option: AS_RELEASED[option]})
    )
    assert (usual - released).abs().max() > MATTERS
    assert dict(METHODS["co-reg"].presets["paper"])[option] == AS_RELEASED[option]


@pytest.mark.parametrize("part", PARTS)
def test_each_part_can_be_switched_off_and_matters(part):
    whole, without = (
        trained_scores(0.4, 8, **{**dict.fromkeys(PARTS, True), **changes})
        for changes in ({}, {part: False})
    )
    assert (whole - without).abs().max() > MATTERS


@pytest.mark.parametrize(
    "changes",
    [
        *({}, {"head": "linear"}, {"queue": 70, "mixup": True}),
        {"optimizer": "sgd", "lr": 0.01, "aligned": "epoch", "restricted": "other"},
    ],
    ids=lambda changes: next(iter(changes), "default"),
)
def test_a_resumed_run_has_every_part_of_the_state(changes):
    problem, _ = make_problem(rate=0.4, eta=0.3, unseen=0)
    problem = replace(problem, labelled=torch.arange(len(problem.images)) % 10 == 0)
    settings_ = {"epochs": 7, "batch_size": 240} | SOON | changes
    whole, checkpoints = with_checkpoints(make("co-reg", problem, **settings_), (1, 5))
    for epoch, (state, moments) in checkpoints.items():
        method = make("co-reg", problem, **settings_)
        optimizer = make_optimizer(method)
        method.load_state_dict(state)
        optimizer.load_state_dict(moments)
        fit(method, 3, optimizer, start=epoch + 1)
        for key, value in whole.state_dict().items():
            assert torch.equal(value, method.state_dict()[key]), key


def test_the_checkpoint_holds_all_state():
    method = make("co-reg", make_problem()[0])
    state = set(method.state_dict())
    for network in ("networks.0", "networks.1"):
        trained = ("image_adapter.up", "label_adapter.up", "projection")
        assert {f"{network}.{name}" for name in trained} <= state
        assert {f"{network}.key_adapter.up", f"{network}.key_projection"} <= state
    names = {"weights", "prototypes.vectors", "pseudo.losses", "pseudo.trust", "pseudo.ratio"}
    names |= {f"contrasts.{n}.queue{kind}" for n in (0, 1) for kind in ("", "_labels", "_sure")}
    assert names <= state


def late(**changes: Any) -> tuple[Any, torch.Tensor]:
    """A method in an epoch in which all parts work, and some rows."""
    problem, _ = make_problem(rate=0.4, eta=0.3)
    method = make("co-reg", problem, **SOON, **changes)
    for epoch in range(3):
        method.begin_epoch(epoch, torch.Generator().manual_seed(epoch))
    return method, torch.randperm(240, generator=torch.Generator().manual_seed(7))[:50]


def test_momentum_copies_queues_and_prototypes_move_after_each_step():
    method, rows = late(queue=80, key_momentum=0.75)
    first = method.networks[0].key_projection.clone()
    one_step(method, rows)
    network, contrast = method.networks[0], method.contrasts[0]
    assert torch.allclose(network.key_projection, 0.75 * first + 0.25 * network.projection)
    older, sure = contrast.queue[:50].clone(), contrast.queue_sure[:50].clone()
    assert (contrast.queue_labels[:50] >= 0).all() and (contrast.queue_labels[50:] == -1).all()
    one_step(method, rows)
    assert torch.equal(contrast.queue[50:], older[:30])
    assert torch.equal(contrast.queue_sure[50:], sure[:30])
    met = method.prototypes.vectors.norm(dim=1) > 0
    assert met.any()
    assert torch.allclose(method.prototypes.vectors[met].norm(dim=1), torch.ones(int(met.sum())))


def test_the_weight_of_u_grows_on_a_line_and_late_parts_set_in_late():
    method, _ = late(epochs=20)
    method.options = replace(method.options, warm_up=3, ramp_up=4, late=5)
    ramps, parts = [], []
    for epoch in range(10):
        method.epoch = epoch
        ramps.append(method._ramp)
        parts.append(method._is_late)
    assert ramps[3:] == [0, 0.25, 0.5, 0.75, 1, 1, 1]
    assert parts == [False] * 8 + [True] * 2


def test_where_its_views_are_from_is_reported():
    problem, _ = make_problem()
    assert make("co-reg", problem).describe()["views"] == "features"
    cached = with_views(problem, ("weak", "weak", "strong", "strong"))
    method = fit(make("co-reg", cached, **SOON), 0)
    assert method.describe()["views"] == "cached"
    assert 0 <= method.describe()["partial_set"] <= 100


def test_strong_views_are_learnt_from_only_while_they_show_the_class():
    problem, _ = make_problem(rate=0.0)
    random = torch.randn(240, 2, 16, generator=torch.Generator().manual_seed(0))
    good, lost = problem.images[:, None].repeat(1, 2, 1), F.normalize(random, dim=-1)
    kinds = ("strong", "strong")
    for views, expected in ((good, "strong"), (lost, "weak")):
        shown = replace(problem, views=views, view_kinds=kinds)
        method = make("co-reg", shown)
        assert method.learn_from == method.describe()["learn_from"] == expected
        assert make("co-reg", shown, learn_from="strong").learn_from == "strong"
    assert make("co-reg", problem).learn_from == "strong"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"learn_from": "week"}, "Did you mean 'weak'"),
        ({"head": "lineal"}, "Option 'head' has no 'lineal'. Did you mean 'linear'"),
        ({"optimizer": "adam"}, "Did you mean 'adamw'"),
        ({"head": "linear"}, "can't score the 4 unseen classes"),
    ],
)
def test_what_cannot_be_is_reported_in_one_line(changes, told):
    with pytest.raises(UsageError, match=told):
        make("co-reg", make_problem()[0], **changes)


def test_our_sgd_is_that_of_torch():
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(shape, generator=generator) for shape in ((5, 3), (4,))]
    ours, theirs = ([torch.nn.Parameter(value.clone()) for value in start] for _ in range(2))
    optimizer = Sgd(ours, 5e-4)
    reference = torch.optim.SGD(theirs, lr=0.1, momentum=0.9, weight_decay=5e-4)
    for step in range(20):
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn(one.shape, generator=generator)
            other.grad = one.grad.clone()
        optimizer.step(0.1)
        reference.step()
        if step == 10:  # interrupted and resumed
            state = {key: value.clone() for key, value in optimizer.state_dict().items()}
            optimizer = Sgd(ours, 5e-4)
            optimizer.load_state_dict(state)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


# --- few-shot labels -----------------------------------------------------------------------------


def test_few_shot_images_follow_from_seed_and_id_alone():
    truth = np.arange(90) % 9
    truth[4] = -1
    ids = [f"image/{row}" for row in range(90)]
    chosen = {count: choose_labelled(truth, ids, count, 3) for count in (0, 1, 2, 4, 8, 99)}
    for count, mask in chosen.items():
        each = np.bincount(truth[mask], minlength=9)
        assert (each == np.minimum(count, np.bincount(truth[truth >= 0]))).all()
        assert not mask[4]
    for few, more in ((1, 2), (2, 4), (4, 8), (8, 99)):
        assert (chosen[more] >= chosen[few]).all()
    order = np.random.default_rng(0).permutation(90)
    again = choose_labelled(truth[order], [ids[row] for row in order], 4, 3)
    assert (again == chosen[4][order]).all()
    assert (choose_labelled(truth, ids, 4, 4) != chosen[4]).any()


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 8))
def test_a_labelled_image_has_its_truth_and_no_other_candidate(seed, count):
    rng = np.random.default_rng(seed)
    lists = [sorted(rng.permutation(6)[: rng.integers(1, 6)].tolist()) for _ in range(count)]
    truth, labelled = rng.integers(0, 6, count), rng.random(count) < 0.5
    found = give_labels(CandidateSets.from_lists(lists), truth, labelled)
    expected = [
        [int(y)] if sure else row for row, y, sure in zip(lists, truth, labelled, strict=True)
    ]
    assert found.to_lists() == expected
    assert found.labels.dtype == np.int32 and found.offsets.dtype == np.int64


def test_a_fold_takes_along_which_images_are_labelled():
    problem, _ = make_problem()
    labelled = torch.arange(240) % 5 == 0
    part = hold_out(replace(problem, labelled=labelled), torch.ones(8) > 0, torch.arange(0, 240, 2))
    assert torch.equal(part.labelled, labelled[::2])


def test_runs_without_few_shot_labels_keep_their_names():
    source = ("made", "hash", "model")
    plain, shot = expand(
        source, ["clip"], ["default"], ["uniform"], [0.1], [0], [0], few_shots=(0, 4)
    )
    assert "few_shot" not in plain.as_dict() and shot.as_dict()["few_shot"] == 4
    assert plain.name == "clip-" + expected_name(plain.as_dict()) != shot.name


def expected_name(values: dict[str, Any]) -> str:
    from pzsl.files import digest

    return digest(json.dumps(values, sort_keys=True))[:12]


def test_few_shot_labels_reach_the_method_the_record_and_the_report(tmp_path):
    from pzsl.reports import report

    cache = write_cache(tmp_path / "toy.h5", candidates=True)
    found = train(
        cache,
        method=["clip", "co-reg"],
        noise=["file"],
        few_shot=[0, 3],
        seeds=1,
        runs=tmp_path / "runs",
        workers=1,
        settings={"epochs": 4, "min_steps": 1, "batch_size": 32, "calibrate": False},
    )
    rows = {(row["method"], row["few_shot"]): row for row in found["runs"]}
    assert len(rows) == 4
    config = json.loads((Path(rows["co-reg", 3]["path"]) / "config.json").read_text())
    assert config["few_shot"] == 3
    sizes = [
        json.loads((Path(rows["clip", shots]["path"]) / "metrics.json").read_text())
        for shots in (0, 3)
    ]
    images = int((load_cache(cache).splits == "trainval").sum())
    expected = 2 - 3 * 8 / images
    assert [each["mean_candidates"] for each in sizes] == pytest.approx([2, expected])
    told = report(tmp_path / "runs", tmp_path / "out", ("csv", "md", "html"))["rows"]
    assert sorted({row["few_shot"] for row in told}) == [0, 3]
    assert "file, 3-shot" in (tmp_path / "out" / "table.md").read_text()
    with pytest.raises(UsageError, match=r"whole number from 0 to 1,000,000,000, not 1\.5"):
        train(cache, few_shot=[1.5], runs=tmp_path / "runs")


def test_few_shot_labels_need_a_known_label(tmp_path):
    cache = load_cache(write_cache(tmp_path / "toy.h5", candidates=True))
    from pzsl.training.candidate_sets import check_grid

    nothing = replace(cache, labels=np.full_like(cache.labels, -1))
    grid = expand(("a", "b", "c"), ["clip"], ["default"], ["file"], [0], [0], [0], few_shots=(2,))
    with pytest.raises(UserError, match=r"no training image has a true label that --few-shot 2"):
        check_grid(nothing, grid)


def test_true_labels_help():
    problem, truth = annotated(images=200, tilt=1.6)
    ids, accuracy = [str(row) for row in range(len(truth))], []
    offsets, labels = problem.candidates.offsets.numpy(), problem.candidates.labels.numpy()
    for count in (0, 8):
        labelled = choose_labelled(truth, ids, count, 0)
        sets = give_labels(CandidateSets(offsets, labels.astype(np.int32)), truth, labelled)
        candidates = CandidateEntries.of(t(sets.offsets), t(sets.labels).long())
        told = replace(problem, candidates=candidates, labelled=t(labelled))
        method = fit(make("co-reg", told, epochs=6, lr=1e-2, alignment=0.02, **SOON), 0)
        assert (method.pseudo.trust[:, t(labelled)] == 1).all()
        accuracy.append((scores(method, problem.images).argmax(1).numpy() == truth).mean())
    assert accuracy[1] > accuracy[0] + 0.05


@pytest.mark.parametrize(("power", "expected"), [(0.0, [1 / 3] * 3), (1.0, [0.5, 0.3, 0.2])])
def test_the_prior_is_a_power_of_the_share_of_each_class(power, expected):
    problem, _ = make_problem(seen=3, images=10)
    labels = torch.tensor([0] * 5 + [1] * 3 + [2] * 2)
    problem = replace(problem, candidates=CandidateEntries.of(torch.arange(11), labels))
    method = make("co-reg", problem, prior=power)
    assert method.pseudo.prior.tolist() == pytest.approx(expected, abs=1e-6)
