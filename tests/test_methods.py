"""Each method on data with a known answer, resumed, at the edges; its label weights by hand."""

from __future__ import annotations

import copy
import json
from dataclasses import fields, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from problems import make_problem, prepared, unit
from typer.testing import CliRunner

from pzsl.device import cpu_threads
from pzsl.errors import UsageError
from pzsl.methods import METHODS, load_method, make_options
from pzsl.methods.clip_pzsl.oracle import with_true_labels
from pzsl.methods.core.adapted_method import AdaptedOptions
from pzsl.methods.core.candidate_entries import OUTSIDE, CandidateEntries
from pzsl.methods.core.method import Method, Problem
from pzsl.methods.core.views import perturb
from pzsl.methods.partial_label.partial_method import Batch, PartialMethod
from pzsl.models.frozen_copy import frozen_copy
from pzsl.training.folds import hold_out
from pzsl.training.loop import fit, make_optimizer

VARIANTS = [(name, preset) for name, entry in METHODS.items() for preset in entry.presets]
FROZEN = {"clip", "probe", "gda", "tip-adapter", "zlap", "transclip", "em-dirichlet"}
"""They take frozen CLIP's word for which candidate is right, or what little moves it."""
DOUBTING = {"co-reg"}
"""They drop candidates that look wrong, even an only one."""
SAME_AT_ZERO = {"cc", "rc", "proden", "cavl", "pop"}
"""With one candidate each their losses are the cross-entropy of the true label."""


@pytest.fixture(scope="module", autouse=True)
def one_thread_for_small_tensors():
    with cpu_threads(torch.device("cpu")):
        yield


def make(name: str, problem: Problem, preset: str = "default", seed: int = 0, **changes: Any):
    """An untrained method with a small budget; changes that it has no option for are left out."""
    kind, options = load_method(name)
    budget = {"epochs": 4, "min_steps": 1, "batch_size": 64, **changes}
    known = {field.name for field in fields(options)}
    chosen = {key: value for key, value in budget.items() if key in known}
    drawn = torch.Generator().manual_seed(seed)
    return prepared(kind(problem, make_options(name, preset, chosen), drawn))


def heaviest(method: Method) -> np.ndarray:
    """The label with the largest weight of each image, by a slow loop."""
    weights, offsets = method.weights.detach().numpy(), method.candidates.offsets.numpy()
    labels = method.candidates.labels.numpy()
    return np.array([labels[a + np.argmax(weights[a:b])] for a, b in pairwise(offsets)])


