"""Losses, updates and scores against outputs of the code that the papers' authors released.

Their code ran once, in double precision, on the tensors in `reference/released.json`; what it gave
is stored beside them. Only numbers are here, none of the code:

| numbers | repository | what ran |
|---|---|---|
| `proden` | Lvcrezia77/PRODEN | `utils_loss.partial_loss` |
| `cc`, `rc`, `lws` | hongwei-wen/LW-loss-for-partial-label | `utils_loss`: all four |
| `pico` | hbzju/PiCO | `SupConLoss` with a mask, `partial_loss.confidence_update` |
| `crdpll`, `records` | MediaBrain-SJTU/RECORDS-LTPLL | `CORR_loss`, `CORR_loss_RECORDS` |
| `papi` | AlphaXia/PaPi | `PaPiLoss` |
| `gda` | mrflogs/ICLR24 | `main_few_shots.run` |
| `tip-adapter` | gaopengcuhk/Tip-Adapter | `main.run_tip_adapter` |
| `zlap` | vladan-stojnic/ZLaP | `do_transductive_lp`, solved exactly in place of 50 steps |
| `em-dirichlet` | SegoleneMartin/transductive-CLIP | the few-shot `EM_DIRICHLET.run_method` |
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from problems import prepared
from test_losses import rows_of

from pzsl.losses.cc import classifier_consistent_losses
from pzsl.losses.consistency import divergences, outside_losses
from pzsl.losses.contrastive import Positives, contrastive_loss
from pzsl.losses.lws import leveraged_weighted_loss, log_odds, logistic_loss, sigmoid_loss
from pzsl.losses.papi import mixed_prototype_losses
from pzsl.losses.partial import partial_zero_shot_losses
from pzsl.losses.ragged import row_softmax
from pzsl.methods import load_method, make_options
from pzsl.methods.baselines.zlap import Edges, image_edges, name_edges, propagate
from pzsl.methods.core import CandidateEntries, Method, Problem

RELEASED = json.loads((Path(__file__).parent / "reference" / "released.json").read_text("utf-8"))
SHARED = {name: np.array(values) for name, values in RELEASED["losses"].items()}
LOGITS, OTHERS, SETS, WEIGHTS = (
    torch.tensor(RELEASED["losses"][name], dtype=torch.float64)
    for name in ("logits", "other_logits", "sets", "weights")
)
ROWS = rows_of(SHARED["sets"])
ENTRY_WEIGHTS = ROWS.take(WEIGHTS)
ADDED = 2e-6
"""Their logarithms have 1e-9 or 1e-8 added, ours 1e-7 or nothing."""


def tensor(values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def agrees(loss: Callable[..., torch.Tensor], name: str, *points: Any, near: float = 1e-8) -> None:
    """Value and slopes are those that the released code gave."""
    at = [tensor(point).requires_grad_() for point in points]
    value = loss(*at)
    assert value.item() == pytest.approx(RELEASED[name]["loss"], rel=near)
    for slope, released in zip(
        torch.autograd.grad(value, at), RELEASED[name]["slope"], strict=True
    ):
        np.testing.assert_allclose(slope.numpy(), released, rtol=0, atol=near)


# --- partial labels ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rc", "proden"])
def test_weighted_cross_entropy(name):
    agrees(lambda x: partial_zero_shot_losses(x, ENTRY_WEIGHTS, ROWS).mean(), name, LOGITS.tolist())


def test_weights_of_proden():
    found = ROWS.put(row_softmax(ROWS.take(LOGITS), ROWS), LOGITS)
    np.testing.assert_allclose(found.numpy(), RELEASED["proden"]["weights"], atol=1e-9)


def test_the_classifier_consistent_loss():
    agrees(lambda x: classifier_consistent_losses(x, ROWS).mean(), "cc", LOGITS.tolist())


@pytest.mark.parametrize("beta", [1, 2])
def test_the_leveraged_weighted_losses(beta):
    weights = tensor(SHARED["weights"] + SHARED["outside_weights"])

    def sigmoid(x: torch.Tensor) -> torch.Tensor:
        return leveraged_weighted_loss(x, weights, SETS, beta, sigmoid_loss)

    def cross_entropy(x: torch.Tensor) -> torch.Tensor:
        return leveraged_weighted_loss(log_odds(x), weights, SETS, beta, logistic_loss)

    agrees(sigmoid, f"lws sigmoid {beta}", LOGITS.tolist())
    agrees(cross_entropy, f"lws cross entropy {beta}", LOGITS.tolist(), near=ADDED)


def test_the_contrast_of_pico():
    pairs = tensor(SHARED["positives"]).fill_diagonal_(0)
    pairs /= pairs.sum(1, keepdim=True)

    def loss(z: torch.Tensor) -> torch.Tensor:
        positives = Positives((z[:4] * (pairs @ z)).sum(), pairs.sum(1))
        return contrastive_loss(z[:4], z, positives, 0.07)

    agrees(loss, "pico", SHARED["vectors"])


def test_label_weights_of_pico():
    scores = tensor(RELEASED["pico weights"]["scores"])
    best = torch.nn.functional.one_hot((scores * SETS).argmax(1), SETS.shape[1])
    moved = WEIGHTS.lerp(best.to(WEIGHTS), 0.1)
    np.testing.assert_allclose(moved.numpy(), RELEASED["pico weights"]["weights"], atol=1e-7)


def test_the_losses_of_two_views():
    def loss(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        losses = [
            outside_losses(x, SETS) + divergences(x, ENTRY_WEIGHTS, ROWS) for x in (first, second)
        ]
        return torch.stack(losses).sum(0).mean()

    agrees(loss, "crdpll two views", LOGITS.tolist(), OTHERS.tolist(), near=ADDED)


def test_label_weights_of_records():
    released = RELEASED["records"]
    mean = 0.1 * tensor(SHARED["mixed"] + SHARED["other_mixed"]).mean(0) / 2
    np.testing.assert_allclose(mean.numpy(), released["mean"], atol=1e-9)
    bias = (released["scale"] * mean @ tensor(SHARED["prototypes"]).T).softmax(0).log()
    logits = (LOGITS + OTHERS) / 2 - bias
    found = ROWS.put(row_softmax(ROWS.take(logits), ROWS), logits)
    np.testing.assert_allclose(found.numpy(), released["weights"], atol=2e-7)


def test_the_alignment_of_papi():
    released = RELEASED["papi"]
    prototypes, order = tensor(SHARED["prototypes"]), torch.from_numpy(SHARED["order"])

    def loss(*views: torch.Tensor) -> torch.Tensor:
        share, temperature = released["share"], released["temperature"]
        return mixed_prototype_losses(views, prototypes, WEIGHTS, order, share, temperature).mean()

    agrees(loss, "papi", SHARED["mixed"], SHARED["other_mixed"])


# --- rivals on cached features -------------------------------------------------------------------


def problem_of(sets: list[list[int]], scale: float) -> Problem:
    text = tensor(RELEASED["text"])
    offsets = torch.tensor(np.cumsum([0, *map(len, sets)]))
    candidates = CandidateEntries.of(
        offsets, torch.tensor([c for members in sets for c in members])
    )
    candidates = CandidateEntries(
        candidates.offsets, candidates.labels, candidates.log_mask.double()
    )
    return Problem(tensor(RELEASED["images"]), candidates, text, text[:0], scale=scale)


def single_labels() -> list[list[int]]:
    return [[label] for label in RELEASED["truth"]]


def made(name: str, problem: Problem, **changes: Any) -> Method:
    kind, _ = load_method(name)
    return prepared(kind(problem, make_options(name, "default", changes), torch.Generator()))


@torch.no_grad()
def scores_of(method: Method) -> np.ndarray:
    method.finalize()
    return method.scores(tensor(RELEASED["queries"])).numpy()


def test_scores_of_gda_but_for_what_all_classes_share():
    released = RELEASED["gda"]
    problem = problem_of(single_labels(), 100.0)
    method = made("gda", problem, search=False, alpha=released["alpha"], rounds=0)
    difference = scores_of(method) - np.array(released["logits"])
    np.testing.assert_allclose(difference, difference[:, :1].repeat(5, 1), atol=1e-7)


def test_scores_of_tip_adapter():
    released = RELEASED["tip-adapter"]
    settings = {"alpha": released["alpha"], "beta": released["beta"], "rounds": 0}
    method = made("tip-adapter", problem_of(single_labels(), 100.0), search=False, **settings)
    np.testing.assert_allclose(scores_of(method), released["logits"], rtol=1e-6)


def test_what_zlap_spreads():
    """There an image is the first of its own k nearest, and then left out: k - 1 remain."""
    released = RELEASED["zlap"]
    text, images = (tensor(RELEASED[name]) for name in ("text", "images"))
    images = torch.cat([images, tensor(RELEASED["queries"])])
    outside = torch.zeros(len(images), len(text), dtype=torch.bool)
    near = image_edges(images, released["k"] - 1, len(text))
    names = name_edges(images, text, outside, released["k"], released["gamma"])
    edges = Edges(*(torch.cat(pair) for pair in zip(near, names, strict=True)))
    spread = propagate(edges, len(text), len(text) + len(images), released["alpha"])
    np.testing.assert_allclose(spread[len(text) :].numpy(), released["scores"], atol=1e-8)


def test_answers_of_em_dirichlet():
    released = RELEASED["em-dirichlet"]
    names = ("complexity", "rounds", "inner_rounds")
    settings = {name: released[name] for name in names}
    method = made("em-dirichlet", problem_of(single_labels(), released["T"]), **settings)
    queries = tensor(RELEASED["queries"])
    with torch.no_grad():
        method.finalize()
        method.observe_queries(lambda: iter([queries]))
        answers = method.scores(queries).softmax(1)
    np.testing.assert_allclose(answers.numpy(), released["answers"], atol=1e-7)
