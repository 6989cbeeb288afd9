"""The rivals on cached features, each against a slow, obvious reference in double precision."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from problems import make_problem, prepared

from pzsl.errors import UserError
from pzsl.methods import load_method, make_options
from pzsl.methods.baselines import tip_adapter
from pzsl.methods.baselines.em_dirichlet import fit_dirichlets, log_likelihood
from pzsl.methods.baselines.gda import FOLDS, GRID
from pzsl.methods.baselines.zlap import Edges, propagate
from pzsl.methods.core.candidate_entries import CandidateEntries
from pzsl.methods.core.method import Method, Problem
from pzsl.training.calibration import calibrate
from pzsl.training.config import Source, expand
from pzsl.training.loop import fit, fit_all
from pzsl.training.make_method import prepared_method

TRANSDUCTIVE = ("zlap", "transclip", "em-dirichlet")
EXACT = {"rtol": 1e-6, "atol": 1e-6}


def double(problem: Problem) -> Problem:
    """A problem in double precision."""
    sets = problem.candidates
    return replace(
        problem,
        images=torch.nn.functional.normalize(problem.images.double(), dim=1),
        seen=problem.seen.double(),
        unseen=problem.unseen.double(),
        candidates=CandidateEntries(sets.offsets, sets.labels, sets.log_mask.double()),
    )


def small(**changes) -> Problem:
    return double(make_problem(**{"images": 40, "seen": 5, "unseen": 3, "dim": 8, **changes})[0])


def make(name: str, problem: Problem, preset: str = "default", **changes) -> Method:
    kind, _ = load_method(name)
    options = make_options(name, preset, changes)
    return prepared(kind(problem, options, torch.Generator().manual_seed(0)))


def softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max())
    return powers / powers.sum()


def sets_of(problem: Problem) -> list[np.ndarray]:
    offsets = problem.candidates.offsets.tolist()
    return [problem.candidates.labels[a:b].numpy() for a, b in pairwise(offsets)]


def within_sets(problem: Problem, logits: np.ndarray) -> np.ndarray:
    """Softmax over the candidates of each image, (N, K), by a loop."""
    found = np.zeros(logits.shape)
    for row, members in enumerate(sets_of(problem)):
        found[row, members] = softmax(logits[row, members])
    return found


def arrays(problem: Problem) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images, all label embeddings, and frozen CLIP's logits of the images for all classes."""
    images, text = problem.images.numpy(), torch.cat([problem.seen, problem.unseen]).numpy()
    return images, text, problem.scale * images @ text.T


def score(method: Method, images) -> np.ndarray:
    with torch.no_grad():
        return method.scores(torch.as_tensor(images)).numpy()


# --- gda -----------------------------------------------------------------------------------------


def slow_gda(images, labels, unseen, neighbours, queries):
    """Discriminants of all classes at queries, less that of the mean image, by loops."""
    count, dim = images.shape
    means = [
        sum(labels[i, c] * images[i] for i in range(count)) / labels[:, c].sum()
        for c in range(labels.shape[1])
    ]
    covariance = np.zeros((dim, dim))
    for i in range(count):
        for c, mean in enumerate(means):
            away = images[i] - mean
            covariance += labels[i, c] * np.outer(away, away) / (count - 1)
    ridge = (count - 1) * covariance + np.trace(covariance) * np.eye(dim)
    precision = dim * np.linalg.pinv(ridge)
    for name in unseen:
        near = np.argsort(-(images @ name))[:neighbours]
        means.append(images[near].mean(0))

    def at(mean):
        return queries @ precision @ mean - mean @ precision @ mean / 2

    return np.stack([at(mean) - at(images.mean(0)) for mean in means], axis=1)


