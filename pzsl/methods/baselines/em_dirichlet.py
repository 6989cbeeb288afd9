"""`em-dirichlet`: Dirichlet laws of CLIP's answers (Martin et al., CVPR 2024; transductive)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pzsl.methods.baselines.transductive import Transductive
from pzsl.methods.core import Options, counting, within

SMALLEST = 1e-15
"""Added to probabilities before their logarithm is taken."""


@dataclass(frozen=True)
class EmDirichletOptions(Options):
    """Options of EM-Dirichlet.

    Attributes:
        temperature: T of the softmax whose answers are modelled, in units of CLIP's logit scale;
            the paper's is 0.3.
        complexity: lambda / Q, weight of the log of the class proportions; the paper's is the
            number of classes over that of classes which are expected in a batch.
        rounds: of laws and answers in turn.
        inner_rounds: majorise-minimise steps of the laws, within each.
    """

    temperature: float = within(1.0, 0, above=True)
    complexity: float = within(1.0, 0)
    rounds: int = counting(3, 1)
    inner_rounds: int = counting(5, 1)


class EmDirichlet(Transductive):
    """Each class is a Dirichlet law over CLIP's answers (arXiv 2405.18437, section 4).

    An image is `x = softmax(T cos(v, t))` over all classes. Laws a_k of the classes, proportions
    and answers u_i of the queries are found in turn:

        a_k = argmax of the likelihood of the images, weighted by their labels
        u_i = softmax(log Dirichlet(x_i | a_k) + lambda / Q log proportion_k)

    On candidate sets the training images count for the laws by their soft labels, as labelled ones
    do in the paper's few-shot form; seen and unseen classes are alike but that unseen ones have
    only queries. The score is what the softmax is taken of. The paper's tasks have few classes a
    batch; where a law has few images, its likeliest one is far too narrow, so that few and short
    rounds from even laws, and CLIP's own scale, are what works here.
    """

    options: EmDirichletOptions

    def joint_scores(self, queries: Tensor) -> Tensor:
        """Scores of all queries (Q, D) for all classes, seen first: (Q, K + U)."""
        options, names = self.options, self.label_embeddings()
        scale = options.temperature * self.problem.scale
        answers = [(scale * images @ names.T).softmax(1) for images in (self.keys, queries)]
        fixed, logs = self.of_seen(self.values), [(softmax + SMALLEST).log() for softmax in answers]
        laws = torch.ones(len(names), len(names), dtype=queries.dtype, device=queries.device)
        shares, scores = answers[1], answers[1]
        for _ in range(options.rounds):
            mass = fixed.sum(0) + shares.sum(0)
            means = (fixed.T @ logs[0] + shares.T @ logs[1]) / mass.clamp_min(SMALLEST)[:, None]
            has_mass = mass > SMALLEST
            laws[has_mass] = fit_laws(laws[has_mass], means[has_mass], options.inner_rounds)
            proportion = (shares.mean(0) + SMALLEST).log()
            scores = log_likelihood(logs[1], laws) + options.complexity * proportion
            shares = scores.softmax(1)
        return scores


def fit_laws(laws: Tensor, means: Tensor, steps: int) -> Tensor:
    """Steps towards the likeliest Dirichlet laws (Martin et al. 2024, block MM of section 4.2).

    To be minimised is `sum_d lgamma(a_d) - lgamma(sum_d a_d) - sum_d a_d m_d`. As `lgamma(a)` is
    `lgamma(a + 1) - log a`, the first part is bounded by a parabola that meets it at 0 and at the
    law before, and the negative second by its tangent: each step solves a quadratic equation.

    Args:
        laws: (k, C) above 0. means: (k, C) mean logs of the images.

    Returns:
        (k, C).
    """
    for _ in range(steps):
        slope = torch.digamma(laws + 1)
        curve = 2 * (laws * slope - torch.lgamma(laws + 1)) / laws.square()
        curve = torch.where(laws > 1e-3, curve, torch.pi**2 / 6)
        linear = slope - torch.digamma(laws.sum(1, keepdim=True)) - curve * laws - means
        laws = 2 / (linear + (linear.square() + 4 * curve).sqrt())
    return laws


def log_likelihood(logs: Tensor, laws: Tensor) -> Tensor:
    """Log of the Dirichlet densities of C laws at images whose logs (n, C) are given: (n, C)."""
    constant = torch.lgamma(laws.sum(1)) - torch.lgamma(laws).sum(1)
    return logs @ (laws - 1).T + constant
