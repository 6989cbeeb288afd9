"""Adapters, mining block, prototypes and the noise model against slow references."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from problems import make_problem, prepared

from pzsl.losses.partial import alignment, partial_zero_shot_loss
from pzsl.losses.ragged import Rows
from pzsl.methods import make_options
from pzsl.methods.clip_pzsl import noise_model
from pzsl.methods.clip_pzsl.method import ClipPzsl
from pzsl.methods.clip_pzsl.mining import choose_candidate, k_means
from pzsl.methods.clip_pzsl.noise_model import NoiseModel, estimate_noise, widen
from pzsl.methods.clip_pzsl.training_pass import InsideMass, walk
from pzsl.methods.core import CandidateEntries
from pzsl.models.adapter import LowRankAdapter
from pzsl.models.mining_block import (
    Choose,
    KMeansCrossAttention,
    Layer,
    Parts,
    SemanticMiningBlock,
    nearest,
)
from pzsl.models.projected_images import project_adapted
from pzsl.models.prototypes import unseen_prototypes
from pzsl.training.loop import fit


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def points(count: int, dim: int = 16, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(count, dim, generator=drawn(seed)), dim=-1)


def test_an_untrained_adapter_changes_nothing():
    z = points(5)
    assert torch.allclose(LowRankAdapter(16, 4, drawn())(z), z, atol=1e-6)


@pytest.mark.parametrize("centred", [False, True])
def test_projected_images_and_gradients_equal_those_of_adapted_images(centred):
    adapter, images = LowRankAdapter(16, 4, drawn()).double(), points(9).double()
    adapter.up.data.normal_(generator=drawn(1))
    centre = points(1, seed=2)[0].double() / 5 if centred else None
    projection = torch.randn(5, 16, generator=drawn(3), dtype=torch.float64, requires_grad=True)
    slope = points(9, 5, seed=4).double()
    trained = [projection, *adapter.parameters()]
    adapted = adapter(images) if centre is None else adapter(images) - centre
    expected = F.normalize(adapted @ projection.T, dim=-1)
    found = project_adapted(images, adapter, projection, centre)
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad((value * slope).sum(), trained) for value in (found, expected)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("parts", [Parts(), Parts(False), Parts(True, False, False)])
def test_an_untrained_block_is_zero_shot_clip(parts):
    block = SemanticMiningBlock(16, 2, 4, parts, drawn())
    labels = points(7, seed=1)
    refined, logits = block(labels, lambda: [(points(20), nearest)], 20.0)
    assert torch.allclose(refined, labels, atol=1e-6)
    assert len(logits) == (2 if parts.k_means else 0)
    for of_layer in logits:
        assert torch.allclose(of_layer, 20 * points(20) @ labels.T, atol=1e-5)


def test_points_go_to_the_nearest_of_their_candidates():
    problem, _ = make_problem(images=30, seen=6, rate=0.4)
    rows = torch.tensor([3, 17, 0])
    logits = torch.randn(3, 6, generator=drawn(8))
    chosen = choose_candidate(problem.candidates.batch(rows, 6))(logits)
    for place, row in enumerate(rows.tolist()):
        first, end = problem.candidates.offsets[row : row + 2].tolist()
        labels = problem.candidates.labels[first:end].tolist()
        assert int(chosen[place]) == max(labels, key=lambda label: float(logits[place, label]))


def among(allowed: torch.Tensor) -> Choose:
    """How points choose among the labels that a mask (n, C) allows them."""
    return lambda logits: logits.masked_fill(~allowed, -torch.inf).argmax(1)


def drawn_weights(module: torch.nn.Module) -> torch.nn.Module:
    """The module with all its weights drawn anew, those that are zero at the start, too."""
    generator = drawn(3)
    for weight in module.parameters():
        weight.data.copy_(torch.randn(weight.shape, generator=generator) / 2)
    return module


@pytest.mark.parametrize("update", ["mean", "sum"])
@torch.no_grad()
def test_k_means_update_equals_a_slow_loop(update):
    layer = drawn_weights(KMeansCrossAttention(4, 2, drawn(), update))
    labels, images = points(3, 4, 1) * 1.5, points(9, 4, 2)
    allowed = torch.rand(9, 3, generator=drawn(5)) < 0.6
    allowed[:, 0] = True
    halves = [(images[:4], among(allowed[:4])), (images[4:], among(allowed[4:]))]
    moved, _ = layer(labels, lambda: halves, 10.0)
    value = torch.eye(4) + layer.value_up @ layer.value_down
    expected = labels.clone()
    members: dict[int, list[torch.Tensor]] = {0: [], 1: [], 2: []}
    for image, may in zip(images, allowed, strict=True):
        similar = [
            float(layer.key(image[None])[0] @ layer.query(F.normalize(label, dim=0)[None])[0])
            if ok
            else -np.inf
            for label, ok in zip(labels, may, strict=True)
        ]
        members[int(np.argmax(similar))].append(value @ image)
    for cluster, values in members.items():
        if not values:
            continue
        added = torch.stack(values).mean(0)
        if update == "sum":
            total = torch.stack(values).sum(0)
            added = (total - total.mean()) / (total.var(correction=0) + 1e-5).sqrt()
        expected[cluster] += layer.gate * added
    assert torch.allclose(moved, expected, atol=1e-5)


@torch.no_grad()
def test_attention_and_feed_forward_equal_a_slow_loop():
    layer = drawn_weights(Layer(8, 2, Parts(k_means=False), drawn()))
    labels = points(5, 8, 1)
    moved, _ = layer(labels, None, 10.0)
    normed = [layer.norm(label) for label in labels]
    queries, keys, values = (
        [weight @ label for label in normed] for weight in layer.qkv.split(2, dim=0)
    )
    for query, label, found in zip(queries, labels, moved, strict=True):
        powers = [float(torch.exp(query @ key / 2**0.5)) for key in keys]
        mixed = sum(p / sum(powers) * value for p, value in zip(powers, values, strict=True))
        attended = label + layer.mix_gate * (layer.out @ mixed)
        hidden = F.gelu(layer.up @ layer.feed_norm(attended))
        expected = attended + layer.feed_gate * (layer.down @ hidden)
        assert torch.allclose(found, expected, atol=1e-4)


def test_query_and_key_learn_only_through_the_supervised_assignment():
    layer = KMeansCrossAttention(16, 4, drawn())
    with torch.no_grad():
        layer.gate.fill_(0.5)
    labels, images = points(4, seed=1), points(12, seed=2).requires_grad_()
    moved, (logits,) = layer(labels, lambda: [(images, nearest)], 20.0)
    (moved**2).sum().backward(retain_graph=True)
    assert layer.query.up.grad is None and layer.key.up.grad is None
    assert layer.value_up.grad is not None and layer.value_up.grad.abs().sum() > 0
    pulled = images.grad.clone()
    F.cross_entropy(logits, torch.arange(12) % 4).backward()
    assert layer.query.up.grad.abs().sum() > 0 and layer.key.up.grad.abs().sum() > 0
    assert torch.equal(images.grad, pulled), "assignments must not move the points"


def test_training_the_paper_preset_moves_query_and_key():
    problem, _ = make_problem()
    method = prepared(ClipPzsl(problem, make_options("clip-pzsl", "paper"), drawn()))
    before = {n: p.clone() for n, p in method.named_parameters() if ".query." in n or ".key." in n}
    assert len(before) == 8  # two matrices each, in two layers
    fit(method, 0)
    after = dict(method.named_parameters())
    assert all((after[name] - value).abs().max() > 1e-4 for name, value in before.items())


def test_partial_loss_equals_a_slow_loop():
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((3, 4))
    log_p = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    entries = [(0, 1, 0.3), (0, 2, 0.7), (1, 0, 1.0), (2, 0, 0.5), (2, 3, 0.5)]
    expected = -sum(weight * log_p[row, label] for row, label, weight in entries) / 3
    row, label, weight = (torch.tensor(column) for column in np.array(entries).T)
    rows = Rows(row.long(), torch.tensor([0, 2, 3, 5]), (4 * row + label).long())
    loss = partial_zero_shot_loss(torch.tensor(scores), weight, rows)
    assert float(loss) == pytest.approx(expected, abs=1e-12)


def test_alignment_is_zero_for_equal_and_two_for_opposite():
    z = points(6)
    assert float(alignment(z, z)) == pytest.approx(0, abs=1e-6)
    assert float(alignment(-z, z)) == pytest.approx(2, abs=1e-6)


def test_unseen_prototypes_equal_a_slow_loop():
    seen, unseen, prototypes = points(5, seed=1), points(2, seed=2), points(5, seed=3)
    share = torch.tensor([1.0, 0.5, 1.0, 0.0, 0.2])
    found = unseen_prototypes(prototypes, seen, unseen, share, 0.5)
    centre = torch.cat([seen, unseen]).mean(0)
    for row, label in zip(found, unseen, strict=True):
        weights = []
        for other, part in zip(seen, share, strict=True):
            cosine = F.cosine_similarity(label - centre, other - centre, dim=0)
            weights.append(float(torch.exp(20 * cosine)) * max(float(part), 1e-6))
        mixed = sum(w * p for w, p in zip(weights, prototypes, strict=True)) / sum(weights)
        assert torch.allclose(row, 0.5 * F.normalize(mixed, dim=0), atol=1e-5)


@pytest.mark.parametrize("eta", [0.0, 0.1, 0.2, 0.3])
def test_the_noise_model_finds_the_share_outside(eta):
    problem, _ = make_problem(images=2000, seen=12, rate=0.3, eta=eta, spread=0.05)
    logits = problem.scale * problem.images @ problem.seen.T
    inside = InsideMass()
    walk(problem.candidates, lambda rows: logits[rows], inside)
    found = estimate_noise(problem.candidates, inside.mass, 12)
    assert found.eta == pytest.approx(eta, abs=0.05)
    assert found.hard == (eta == 0)


@pytest.mark.parametrize(("classes", "second"), [(20, 0.0), (20, 0.2), (20, 0.5), (2, 0.0)])
@pytest.mark.parametrize("eta", [0.0, 0.05, 0.1, 0.3])
def test_the_noise_model_finds_wrong_labels_where_most_images_have_one(eta, classes, second):
    """A wrong label took the place of the true one: otherwise the image would have none."""
    images, random = 5000, torch.Generator().manual_seed(0)
    share = (3 * torch.randn(images, classes, generator=random)).softmax(dim=1)
    truth = torch.multinomial(share, 1, generator=random).flatten()
    wrong = torch.rand(images, generator=random) < eta
    other = (truth + torch.randint(1, classes, (images,), generator=random)) % classes
    rows, members = torch.arange(images), torch.rand(images, classes, generator=random)
    members = members < second / (classes - 1)
    members[rows, truth] = ~wrong
    members[rows[wrong], other[wrong]] = True
    sizes = members.sum(dim=1).cumsum(0)
    candidates = CandidateEntries.of(F.pad(sizes, (1, 0)), members.nonzero()[:, 1])
    found = estimate_noise(candidates, (share * members).sum(dim=1), classes)
    outside = (~members[rows, truth]).float().mean().item()
    assert found.eta == pytest.approx(outside, abs=0.04)
    assert found.hard == (eta == 0)


@pytest.mark.parametrize("unlabelled", [0.0, 0.5, 0.9])
def test_images_that_nobody_labelled_do_not_hide_wrong_labels(unlabelled):
    """Every class is their candidate, so that their sets can't be wrong."""
    images, classes, random = 5000, 20, torch.Generator().manual_seed(0)
    share = (3 * torch.randn(images, classes, generator=random)).softmax(dim=1)
    truth = torch.multinomial(share, 1, generator=random).flatten()
    wrong = torch.rand(images, generator=random) < 0.2
    given = torch.where(wrong, (truth + 1) % classes, truth)
    members = F.one_hot(given, classes).bool()
    members[torch.rand(images, generator=random) < unlabelled] = True
    sizes = members.sum(dim=1).cumsum(0)
    candidates = CandidateEntries.of(F.pad(sizes, (1, 0)), members.nonzero()[:, 1])
    found = estimate_noise(candidates, (share * members).sum(dim=1), classes)
    assert found.eta == pytest.approx(0.2, abs=0.05)
    assert not found.hard