def test_gda_equals_gaussians_by_loops():
    problem = small()
    method = make("gda", problem, search=False, alpha=0.7, rounds=1, neighbours=6)
    with torch.no_grad():
        method.finalize()
    images, _, frozen = arrays(problem)
    labels, unseen = within_sets(problem, frozen[:, :5]), problem.unseen.numpy()
    found = slow_gda(images, labels, unseen, 6, images)
    labels = within_sets(problem, frozen[:, :5] + 0.7 * found[:, :5])
    np.testing.assert_allclose(method.weights.numpy(), labels[labels > 0], **EXACT)
    expected = frozen + 0.7 * slow_gda(images, labels, unseen, 6, images)
    np.testing.assert_allclose(score(method, images), expected, **EXACT)
    method.fade(0.5)
    np.testing.assert_allclose(score(method, images), (frozen + expected) / 2, **EXACT)


def test_alpha_is_that_whose_answers_of_held_out_images_are_candidates_most_often():
    problem = small(rate=0.5, spread=0.3)
    method = make("gda", problem, rounds=0)
    images, _, frozen = arrays(problem)
    labels, members, hits = within_sets(problem, frozen[:, :5]), sets_of(problem), []
    for alpha in GRID:
        right = 0
        for part in range(FOLDS):
            held = method.fold.numpy() == part
            found = slow_gda(images[~held], labels[~held], [], 0, images[held])
            for row, answer in zip(
                np.flatnonzero(held), (frozen[held, :5] + alpha * found).argmax(1), strict=True
            ):
                right += answer in members[row]
        hits.append(right)
    assert method._hits_per_alpha().tolist() == hits and len(set(hits)) > 1
    with torch.no_grad():
        method.finalize()
    assert method.describe()["alpha"] == GRID[int(np.argmax(hits))]