def scores(method: Method, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return method.scores(images)


def one_step(method: Method, rows: torch.Tensor) -> None:
    """One optimiser step as the loop does it, large enough to be seen."""
    optimizer = torch.optim.SGD(method.parameters(), lr=0.01)
    loss = method.loss(rows)
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        method.after_step(rows)


def restricted(
    logits: torch.Tensor, candidates: CandidateEntries, rows: torch.Tensor
) -> np.ndarray:
    """Softmax over each image's candidates, by a slow loop, in the order of the entries."""
    out = []
    for row, values in zip(rows.tolist(), logits.detach().double().numpy(), strict=True):
        members = candidates.labels[candidates.offsets[row] : candidates.offsets[row + 1]].numpy()
        powers = np.exp(values[members] - values[members].max())
        out.append(powers / powers.sum())
    return np.concatenate(out)


# --- known answers -------------------------------------------------------------------------------


class Supervised(PartialMethod):
    """Plain supervised training of the same network."""

    truth: torch.Tensor

    def partial_loss(self, batch: Batch) -> torch.Tensor:
        return F.cross_entropy(batch.logits, self.truth[batch.rows])


@pytest.fixture(scope="module")
def unambiguous() -> tuple[Problem, np.ndarray, torch.Tensor, np.ndarray, torch.Tensor]:
    """q = 0: training half, its truth, test half, its truth, scores of supervised training."""
    problem, truth = make_problem(rate=0.0, images=400, spread=0.25)
    keep = torch.ones(len(problem.seen), dtype=torch.bool)
    train = hold_out(problem, keep, torch.arange(200))
    options = AdaptedOptions(epochs=6, min_steps=1, batch_size=64)
    method = Supervised(train, options, torch.Generator().manual_seed(0))
    method.truth = torch.from_numpy(truth[:200])
    test = problem.images[200:]
    return train, truth[:200], test, truth[200:], scores(fit(method, 0), test)


@pytest.mark.parametrize("name", METHODS)
def test_without_ambiguity_each_method_is_plain_supervised_training(name, unambiguous):
    problem, known, test, truth, expected = unambiguous
    method = make(name, replace(problem, truth=torch.from_numpy(known)), epochs=6)
    found = scores(fit(method, 0), test)
    if name in SAME_AT_ZERO:
        assert torch.allclose(found, expected, atol=1e-3)
    seen = len(problem.seen)
    accuracy, supervised = (
        (answer[:, :seen].argmax(1).numpy() == truth).mean() for answer in (found, expected)
    )
    assert supervised > 0.8
    assert accuracy > supervised - 0.05
    if name not in DOUBTING:
        assert (heaviest(method) == known).all()


def gaussians() -> tuple[Problem, np.ndarray]:
    """Separable classes at q = 0.5, whose names tell frozen CLIP less than the images do."""
    problem, truth = make_problem(images=400, seen=10, dim=32, rate=0.5)
    rng = np.random.default_rng(99)
    text = torch.cat([problem.seen, problem.unseen]).numpy()
    text = torch.from_numpy(unit(text + 1.2 * rng.standard_normal(text.shape) / 32**0.5))
    known = torch.from_numpy(truth)
    return replace(problem, seen=text[:10], unseen=text[10:], truth=known), truth


@pytest.mark.parametrize("name", METHODS)
def test_separable_classes_are_disambiguated(name):
    problem, truth = gaussians()
    frozen = (heaviest(make("clip", problem)) == truth).mean()
    assert 0.8 < frozen < 0.95
    method = make(name, problem, epochs=20, batch_size=200, lr=1e-2)  # few, large steps
    found = (heaviest(fit(method, 0)) == truth).mean()
    if name in FROZEN:
        assert found >= frozen
    else:
        assert found > frozen + 0.05


def test_logistic_lws_without_leverage_trains_as_rc_does():
    problem, _ = make_problem(rate=0.5)
    lws = fit(make("lws", problem, beta=0.0, psi="logistic"), 0)
    rc = fit(make("rc", problem), 0)
    assert torch.allclose(lws.weights, rc.weights, atol=1e-4)
    assert torch.allclose(scores(lws, problem.images), scores(rc, problem.images), atol=1e-3)


def test_rc_and_proden_differ_only_by_when_the_weights_are_taken():
    problem, _ = make_problem(rate=0.5)
    rc, proden = make("rc", problem), make("proden", problem)
    rows = torch.arange(64)
    assert torch.equal(rc.loss(rows), proden.loss(rows))
    one_step(rc, rows)
    one_step(proden, rows)
    assert torch.equal(rc.label_embeddings(), proden.label_embeddings())
    assert not torch.equal(rc.weights, proden.weights)


@pytest.mark.parametrize("classifier", ["proden", "clip"])
@pytest.mark.parametrize("centre", [False, True])
def test_conse_with_one_class_always_answers_the_likeliest_seen_class(classifier, centre):
    problem, _ = make_problem(spread=0.5)
    method = fit(make("conse", problem, top=1, classifier=classifier, centre=centre), 0)
    rng = np.random.default_rng(1)
    anything = torch.from_numpy(unit(rng.standard_normal((300, 16))))
    answer = scores(method, torch.cat([problem.images, anything])).argmax(1)
    images = torch.cat([problem.images, anything])
    likeliest = scores(method.classifier, images)[:, : len(problem.seen)].argmax(1)
    assert torch.equal(answer, likeliest)


def test_conse_shows_the_images_to_a_transductive_classifier():
    problem, _ = make_problem(spread=0.5)
    method = make("conse", problem, classifier="zlap")
    frozen = scores(method, problem.images)
    method.observe_queries(lambda: [problem.images])
    assert method.transductive and not torch.equal(scores(method, problem.images), frozen)
    assert not make("conse", problem).transductive


def test_conse_equals_a_slow_combination():
    problem, _ = make_problem(spread=0.5)
    method = make("conse", problem, top=3, classifier="clip", centre=True)
    labels = torch.cat([problem.seen, problem.unseen]).double().numpy()
    labels = labels - labels.mean(0)
    labels /= np.linalg.norm(labels, axis=1, keepdims=True)
    found = scores(method, problem.images[:5]).numpy()
    for image, row in zip(problem.images[:5].double().numpy(), found, strict=True):
        logits = problem.scale * problem.seen.double().numpy() @ image
        p = np.exp(logits - logits.max())
        p /= p.sum()
        top = np.argsort(-p)[:3]
        z = sum(p[j] * labels[j] for j in top) / p[top].sum()
        expected = problem.scale * labels @ z / np.linalg.norm(z)
        np.testing.assert_allclose(row, expected, atol=1e-4)


# --- resumed, repeated, stored -------------------------------------------------------------------


def with_checkpoints(
    method: Method, epochs: tuple[int, ...]
) -> tuple[Method, dict[int, tuple[dict[str, Any], dict[str, Any]]]]:
    """Train to the end; returns also what checkpoints after some epochs would hold."""
    optimizer = make_optimizer(method)
    checkpoints: dict[int, tuple[dict[str, Any], dict[str, Any]]] = {}

    def store(epoch: int, _: float) -> None:
        if epoch in epochs:
            state = method.state_dict(), optimizer.state_dict()
            checkpoints[epoch] = copy.deepcopy(state)

    return fit(method, 3, optimizer, on_epoch=store), checkpoints


@pytest.mark.parametrize(("name", "preset"), VARIANTS)
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(name, preset):
    problem, truth = make_problem(rate=0.5, eta=0.2, images=120)
    problem = replace(problem, truth=torch.from_numpy(truth))
    whole, checkpoints = with_checkpoints(make(name, problem, preset), (0, 2))
    for epoch, (model, moments) in checkpoints.items():
        method = make(name, problem, preset)
        optimizer = make_optimizer(method)
        method.load_state_dict(model)
        optimizer.load_state_dict(moments)
        fit(method, 3, optimizer, start=epoch + 1)
        for key, value in whole.state_dict().items():
            assert torch.equal(value, method.state_dict()[key]), key
        assert torch.equal(scores(whole, problem.images), scores(method, problem.images))


@pytest.mark.parametrize(("name", "preset"), VARIANTS)
def test_a_stored_method_scores_and_weighs_the_same(name, preset):
    problem, truth = make_problem(rate=0.5, eta=0.2, images=120)
    problem = replace(problem, truth=torch.from_numpy(truth))
    method = fit(make(name, problem, preset, epochs=2), 0)
    again = make(name, problem, preset, seed=1)
    again.load_state_dict(method.state_dict())
    assert torch.equal(scores(method, problem.images), scores(again, problem.images))
    assert torch.equal(method.weights, again.weights)


@pytest.mark.parametrize("name", METHODS)
def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(name):
    problem, _ = make_problem(rate=0.5, images=120)
    first, second = (scores(fit(make(name, problem), 0), problem.images) for _ in range(2))
    assert torch.equal(first, second)
    trainable = make(name, problem).trainable
    other = scores(fit(make(name, problem, seed=1), 1), problem.images)
    assert torch.equal(first, other) is not trainable


@pytest.mark.parametrize("name", METHODS)
def test_only_a_method_that_needs_true_labels_reads_them(name):
    problem, truth = make_problem(rate=0.5, images=120)
    told = replace(problem, truth=torch.from_numpy(truth))
    blind, informed = (fit(make(name, each), 0) for each in (problem, told))
    same = torch.equal(scores(blind, problem.images), scores(informed, problem.images))
    assert same is (METHODS[name].needs != "true labels")


# --- the edges -----------------------------------------------------------------------------------


def check_whole(method: Method, problem: Problem) -> None:
    """Finite scores of all classes; label weights that are a distribution over each image's set."""
    found = scores(method, problem.images)
    assert found.shape == (len(problem.images), len(problem.seen) + len(problem.unseen))
    assert torch.isfinite(found).all()
    assert (method.weights >= 0).all()
    rows = torch.repeat_interleave(method.candidates.sizes)
    sums = torch.zeros(len(problem.images)).index_add_(0, rows, method.weights.detach())
    assert torch.allclose(sums, torch.ones(len(sums)), atol=1e-5)


@pytest.mark.parametrize(("name", "preset"), VARIANTS)
def test_sets_of_one_and_sets_of_all_classes(name, preset):
    problem, truth = make_problem(images=48)
    sizes = torch.where(torch.arange(48) % 2 == 0, 1, 8)
    labels = [label for row in range(48) for label in ([truth[row]] if row % 2 == 0 else range(8))]
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), sizes.cumsum(0)])
    candidates = CandidateEntries.of(offsets, torch.tensor(labels))
    problem = replace(problem, candidates=candidates, truth=torch.from_numpy(truth))
    method = fit(make(name, problem, preset), 0)
    check_whole(method, problem)
    assert (heaviest(method)[::2] == truth[::2]).all()


