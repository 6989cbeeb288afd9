"""`em-dirichlet`: Dirichlet distributions of CLIP's answers (Martin et al. 2024; transductive)."""

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
        rounds: of distributions and answers in turn.
        inner_rounds: majorise-minimise steps of the distributions, within each.
    """

    temperature: float = within(1.0, 0, above=True)
    complexity: float = within(1.0, 0)
    rounds: int = counting(3, 1)
    inner_rounds: int = counting(5, 1)


class EmDirichlet(Transductive):
    """Each class is a Dirichlet distribution over CLIP's answers (arXiv 2405.18437, section 4).

    An image is `x = softmax(T cos(v, t))` over all classes. The classes' parameters a_k and
    proportions, and the answers u_i of the queries are estimated in turn:

        a_k = argmax of the likelihood of the images, weighted by their labels
        u_i = softmax(log Dirichlet(x_i | a_k) + lambda / Q log proportion_k)

    On candidate sets the training images count for the distributions by their soft labels, as
    labelled ones do in the paper's few-shot form. Seen and unseen classes are treated alike, but
    unseen ones have only queries. The score is what the softmax is taken of. The paper's tasks have
    few classes a batch. Where a class has few images, its likeliest distribution is far too narrow:
    few and short rounds from even parameters, and CLIP's own scale, are what works here.
    """

    options: EmDirichletOptions

    def joint_scores(self, queries: Tensor) -> Tensor:
        """Scores of all queries (Q, D) for all classes, seen first: (Q, K + U)."""
        options, names = self.options, self.label_embeddings()
        scale = options.temperature * self.problem.scale
        answers = [(scale * images @ names.T).softmax(1) for images in (self.keys, queries)]
        fixed, logs = self.of_seen(self.values), [(softmax + SMALLEST).log() for softmax in answers]
        parameters = torch.ones(len(names), len(names), dtype=queries.dtype, device=queries.device)
        shares, scores = answers[1], answers[1]
        for _ in range(options.rounds):
            mass = fixed.sum(0) + shares.sum(0)
            means = (fixed.T @ logs[0] + shares.T @ logs[1]) / mass.clamp_min(SMALLEST)[:, None]
            has_mass = mass > SMALLEST
            parameters[has_mass] = fit_dirichlets(
                parameters[has_mass], means[has_mass], options.inner_rounds
            )
            proportion = (shares.mean(0) + SMALLEST).log()
            scores = log_likelihood(logs[1], parameters) + options.complexity * proportion
            shares = scores.softmax(1)
        return scores


def fit_dirichlets(parameters: Tensor, means: Tensor, steps: int) -> Tensor:
    """Steps towards the likeliest Dirichlet distributions (ibid., block MM of section 4.2).

    To be minimised is `sum_d lgamma(a_d) - lgamma(sum_d a_d) - sum_d a_d m_d`. As `lgamma(a)` is
    `lgamma(a + 1) - log a`, the first part is bounded by a parabola that meets it at 0 and at the
    value before, and the negative second by its tangent: each step solves a quadratic equation.

    Args:
        parameters: (k, C) above 0. means: (k, C) mean logs of the images.

    Returns:
        (k, C).
    """
    for _ in range(steps):
        slope = torch.digamma(parameters + 1)
        curve = 2 * (parameters * slope - torch.lgamma(parameters + 1)) / parameters.square()
        curve = torch.where(parameters > 1e-3, curve, torch.pi**2 / 6)
        linear = slope - torch.digamma(parameters.sum(1, keepdim=True)) - curve * parameters - means
        parameters = 2 / (linear + (linear.square() + 4 * curve).sqrt())
    return parameters


def log_likelihood(logs: Tensor, parameters: Tensor) -> Tensor:
    """Log densities of C distributions at images whose logs (n, C) are given: (n, C)."""
    constant = torch.lgamma(parameters.sum(1)) - torch.lgamma(parameters).sum(1)
    return logs @ (parameters - 1).T + constant