def test_folds_are_drawn_so_that_classes_may_take_turns():
    """By position, every fourth image would be whole classes where these take turns."""
    fold = make("gda", small()).fold
    assert fold.bincount().tolist() == [40 // FOLDS] * FOLDS
    assert all(len(set(fold[first::FOLDS].tolist())) > 1 for first in range(FOLDS))


# --- tip-adapter ---------------------------------------------------------------------------------


def slow_cache(keys, values, queries, alpha, beta, own=False):
    """What the cache says of queries, by a loop over pairs; `own`: without the query itself."""
    found = np.zeros((len(queries), values.shape[1]))
    for i, query in enumerate(queries):
        for j, key in enumerate(keys):
            if not (own and i == j):
                found[i] += alpha * np.exp(-beta * (1 - query @ key)) * values[j]
    return found


def test_tip_adapter_equals_a_cache_by_loops():
    problem = small()
    method = make("tip-adapter", problem, search=False, alpha=0.8, beta=4.0, rounds=2)
    images, _, frozen = arrays(problem)
    labels = within_sets(problem, frozen[:, :5])
    for _ in range(2):
        cached = slow_cache(images, labels, images, 0.8, 4.0, own=True)
        labels = within_sets(problem, frozen[:, :5] + cached)
    np.testing.assert_allclose(method.weights.numpy(), labels[labels > 0], **EXACT)
    queries = images[::-1] * 0.9
    expected = problem.scale * queries @ torch.cat([problem.seen, problem.unseen]).numpy().T
    expected[:, :5] += slow_cache(images, labels, queries, 0.8, 4.0)
    np.testing.assert_allclose(score(method, queries.copy()), expected, **EXACT)


def test_alpha_and_beta_of_the_cache_predict_candidates_most_often():
    problem = small(rate=0.5, spread=0.3)
    method = make("tip-adapter", problem, rounds=0)
    images, _, frozen = arrays(problem)
    labels, members, best = within_sets(problem, frozen[:, :5]), sets_of(problem), {}
    for beta in (3.0, 5.5, 10.0, 20.0, 30.0):
        for alpha in (0.1, 0.3, 1.0, 3.0, 10.0):
            cached = slow_cache(images, labels, images, alpha, beta, own=True)
            answers = (frozen[:, :5] + cached).argmax(1)
            best[alpha, beta] = sum(a in members[row] for row, a in enumerate(answers))
    chosen = max(best, key=lambda pair: best[pair])
    assert tuple(method.describe().values()) == pytest.approx(chosen)


def test_alpha_and_beta_are_tried_on_drawn_images_so_that_classes_may_take_turns(monkeypatch):
    """Every second image would be every second class where two take turns."""
    monkeypatch.setattr(tip_adapter, "TRIED", 20)
    problem = small()
    tried = make("tip-adapter", problem).tried
    assert len(tried.unique()) == len(tried) == 20 and tried.equal(tried.sort().values)
    assert not tried.equal(torch.arange(0, 40, 2)) and len((tried % 2).unique()) == 2
    monkeypatch.setattr(tip_adapter, "TRIED", 100)
    assert make("tip-adapter", problem).tried.equal(torch.arange(40))


@pytest.mark.parametrize("name", ["gda", "tip-adapter"])
def test_the_folds_take_over_what_was_chosen_because_gamma_is_in_units_of_the_scores(name):
    problem = make_problem(images=80, seen=8, unseen=3, dim=8, rate=0.5, spread=0.3)[0]
    (config,) = expand(
        Source("made", "hash", "m"), [name], ["default"], ["uniform"], [0.5], [0.0], [0]
    )
    whole = fit(prepared_method(config, problem, 0), 0)
    names = {"gda": ["alpha"], "tip-adapter": ["sharpness"]}[name]
    for chosen in names:  # a value off the grid, which no fold would choose
        getattr(whole, chosen).mul_(1.7)
    folds: list[Method] = []

    def watched():
        steps = calibrate(whole, problem, config)
        for step in steps:
            folds.append(step.method)
            yield step

    fit_all(watched())
    assert len(folds) == 4 and all(fold.problem is not problem for fold in folds)
    for fold in folds:
        assert all(torch.equal(getattr(fold, chosen), getattr(whole, chosen)) for chosen in names)


def weighted_cross_entropy(logits: torch.Tensor, weights: np.ndarray) -> torch.Tensor:
    return -(torch.from_numpy(weights) * logits.log_softmax(1)).sum(1).mean()


def test_the_fine_tuned_cache_has_the_slope_of_its_cross_entropy():
    problem = small()
    method = make("tip-adapter", problem, "fine-tuned", search=False, alpha=0.8, beta=4.0)
    rows = torch.tensor([3, 1, 7, 20])
    images, _, frozen = arrays(problem)
    labels = method.values.numpy()
    keys = torch.from_numpy(images.copy()).requires_grad_()
    cached = 0.8 * torch.exp(-4.0 * (1 - problem.images[rows] @ keys.T)) @ method.values
    expected = weighted_cross_entropy(torch.from_numpy(frozen[rows][:, :5]) + cached, labels[rows])
    expected.backward()
    loss = method.loss(rows)
    loss.backward()
    np.testing.assert_allclose(loss.item(), expected.item(), **EXACT)
    np.testing.assert_allclose(method.keys.grad.numpy(), keys.grad.numpy(), **EXACT)


# --- rla, prompt-align ---------------------------------------------------------------------------


def test_the_linear_adapter_has_the_slope_of_its_loss_and_follows_its_forward():
    problem = small()
    method = make("rla", problem, strength=2.0)
    drawn = 0.1 * torch.randn(8, 8, generator=torch.Generator().manual_seed(1)).double()
    method.change.data.copy_(drawn)
    matrix = (torch.eye(8) + drawn).requires_grad_()
    rows, (_, text, frozen) = torch.tensor([3, 1, 7, 20]), arrays(problem)
    labels = within_sets(problem, frozen[:, :5])
    adapted = problem.images[rows] @ matrix.T
    logits = problem.scale * adapted / adapted.norm(dim=1, keepdim=True) @ problem.seen.T
    expected = weighted_cross_entropy(logits, labels[rows])
    expected = expected + 2.0 / (40 / 5) * ((matrix - torch.eye(8)) ** 2).sum()
    expected.backward()
    loss = method.loss(rows)
    loss.backward()
    np.testing.assert_allclose(loss.item(), expected.item(), **EXACT)
    np.testing.assert_allclose(method.change.grad.numpy(), matrix.grad.numpy(), **EXACT)
    with torch.no_grad():
        method.after_step(rows)
    all_logits = np.zeros((40, 5))
    all_logits[rows] = logits.detach().numpy()
    for row in rows.tolist():
        labels[row] = within_sets(problem, all_logits)[row]
    found = torch.cat([method.soft_labels(r) for r in method.candidates.blocks()])
    np.testing.assert_allclose(found.numpy(), labels, **EXACT)
    whole = problem.images.numpy() @ matrix.detach().numpy().T
    whole /= np.linalg.norm(whole, axis=1, keepdims=True)
    np.testing.assert_allclose(
        score(method, problem.images), problem.scale * whole @ text.T, **EXACT
    )


@pytest.mark.parametrize("mixing", [0.0, 0.3, 1.0])
def test_prompt_alignment_equals_its_formula_gradient_included(mixing):
    problem, _ = make_problem(images=40, seen=5, unseen=3, dim=8)
    method = make("prompt-align", problem, mixing=mixing)
    method.begin_epoch(0, torch.Generator().manual_seed(0))
    method.label_adapter.up.data.normal_(generator=torch.Generator().manual_seed(2))
    rows = torch.tensor([3, 1, 7, 20])
    method.loss(rows).backward()
    found = method.label_adapter.up.grad.clone()
    method.zero_grad()
    logits, away = method.seen_logits(rows)
    target, uniform = np.zeros((4, 5)), np.zeros((4, 5))
    for place, row in enumerate(rows.tolist()):
        members = sets_of(problem)[row]
        frozen = softmax(20.0 * (problem.images[row] @ problem.seen.T).numpy())
        mixed = mixing * frozen + (1 - mixing) * softmax(logits[place].detach().numpy())
        target[place, members] = mixed[members] / mixed[members].sum()
        uniform[place, members] = 1 / len(members)
    partial = weighted_cross_entropy(logits, uniform.astype(np.float32))
    aligned = weighted_cross_entropy(logits, target.astype(np.float32))
    loss = partial + aligned * (partial / aligned).detach() + away
    loss.backward()
    np.testing.assert_allclose(method.loss(rows).item(), loss.item(), rtol=1e-5)
    expected = method.label_adapter.up.grad.numpy()
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-6)