@pytest.mark.parametrize("name", METHODS)
def test_one_image_one_seen_class_and_no_unseen_class(name):
    problem, truth = make_problem(images=2, seen=1, unseen=0)
    method = fit(make(name, replace(problem, truth=torch.from_numpy(truth)), batch_size=1), 0)
    check_whole(method, problem)


@pytest.mark.parametrize("name", METHODS)
def test_truth_outside_the_candidates_and_batches_that_do_not_come_out_even(name):
    problem, truth = make_problem(images=131, eta=0.4, rate=0.2)
    problem = replace(problem, truth=torch.from_numpy(truth))
    check_whole(fit(make(name, problem, batch_size=64), 0), problem)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("part", ["image_adapter", "label_adapter"])
def test_each_adapter_can_be_switched_off(name, part):
    problem, truth = make_problem(images=64)
    problem = replace(problem, truth=torch.from_numpy(truth))
    method = fit(make(name, problem, **{part: False}), 0)
    check_whole(method, problem)
    assert not any(part in key for key, _ in method.named_parameters())


# --- label weights and state, step by step -------------------------------------------------------


def started(
    name: str, epoch: int = 0, preset: str = "default", **changes: Any
) -> tuple[Any, Problem, torch.Tensor]:
    """A method in an epoch, its problem, and the rows of a batch in no order."""
    problem, _ = make_problem(rate=0.5)
    method = make(name, problem, preset, epochs=10, **changes)
    method.begin_epoch(epoch, torch.Generator().manual_seed(5))
    rows = torch.randperm(len(problem.images), generator=torch.Generator().manual_seed(7))[:50]
    return method, problem, rows


