"""Each loss and label-weight update against a slow, obvious NumPy reference, with gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from pzsl.losses.cavl import class_activation_values
from pzsl.losses.cc import classifier_consistent_losses
from pzsl.losses.contrastive import Positives, ambiguity_positives, contrastive_loss, same_class
from pzsl.losses.lws import (
    leveraged_weighted_loss,
    leveraged_weights,
    log_odds,
    logistic_loss,
    sigmoid_loss,
)
from pzsl.losses.partial import alignment, best_candidate, partial_zero_shot_loss
from pzsl.losses.pico import move_prototypes
from pzsl.losses.pop import purify
from pzsl.losses.ragged import Rows, entry_products
from pzsl.methods.core.adapted_method import masked_softmax
from pzsl.methods.core.candidate_entries import CandidateEntries
from pzsl.models.unit_vectors import unit

Array = np.ndarray
Case = tuple[Array, Array]
CLOSE = 1e-6
STEP = 1e-5

# Whole numbers beside the drawn ones, so that ties are common.
SCORES = st.floats(-20, 20) | st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0, 2.0])


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Logits (B, K) and candidates (B, K) of 0 and 1, at least one in each row."""
    shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 5)))
    logits = draw(arrays(np.float64, shape, elements=SCORES))
    candidates = draw(arrays(np.bool_, shape))
    sure = draw(arrays(np.int64, shape[0], elements=st.integers(0, shape[1] - 1)))
    candidates[np.arange(shape[0]), sure] = True
    return logits, candidates.astype(np.float64)


ONE_CANDIDATE = (np.array([[1.0, -3.0, 2.0]]), np.array([[0.0, 1.0, 0.0]]))
ALL_CANDIDATES = (np.array([[1.0, -3.0, 2.0]]), np.ones((1, 3)))
ONE_CLASS = (np.array([[7.0]]), np.ones((1, 1)))
ALL_NEGATIVE = (np.array([[-2.0, 5.0, -1.0, -3.0]]), np.array([[1.0, 0.0, 1.0, 1.0]]))
ALL_TIED = (np.zeros((2, 4)), np.array([[0.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0]]))


def edges(test: Callable[..., None]) -> Callable[..., None]:
    """The cases that have to be there each time."""
    for case in (ONE_CANDIDATE, ALL_CANDIDATES, ONE_CLASS, ALL_NEGATIVE, ALL_TIED):
        test = example(case)(test)
    return settings(max_examples=40)(test)


def softmax(row: Array) -> Array:
    powers = np.array([math.exp(value - max(row)) for value in row])
    return powers / powers.sum()


def within(row: Array, members: Array) -> Array:
    """Softmax among the members of a row, zero for the others."""
    out = np.zeros(len(row))
    inside = [j for j in range(len(row)) if members[j]]
    if inside:
        out[inside] = softmax(row[inside])
    return out


def rows_of(candidates: Array) -> Rows:
    local, labels = (torch.from_numpy(part) for part in np.nonzero(candidates))
    sizes = torch.from_numpy((candidates > 0).sum(1))
    offsets = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
    return Rows(local, offsets, local * candidates.shape[1] + labels)


def best_of(scores: Array, candidates: Array) -> list[int]:
    rows = rows_of(candidates)
    best = best_candidate(torch.from_numpy(scores), torch.zeros(len(rows.batch_row)), rows)
    return (rows.cells[best] % candidates.shape[1]).tolist()


def support_of(candidates: Array) -> CandidateEntries:
    rows, labels = np.nonzero(candidates)
    counts = np.bincount(rows, minlength=len(candidates))
    offsets = np.concatenate([[0], np.cumsum(counts)])
    return CandidateEntries.of(torch.from_numpy(offsets), torch.from_numpy(labels))


def agree(
    loss: Callable[[torch.Tensor], torch.Tensor], reference: Callable[[Array], float], at: Array
) -> None:
    """Same value, and autograd's gradient is the slope of the reference."""
    x = torch.from_numpy(at.copy()).requires_grad_()
    value = loss(x)
    (gradient,) = torch.autograd.grad(value, x)
    assert value.item() == pytest.approx(reference(at), rel=CLOSE, abs=CLOSE)
    slope = np.empty_like(at)
    for place in np.ndindex(at.shape):
        up, down = at.copy(), at.copy()
        up[place] += STEP
        down[place] -= STEP
        slope[place] = (reference(up) - reference(down)) / (2 * STEP)
    np.testing.assert_allclose(gradient.numpy(), slope, rtol=0, atol=CLOSE)