# --- the transductive ones -----------------------------------------------------------------------


def observed(name: str, problem: Problem, queries: torch.Tensor, **changes) -> np.ndarray:
    method = make(name, problem, **changes)
    with torch.no_grad():
        method.observe_queries(lambda: queries.split(7))
        return method.scores(queries).numpy()


def some_queries(problem: Problem, count: int = 10) -> torch.Tensor:
    drawn = torch.randn(count, 8, generator=torch.Generator().manual_seed(5)).double()
    text = torch.cat([problem.seen, problem.unseen])
    return torch.nn.functional.normalize(text[torch.arange(count) % 8] + 0.2 * drawn, dim=1)


def nearest(values: np.ndarray, count: int) -> list[int]:
    return [place for place in np.argsort(-values)[:count] if values[place] > 0]


def test_zlap_equals_the_inverse_of_the_graph():
    problem = small(images=20)
    queries = some_queries(problem)
    images, text, _ = arrays(problem)
    whole, sets = np.concatenate([images, queries.numpy()]), sets_of(problem)
    graph = np.zeros((38, 38))
    for row, image in enumerate(whole):
        others = whole @ image
        others[row] = -1
        for near in nearest(others, 3):
            graph[8 + row, 8 + near] += others[near]
        names = text @ image
        if row < 20:
            names[[name for name in range(8) if name not in sets[row]]] = -1
        for name in nearest(names, 3):
            graph[8 + row, name] += names[name] ** 4
    graph = graph + graph.T
    degree = graph.sum(1)
    degree[degree == 0] = 1
    graph = graph / np.sqrt(np.outer(degree, degree))
    found = np.linalg.inv(np.eye(38) - 0.6 * graph)[28:, :8]
    expected = problem.scale * found / found.sum(1, keepdims=True)
    scores = observed("zlap", problem, queries, neighbours=3, power=4.0, alpha=0.6)
    np.testing.assert_allclose(scores, expected, **EXACT)