def test_label_weights_start_uniform():
    method, problem, _ = started("proden")
    sizes = problem.candidates.sizes.numpy()
    np.testing.assert_allclose(method.weights.numpy(), np.repeat(1 / sizes, sizes), rtol=1e-6)


def test_proden_takes_its_weights_from_the_forward_of_the_step():
    method, problem, rows = started("proden")
    before = method.seen_logits(rows)[0]
    one_step(method, rows)
    entries, _ = method.candidates.entries(rows)
    expected = restricted(before, problem.candidates, rows)
    np.testing.assert_allclose(method.weights[entries].numpy(), expected, atol=1e-5)
    untouched = torch.ones(len(method.weights), dtype=torch.bool)
    untouched[entries] = False
    uniform = problem.candidates.uniform()
    assert torch.equal(method.weights[untouched], uniform[untouched])


@pytest.mark.parametrize("name", ["rc", "lws"])
def test_rc_and_lws_take_their_weights_from_a_forward_after_the_step(name):
    method, problem, rows = started(name)
    before = restricted(method.seen_logits(rows)[0], problem.candidates, rows)
    one_step(method, rows)
    entries, _ = method.candidates.entries(rows)
    expected = restricted(method.seen_logits(rows)[0], problem.candidates, rows)
    np.testing.assert_allclose(method.weights[entries].numpy(), expected, atol=1e-6)
    assert np.abs(expected - before).max() > 1e-5


def test_cavl_warms_up_with_uniform_weights_then_picks_one_label():
    method, problem, rows = started("cavl", warm_up=0.2)
    one_step(method, rows)
    assert torch.equal(method.weights, problem.candidates.uniform())
    method.begin_epoch(2, torch.Generator())
    logits = method.seen_logits(rows)[0].detach().double().numpy()
    method.loss(rows)
    for row, values in zip(rows.tolist(), logits, strict=True):
        span = slice(problem.candidates.offsets[row], problem.candidates.offsets[row + 1])
        members = problem.candidates.labels[span].numpy()
        value = np.abs(values[members] - 1) * values[members]
        assert method.weights[span].tolist() == (np.arange(len(members)) == value.argmax()).tolist()