@pytest.mark.parametrize(("together", "each"), [(noise_model.ALL_OUTSIDERS, 32), (90, 3), (0, 1)])
def test_widening_keeps_candidates_and_adds_the_likeliest_others(monkeypatch, together, each):
    monkeypatch.setattr(noise_model, "ALL_OUTSIDERS", together)
    problem, _ = make_problem(images=30, seen=40, dim=32, rate=0.2)
    wide, logits = widen(problem.candidates, NoiseModel(0.2, 3.0), problem.cosines)
    similar = problem.images @ problem.seen.T
    old, new = problem.candidates, wide
    for row in range(30):
        inside = old.labels[old.offsets[row] : old.offsets[row + 1]].tolist()
        labels = new.labels[new.offsets[row] : new.offsets[row + 1]].tolist()
        masks = new.log_mask[new.offsets[row] : new.offsets[row + 1]].tolist()
        others = sorted(set(range(40)) - set(inside), key=lambda c: -float(similar[row, c]))
        assert labels == sorted({*inside, *others[:each]})
        for label, mask in zip(labels, masks, strict=True):
            assert mask == (0 if label in inside else -3.0)
        assert torch.equal(logits[new.offsets[row] : new.offsets[row + 1]], similar[row, labels])


def test_k_means_finds_separate_groups():
    middles = points(3, seed=4)
    group = torch.arange(60) % 3
    noisy = F.normalize(middles[group] + 0.02 * points(60, seed=5), dim=-1)
    centres = k_means(noisy, 3)
    near = (noisy @ centres.T).argmax(1)
    assert all(len(set(near[group == g].tolist())) == 1 for g in range(3))
    assert len(set(near.tolist())) == 3