# --- weighted cross-entropy: RC, PRODEN, POP, CLIP-PZSL ------------------------------------------


@edges
@given(cases())
def test_weighted_cross_entropy_and_its_gradient(case):
    logits, candidates = case
    rows, labels = np.nonzero(candidates)
    weights = np.concatenate(
        [within(-row, s)[s > 0] for row, s in zip(logits, candidates, strict=True)]
    )

    def reference(g: Array) -> float:
        log_f = [np.log(softmax(row)) for row in g]
        each = zip(rows, labels, weights, strict=True)
        return -sum(w * log_f[i][j] for i, j, w in each) / len(g)

    def loss(g: torch.Tensor) -> torch.Tensor:
        return partial_zero_shot_loss(g, torch.from_numpy(weights), rows_of(candidates))

    agree(loss, reference, logits)


def test_weighted_cross_entropy_refuses_a_second_backward_pass():
    logits = torch.randn(3, 4, dtype=torch.double, requires_grad=True)
    candidates = np.ones((3, 4), dtype=bool)
    weights = torch.full((12,), 0.25, dtype=torch.double)
    loss = partial_zero_shot_loss(logits, weights, rows_of(candidates))
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@edges
@given(cases())
def test_weights_of_rc_and_proden_are_the_softmax_over_the_candidates(case):
    logits, candidates = case
    found = masked_softmax(
        torch.from_numpy(logits), support_of(candidates), torch.arange(len(logits))
    )
    expected = [within(row, s)[s > 0] for row, s in zip(logits, candidates, strict=True)]
    np.testing.assert_allclose(found.numpy(), np.concatenate(expected), rtol=0, atol=CLOSE)


def test_weights_are_found_for_any_choice_and_order_of_images():
    rng = np.random.default_rng(0)
    candidates = (rng.random((6, 5)) < 0.5) | np.eye(6, 5, dtype=bool) | (np.arange(5) == 4)
    logits = rng.standard_normal((6, 5))
    rows = np.array([4, 0, 5])
    found = masked_softmax(
        torch.from_numpy(logits[rows]), support_of(candidates), torch.from_numpy(rows)
    )
    expected = [within(logits[i], candidates[i])[candidates[i]] for i in rows]
    np.testing.assert_allclose(found.numpy(), np.concatenate(expected), atol=CLOSE)


# --- CC ------------------------------------------------------------------------------------------


@edges
@given(cases())
def test_classifier_consistent_loss_and_its_gradient(case):
    logits, candidates = case

    def reference(g: Array) -> float:
        rows = zip(g, candidates, strict=True)
        return -sum(math.log(sum(softmax(row)[s > 0])) for row, s in rows) / len(g)

    rows = rows_of(candidates)
    agree(lambda g: classifier_consistent_losses(g, rows).mean(), reference, logits)


def test_classifier_consistent_loss_stays_finite_where_the_candidates_are_hopeless():
    logits = torch.tensor([[0.0, -150.0, -160.0, -400.0]], requires_grad=True)
    loss = classifier_consistent_losses(logits, rows_of(np.array([[0.0, 1.0, 1.0, 0.0]]))).mean()
    loss.backward()
    assert loss.item() == pytest.approx(150.0, abs=1e-3)
    assert logits.grad is not None and torch.isfinite(logits.grad).all()
    assert logits.grad[0, 1].item() == pytest.approx(-1.0, abs=1e-3)


# --- LWS -----------------------------------------------------------------------------------------

PSI = {
    sigmoid_loss: lambda z: 1 / (1 + math.exp(z)),
    logistic_loss: lambda z: math.log(1 + math.exp(-z)),
}


@pytest.mark.parametrize("psi", PSI)
@pytest.mark.parametrize("beta", [0.0, 1.0, 2.0])
@edges
@given(cases())
def test_leveraged_weighted_loss_and_its_gradient(psi, beta, case):
    logits, candidates = case
    inside = np.array([within(row, s) for row, s in zip(logits, candidates, strict=True)])
    weights = inside + np.array(
        [within(-row, 1 - s) for row, s in zip(logits, candidates, strict=True)]
    )

    def reference(g: Array) -> float:
        total = 0.0
        for i, j in np.ndindex(g.shape):
            if candidates[i, j]:
                total += weights[i, j] * PSI[psi](g[i, j])
            else:
                total += beta * weights[i, j] * PSI[psi](-g[i, j])
        return total / len(g)

    fixed = torch.from_numpy(weights), torch.from_numpy(candidates)
    agree(lambda g: leveraged_weighted_loss(g, *fixed, beta, psi), reference, logits)