def slow_transclip(problem: Problem, queries: np.ndarray) -> np.ndarray:
    """Two rounds, two inner ones, two neighbours, gamma 0.3, lambda 0.5; by loops."""
    images, text, frozen = arrays(problem)
    fixed = np.pad(within_sets(problem, frozen[:, :5]), ((0, 0), (0, 3)))
    prior = np.stack([softmax(problem.scale * text @ query) for query in queries])
    whole, answers = np.concatenate([images, queries]), prior.copy()
    share = [0.3 / len(images)] * len(images) + [1 / len(queries)] * len(queries)
    variance = np.full(8, 1 / 8)
    for number in range(2):
        z = np.concatenate([fixed, answers])
        means = np.zeros((8, 8))
        for k in range(8):
            parts = [s * z[i, k] for i, s in enumerate(share)]
            means[k] = sum(p * whole[i] for i, p in enumerate(parts)) / sum(parts)
        if number:
            variance = np.zeros(8)
            for i, s in enumerate(share):
                for k in range(8):
                    variance += s * z[i, k] * (whole[i] - means[k]) ** 2 / 1.3
        for _ in range(2):
            z, found = np.concatenate([fixed, answers]), np.zeros(prior.shape)
            for q, query in enumerate(queries):
                likeness = whole @ query
                likeness[len(images) + q] = -1
                for k in range(8):
                    density = -0.5 * ((query - means[k]) ** 2 / variance).sum()
                    found[q, k] = 0.5 * np.log(prior[q, k]) + density
                for near in nearest(likeness, 2):
                    found[q] += likeness[near] * z[near]
            answers = np.stack([softmax(row) for row in found])
    return np.log(answers)


def test_transclip_equals_its_equations_by_loops():
    problem = small()
    queries = some_queries(problem)
    how = {"rounds": 2, "inner_rounds": 2, "neighbours": 2, "labelled": 0.3, "text": 0.5}
    found = observed("transclip", problem, queries, **how)
    np.testing.assert_allclose(found, slow_transclip(problem, queries.numpy()), **EXACT)


def test_em_dirichlet_equals_its_equations_by_loops():
    problem = small()
    queries = some_queries(problem)
    images, text, frozen = arrays(problem)
    fixed = np.pad(within_sets(problem, frozen[:, :5]), ((0, 0), (0, 3)))
    points = np.stack([softmax(9.0 * text @ v) for v in [*images, *queries.numpy()]])
    laws, shares = np.ones((8, 8)), points[40:]
    for _ in range(2):
        labels = np.concatenate([fixed, shares])
        for k in range(8):
            mean = sum(labels[i, k] * np.log(points[i]) for i in range(50)) / labels[:, k].sum()
            for _ in range(3):
                laws[k] = slow_step(laws[k], mean)
        logs = np.log(shares.mean(0))
        found = np.zeros((10, 8))
        for q in range(10):
            for k in range(8):
                law = torch.distributions.Dirichlet(torch.from_numpy(laws[k]))
                found[q, k] = law.log_prob(torch.from_numpy(points[40 + q])) + 2.0 * logs[k]
        shares = np.stack([softmax(row) for row in found])
    how = {"temperature": 0.45, "complexity": 2.0, "rounds": 2, "inner_rounds": 3}
    np.testing.assert_allclose(observed("em-dirichlet", problem, queries, **how), found, **EXACT)