def test_lws_learns_nothing_from_raw_logits_far_above_zero():
    """Why the logits are centred: a saturated sigmoid has no slope."""
    problem, _ = make_problem(rate=0.5)
    problem = replace(
        problem,
        images=F.normalize(problem.images + 2),
        seen=F.normalize(problem.seen + 2),
        unseen=F.normalize(problem.unseen + 2),
        scale=100.0,
    )
    slopes = {}
    for centre in ("none", "odds"):
        method = make("lws", problem, centre=centre, alignment=0.0)
        method.loss(torch.arange(50)).backward()
        slopes[centre] = float(method.label_adapter.up.grad.norm())
    assert slopes["none"] < 1e-6 < slopes["odds"]


def test_pop_removes_unlikely_labels_for_good_and_raises_theta():
    method, problem, _ = started("pop", warm_up=0.2, purifications=4, theta=0.05)
    sizes, left, thetas = problem.candidates.sizes, [], []
    rows = torch.arange(len(problem.images))
    for epoch in range(10):
        before = method.sums.clone()
        method.begin_epoch(epoch, torch.Generator())
        removed = method.log_mask == OUTSIDE
        if epoch in (2, 4, 6, 8):
            span = slice(problem.candidates.offsets[0], problem.candidates.offsets[1])
            mean, theta = before[span], thetas[-1]
            stays = mean >= theta * mean.max()
            assert torch.equal(method.log_mask[span] == 0, stays & (mean > 0))
        assert (method.weights[removed] == 0).all()
        thetas.append(float(method.theta))
        left.append(int((~removed).sum()))
        one_step(method, rows)
        assert (method.weights[removed] == 0).all()
    assert left[0] == left[1] == int(sizes.sum()) > left[2] and left == sorted(left, reverse=True)
    assert thetas == pytest.approx([0.05, 0.05, 0.1, 0.1, 0.2, 0.2, 0.4, 0.4, 0.4, 0.4])
    members = torch.zeros(len(problem.images), dtype=torch.int64).index_add_(
        0, torch.repeat_interleave(sizes), (method.log_mask == 0).long()
    )
    assert (members >= 1).all()


def test_pico_moves_weights_towards_the_nearest_prototype_among_the_candidates():
    method, problem, rows = started("pico", epoch=5, warm_up=0.1, first_phi=0.9, last_phi=0.5)
    method.prototypes.copy_(
        F.normalize(torch.randn(8, 128, generator=torch.Generator().manual_seed(2)), dim=-1)
    )
    old, prototypes = method.weights.clone(), method.prototypes.double().numpy()
    query = method.project(problem.images[rows]).detach().double().numpy()
    method.loss(rows)
    phi = 0.9 + 0.5 * (0.5 - 0.9)
    for row, q in zip(rows.tolist(), query, strict=True):
        span = slice(problem.candidates.offsets[row], problem.candidates.offsets[row + 1])
        members = problem.candidates.labels[span].numpy()
        best = members[np.argmax(prototypes[members] @ q)]
        expected = phi * old[span].numpy() + (1 - phi) * (members == best)
        np.testing.assert_allclose(method.weights[span].numpy(), expected, atol=1e-6)


def test_pico_keeps_uniform_weights_in_its_warm_up():
    method, problem, rows = started("pico", epoch=0, warm_up=0.1)
    one_step(method, rows)
    assert torch.equal(method.weights, problem.candidates.uniform())


def test_the_keys_of_pico_queue_up_newest_first_and_the_copy_follows_slowly():
    method, _, rows = started("pico", queue=80, key_momentum=0.75)
    first = method.key_head.clone()
    one_step(method, rows)
    assert torch.allclose(method.key_head, 0.75 * first + 0.25 * method.head)
    older = method.queue[:50].clone()
    assert (method.queue_labels[:50] >= 0).all() and (method.queue_labels[50:] == -1).all()
    one_step(method, rows)
    assert torch.equal(method.queue[50:], older[:30])


def test_a_frozen_copy_is_state_that_is_not_trained():
    method, _, _ = started("pico")
    trained = {name for name, _ in method.named_parameters()}
    assert trained == {
        "head",
        "image_adapter.down",
        "image_adapter.up",
        "label_adapter.down",
        "label_adapter.up",
    }
    assert {"key_adapter.down", "key_adapter.up", "key_head"} <= set(method.state_dict())
    copied = frozen_copy(method.label_adapter)
    method.label_adapter.up.data.fill_(1)
    assert not list(copied.parameters()) and not copied.up.any()