@edges
@given(cases())
def test_leveraged_weights_are_normalised_inside_and_outside(case):
    logits, candidates = case
    inside = np.array([within(row, s) for row, s in zip(logits, candidates, strict=True)])
    found = leveraged_weights(
        *(torch.from_numpy(part) for part in (inside, logits, candidates))
    ).numpy()
    outside = [within(row, 1 - s) for row, s in zip(logits, candidates, strict=True)]
    np.testing.assert_allclose(found, inside + np.array(outside), rtol=0, atol=CLOSE)


@settings(max_examples=40)
@given(arrays(np.float64, (2, 4), elements=st.floats(-5, 5)))
def test_log_odds_and_their_gradient(logits):
    weights = np.array([[1.0, -2.0, 0.5, 3.0], [0.3, 0.1, -1.0, 2.0]])

    def reference(g: Array) -> float:
        f = np.array([softmax(row) for row in g])
        return float((weights * np.log(f / (1 - f))).sum())

    agree(lambda g: (torch.from_numpy(weights) * log_odds(g)).sum(), reference, logits)


def test_log_odds_stay_finite_where_one_class_is_certain():
    logits = torch.tensor([[90.0, 0.0, -90.0]], requires_grad=True)
    odds = log_odds(logits)
    odds.sum().backward()
    assert torch.isfinite(odds).all() and odds[0, 0] > 10
    assert logits.grad is not None and torch.isfinite(logits.grad).all()


@edges
@given(cases())
def test_logistic_lws_without_leverage_is_the_loss_of_rc(case):
    logits, candidates = case
    logits = np.clip(logits, -5, 5)
    if logits.shape[1] == 1:
        return  # one class against no other has no odds
    rows, labels = np.nonzero(candidates)
    inside = np.array([within(row, s) for row, s in zip(logits, candidates, strict=True)])
    g = torch.from_numpy(logits)
    lws = leveraged_weighted_loss(
        log_odds(g), torch.from_numpy(inside), torch.from_numpy(candidates), 0.0, logistic_loss
    )
    weights = torch.from_numpy(inside[rows, labels])
    rc = partial_zero_shot_loss(g, weights, rows_of(candidates))
    assert lws.item() == pytest.approx(rc.item(), abs=CLOSE)


# --- CAVL ----------------------------------------------------------------------------------------


@edges
@given(cases())
def test_cavl_picks_the_first_of_the_largest_activation_values_among_the_candidates(case):
    logits, candidates = case
    values = class_activation_values(torch.from_numpy(logits))
    found = best_of(values.numpy(), candidates)
    for row, members, label in zip(logits, candidates, found, strict=True):
        best = max(
            (j for j in range(len(row)) if members[j]),
            key=lambda j: (abs(row[j] - 1) * row[j], -j),
        )
        assert label == best


def test_cavl_never_picks_an_outsider_when_all_candidates_are_negative():
    logits, candidates = ALL_NEGATIVE
    values = class_activation_values(torch.from_numpy(logits))
    assert best_of(values.numpy(), candidates) == [2]
    assert (values * torch.from_numpy(candidates)).argmax().item() == 1  # what a mask of 0 does


def test_the_activation_value_is_not_monotonous_between_one_half_and_one():
    values = class_activation_values(torch.tensor([0.5, 0.9, 1.0, 2.0, -1.0]))
    assert values.tolist() == pytest.approx([0.25, 0.09, 0.0, 2.0, -2.0])


# --- contrastive losses: PiCO and ABLE -----------------------------------------------------------


def unit_rows(array: Array) -> Array:
    return array / np.linalg.norm(array, axis=1, keepdims=True)


@st.composite
def vectors(draw: st.DrawFn) -> tuple[Array, Array, Array]:
    """Anchors (n, d), others (m, d) that begin with them, and non-negative pairs (n, m)."""
    n, more, d = draw(st.tuples(st.integers(1, 3), st.integers(0, 3), st.integers(2, 3)))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    others = unit_rows(rng.standard_normal((n + more, d)))
    pairs = draw(arrays(np.float64, (n, n + more), elements=st.sampled_from([0, 0, 0.25, 0.5, 1])))
    pairs[:, :n][np.eye(n, dtype=bool)] = 0
    return others[:n], others, pairs