def slow_step(law: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """The root above 0 of `c a^2 + b a - 1`, by bisection."""
    total, after = torch.digamma(torch.tensor(law.sum())).item(), np.zeros(len(law))
    for d, a in enumerate(law):
        slope = torch.digamma(torch.tensor(a + 1)).item()
        curve = 2 * (slope * a - torch.lgamma(torch.tensor(a + 1)).item()) / a**2
        low, high = 1e-9, 1e6
        for _ in range(100):
            middle = (low + high) / 2
            rises = slope + curve * (middle - a) - 1 / middle - total - mean[d] > 0
            low, high = (low, middle) if rises else (middle, high)
        after[d] = low
    return after


def test_laws_become_likelier_with_each_step_until_their_mean_logs_are_those_of_the_images():
    drawn = torch.distributions.Dirichlet(torch.tensor([0.5, 2.0, 4.0]).double())
    torch.manual_seed(0)
    means = drawn.sample((300,)).log().mean(0, keepdim=True)
    law, before = torch.ones(1, 3).double(), -np.inf
    for _ in range(20):
        law = fit_dirichlets(law, means, 1)
        after = log_likelihood(means, law).item()
        assert after >= before - 1e-12
        before = after
    law = fit_dirichlets(law, means, 2000)
    expected = torch.digamma(law) - torch.digamma(law.sum())
    assert torch.allclose(expected, means, atol=1e-6)


@pytest.mark.parametrize("name", TRANSDUCTIVE)
def test_blocks_change_nothing_other_images_do_and_an_unknown_image_is_refused(name):
    problem = small()
    queries = some_queries(problem, 30)
    method, found = make(name, problem), []
    assert method.transductive
    with torch.no_grad():
        assert torch.equal(method.scores(queries), method.frozen_scores(queries))
        for size in (30, 7):
            method.observe_queries(lambda size=size: queries.split(size))
            found.append(torch.cat([method.scores(block) for block in queries.split(11)]))
        assert torch.equal(*found)
        method.observe_queries(lambda: [queries[:15]])
        assert not torch.allclose(method.scores(queries[:15]), found[0][:15], atol=1e-3)
        with pytest.raises(UserError, match="not among the observed images"):
            method.scores(queries[20:])


@pytest.mark.parametrize("name", TRANSDUCTIVE)
def test_a_single_query_and_queries_that_are_all_alike_are_no_trouble(name):
    problem = small()
    for queries in (some_queries(problem)[:1], some_queries(problem)[:1].repeat(9, 1)):
        found = observed(name, problem, queries)
        assert np.isfinite(found).all() and np.allclose(found, found[:1])


def test_a_graph_without_links_leaves_each_name_its_own():
    none = torch.zeros(0)
    found = propagate(Edges(none.long(), none.long(), none), 2, 4, 0.5)
    assert torch.equal(found, torch.eye(4, 2))


# --- edges of all --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gda", "tip-adapter"])
def test_what_is_kept_of_the_training_images_is_as_much_as_was_saved(name):
    kind, _ = load_method(name)
    assert "keys" in kind.kept_state
    method = fit(make(name, small()), 0)
    assert method.keys.shape == (40, 8)


def test_images_that_do_not_vary_leave_gda_frozen_clips_answers():
    problem = small(images=5, spread=0.0)
    method = fit(make("gda", problem), 0)
    assert torch.equal(method.precision, torch.zeros(8, 8).double())
    np.testing.assert_allclose(score(method, problem.images), arrays(problem)[2], atol=1e-12)


def test_equal_answers_choose_the_first_alpha():
    one = small(rate=1.0)  # every label is a candidate: all predictions are candidates
    assert fit(make("gda", one), 0).describe()["alpha"] == pytest.approx(GRID[0])
    assert make("tip-adapter", one).describe() == pytest.approx({"alpha": 0.1, "beta": 3.0})