@pytest.mark.parametrize("name", ["pico", "able"])
def test_contrastive_methods_use_cached_views_where_there_are_any(name):
    problem, _ = make_problem(rate=0.5)
    views = F.normalize(problem.images[:, None] + torch.tensor([[[0.1], [0.2], [0.3]]]), dim=-1)
    cached = make(name, replace(problem, views=views))
    cached.begin_epoch(0, torch.Generator().manual_seed(0))
    rows = torch.tensor([5, 3, 9])
    drawn = torch.stack([cached.augmented(rows) for _ in range(40)])
    for row, seen in zip(rows.tolist(), drawn.unbind(1), strict=True):
        which = (seen[:, None] == views[row]).all(-1)
        assert which.any(1).all() and which.any(0).all()
    assert cached.describe() == {"views": "cached"}
    assert make(name, problem).describe() == {"views": "features"}


def test_augmented_features_stay_near_and_follow_the_generator():
    problem, _ = make_problem(dim=64)
    one, two, other = (
        perturb(problem.images, 0.5, 0.1, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(one, two) and not torch.equal(one, other)
    assert torch.allclose(one.norm(dim=1), torch.ones(len(one)))
    near = (one * problem.images).sum(1)
    assert 0.75 < near.mean() < 0.95
    assert 0.08 < (one == 0).float().mean() < 0.12
    still = perturb(problem.images, 0.0, 0.0, torch.Generator())
    assert torch.allclose(still, problem.images, atol=1e-6)


# --- the oracle, folds, options, the list --------------------------------------------------------


def test_the_oracle_is_told_what_is_known_and_keeps_the_candidates_of_the_rest():
    candidates = CandidateEntries.of(torch.tensor([0, 2, 3, 6]), torch.tensor([0, 1, 2, 0, 1, 3]))
    told = with_true_labels(candidates, torch.tensor([3, -1, 0]))
    assert told.offsets.tolist() == [0, 1, 2, 3]
    assert told.labels.tolist() == [3, 2, 0]
    told = with_true_labels(candidates, torch.tensor([1, 0, -1]))
    assert told.offsets.tolist() == [0, 1, 2, 5]
    assert told.labels.tolist() == [1, 0, 0, 1, 3]


def test_a_fold_takes_views_and_truth_along():
    problem, truth = make_problem()
    views = problem.images[:, None].repeat(1, 2, 1)
    known = torch.from_numpy(truth.copy())
    known[0] = -1
    kept = torch.arange(8) != 2
    part = hold_out(replace(problem, views=views, truth=known), kept, torch.arange(16))
    assert part.truth is not None and part.views is not None
    assert part.truth.tolist() == [-1, 1, -1, 2, 3, 4, 5, 6, 0, 1, -1, 2, 3, 4, 5, 6]
    assert torch.equal(part.views[torch.arange(16)], views[:16])


def test_every_trained_rival_has_the_same_budget_and_the_same_alignment():
    reference = AdaptedOptions()
    for name in METHODS:
        _, kind = load_method(name)
        options = kind()
        for field in fields(AdaptedOptions):
            if field.name != "calibrate" and hasattr(options, field.name):
                assert getattr(options, field.name) == getattr(reference, field.name), name


@pytest.mark.parametrize(
    ("name", "changes", "told"),
    [
        ("lws", {"psi": "sigmoi"}, "Option 'psi' has no 'sigmoi'. Did you mean 'sigmoid'?"),
        ("lws", {"centre": "here"}, "Option 'centre' has no 'here'"),
        ("conse", {"classifier": "conse"}, "needs another method"),
        ("conse", {"classifier": "prodn"}, "Did you mean 'proden'?"),
    ],
)
def test_an_option_that_cannot_be_is_reported(name, changes, told):
    problem, _ = make_problem()
    with pytest.raises(UsageError, match=told.replace("?", r"\?")):
        make(name, problem, **changes)


def test_methods_are_listed():
    from pzsl.cli import app

    shown = CliRunner().invoke(app, ["methods"])
    listed = CliRunner().invoke(app, ["methods", "--json"])
    assert shown.exit_code == listed.exit_code == 0
    rows = json.loads(listed.stdout)["methods"]
    assert [row["name"] for row in rows] == list(METHODS)
    assert all(row["paper"] and row["needs"] and row["about"] for row in rows)
    assert all("default" in row["presets"] for row in rows)
    for row in rows:
        assert row["name"] in shown.stdout and row["about"] in shown.stdout