def slow_contrast(
    anchors: Array, others: Array, pairs: Array, temperature: float, left_out: Array | None = None
) -> float:
    total = 0.0
    for i, anchor in enumerate(anchors):
        rest = [a for a in range(len(others)) if a != i]
        if left_out is not None:
            rest = [a for a in rest if not left_out[i, a]]
        scores = {a: float(anchor @ others[a]) / temperature for a in rest}
        if rest:
            largest = max(scores.values())
            log_sum = largest + math.log(sum(math.exp(s - largest) for s in scores.values()))
            total -= sum(pairs[i, a] * (scores[a] - log_sum) for a in rest)
    return total / len(anchors)


def by_pairs(anchors: Tensor, others: Tensor, pairs: Array, *arguments: Any) -> Tensor:
    """The contrastive loss of positives that are given by an array of all pairs."""
    weights = torch.from_numpy(pairs.copy())
    positives = Positives((anchors * (weights @ others)).sum(), weights.sum(1))
    return contrastive_loss(anchors, others, positives, *arguments)


@settings(max_examples=40)
@given(vectors())
def test_contrastive_loss_and_its_gradient_for_the_anchors(case):
    anchors, others, pairs = case
    for left_out in (None, (pairs == 0) & (np.arange(len(others)) % 2 == 0)):
        told = None if left_out is None else torch.from_numpy(left_out)
        fixed = torch.from_numpy(others), pairs, 0.2, told
        agree(
            lambda z, fixed=fixed: by_pairs(z, *fixed),
            lambda z, left_out=left_out: slow_contrast(z, others, pairs, 0.2, left_out),
            anchors,
        )


@settings(max_examples=40)
@given(vectors())
def test_contrastive_loss_and_its_gradient_for_the_others(case):
    anchors, others, pairs = case
    agree(
        lambda z: by_pairs(torch.from_numpy(anchors), z, pairs, 0.2),
        lambda z: slow_contrast(anchors, z, pairs, 0.2),
        others,
    )


@settings(max_examples=40)
@given(vectors())
def test_contrastive_loss_and_its_gradient_among_the_anchors_themselves(case):
    anchors, _, pairs = case
    among = pairs[:, : len(anchors)]
    agree(
        lambda z: by_pairs(z, z, among, 0.2),
        lambda z: slow_contrast(z, z, among, 0.2),
        anchors,
    )


@pytest.mark.parametrize("classes", [6, 2000])
def test_products_at_entries_equal_those_of_all_cells(classes):
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(count, 8, generator=generator) for count in (5, classes))
    sizes = torch.tensor([1, 4, 2, 6, 3])
    labels = torch.cat(
        [torch.randperm(classes, generator=generator)[:size].sort().values for size in sizes]
    )
    batch_row = torch.repeat_interleave(sizes)
    offsets = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
    rows = Rows(batch_row, offsets, batch_row * classes + labels)
    expected = (left @ right.T)[batch_row, labels]
    torch.testing.assert_close(entry_products(left, right, labels, rows), expected)


@given(vectors(), st.data())
def test_all_others_of_an_anchors_class_share_equally_and_an_anchor_without_any_has_none(
    case, data
):
    anchors, others, _ = case
    size = st.lists(st.integers(-1, 2), min_size=len(others), max_size=len(others))
    labels = data.draw(size)
    expected = np.zeros((len(anchors), len(others)))
    for i, a in np.ndindex(expected.shape):
        expected[i, a] = a != i and labels[i] == labels[a] != -1
    expected /= np.maximum(1, expected.sum(1, keepdims=True))
    given_ = torch.from_numpy(anchors), torch.from_numpy(others), torch.tensor(labels)
    found = same_class(*given_, 3)
    attraction = (anchors * (expected @ others)).sum()
    assert found.attraction.item() == pytest.approx(attraction, abs=CLOSE)
    np.testing.assert_allclose(found.mass.numpy(), expected.sum(1), rtol=0, atol=CLOSE)


@settings(max_examples=20)
@given(vectors(), st.lists(st.integers(-1, 1), min_size=6, max_size=6))
def test_anchors_are_learnt_as_the_positives_of_others_too(case, drawn):
    anchors, others, _ = case
    labels = np.array(drawn[: len(others)])
    pairs = (labels[: len(anchors), None] == labels) & (labels >= 0)
    pairs &= ~np.eye(*pairs.shape, dtype=bool)
    weights, later = pairs / np.maximum(1, pairs.sum(1, keepdims=True)), others[len(anchors) :]

    def found(z: Tensor) -> Tensor:
        among = torch.cat([z, torch.from_numpy(later)])
        positives = same_class(z, among, torch.from_numpy(labels), 2)
        return contrastive_loss(z, among, positives, 0.2)

    agree(found, lambda z: slow_contrast(z, np.concatenate([z, later]), weights, 0.2), anchors)


@edges
@given(cases())
def test_positives_of_able_share_the_weight_of_each_candidate(case):
    logits, candidates = case
    weights = np.array([within(row, s) for row, s in zip(logits, candidates, strict=True)])
    predicted = [int(np.argmax(row)) for row in weights]
    size, views = len(weights), 2
    expected = np.zeros((views * size, views * size))
    labels = predicted * views
    for i in range(views * size):
        for j in range(weights.shape[1]):
            members = [a for a in range(views * size) if a != i and labels[a] == j]
            for a in members:
                expected[i, a] += weights[i % size, j] / len(members)
    released = np.zeros_like(expected)  # shares within each view, then repeated for the other
    for i, a in np.ndindex(released.shape):
        j = labels[a]
        if a != i:
            released[i, a] = weights[i % size, j] / predicted.count(j)
    z = np.random.default_rng(0).standard_normal((views * size, 3))
    given_ = torch.from_numpy(z), torch.from_numpy(weights), torch.tensor(predicted), views
    for shared, pairs in (("vectors", expected), ("images", released)):
        found = ambiguity_positives(*given_, shared)
        assert found.attraction.item() == pytest.approx((z * (pairs @ z)).sum(), abs=CLOSE)
        np.testing.assert_allclose(found.mass.numpy(), pairs.sum(1), rtol=0, atol=CLOSE)


# --- PiCO's prototypes ---------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 8), st.integers(1, 4), st.floats(0, 0.999))
def test_prototypes_move_vector_by_vector(seed, batch, classes, momentum):
    rng = np.random.default_rng(seed)
    prototypes = unit_rows(rng.standard_normal((classes, 3)))
    prototypes[-1] = 0  # a class that was not met yet
    features = unit_rows(rng.standard_normal((batch, 3)))
    labels = rng.integers(0, classes, batch)
    expected = prototypes.copy()
    for q, label in zip(features, labels, strict=True):
        expected[label] = momentum * expected[label] + (1 - momentum) * q
    lengths = np.linalg.norm(expected, axis=1, keepdims=True)
    expected = np.where(lengths > 1e-9, expected / np.maximum(lengths, 1e-12), 0)
    given_ = (torch.from_numpy(part) for part in (prototypes, features, labels))
    found = move_prototypes(*given_, momentum).numpy()
    kept = lengths[:, 0] > 1e-6  # opposite vectors may cancel: no direction is right then
    np.testing.assert_allclose(found[kept], expected[kept], rtol=0, atol=CLOSE)


# --- POP -----------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(cases(), st.sampled_from([1e-3, 0.1, 0.4]))
def test_purification_keeps_what_comes_near_the_likeliest(case, theta):
    logits, candidates = case
    rows, labels = np.nonzero(candidates)
    means = np.array([within(row, s) for row, s in zip(logits, candidates, strict=True)])
    means[means < 1e-4] = 0  # removed before
    found = purify(
        torch.from_numpy(means[rows, labels]), torch.from_numpy(rows), len(logits), theta
    )
    expected = [
        means[i, j] > 0 and means[i, j] >= theta * max(means[i])
        for i, j in zip(rows, labels, strict=True)
    ]
    assert found.tolist() == expected
    assert all(found[torch.from_numpy(rows) == i].any() for i in range(len(logits)))


# --- what stands beneath -------------------------------------------------------------------------


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_alignment_and_its_gradient(seed, count):
    rng = np.random.default_rng(seed)
    adapted, frozen = (unit_rows(rng.standard_normal((count, 3))) for _ in range(2))

    def reference(z: Array) -> float:
        return sum(1 - float(a @ f) for a, f in zip(z, frozen, strict=True)) / count

    agree(lambda z: alignment(z, torch.from_numpy(frozen)), reference, adapted)


def test_unit_vectors_have_the_gradient_of_a_division_by_the_length():
    rng = np.random.default_rng(0)
    z = torch.from_numpy(rng.standard_normal((4, 5))).requires_grad_()
    assert torch.autograd.gradcheck(unit, (z,))
    np.testing.assert_allclose(unit(z).detach().numpy(), unit_rows(z.detach().numpy()))
