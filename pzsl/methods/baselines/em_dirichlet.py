"""`em-dirichlet`: Dirichlet mixture of CLIP's softmax (Martin et al. 2024; transductive)."""

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
        temperature: T of the softmax that is modelled, in units of CLIP's logit scale;
            the paper's is 0.3.
        complexity: lambda / Q, weight of the log of the class proportions; the paper's is the
            number of classes over the number expected in a batch.
        rounds: alternations between distributions and assignments.
        inner_rounds: majorise-minimise steps of the distributions in each round.
    """

    temperature: float = within(1.0, 0, above=True)
    complexity: float = within(1.0, 0)
    rounds: int = counting(3, 1)
    inner_rounds: int = counting(5, 1)


class EmDirichlet(Transductive):
    """Each class is a Dirichlet distribution of CLIP's softmax (arXiv 2405.18437, section 4).

    An image is represented by `x = softmax(T cos(v, t))` over all classes. The parameters a_k and
    proportions of the classes, and the assignments u_i of the queries, are estimated in turn:

        a_k = argmax of the likelihood of the images, weighted by their assignments to k
        u_i = softmax(log Dirichlet(x_i | a_k) + lambda / Q log proportion_k)

    On candidate sets the training images enter the distributions by their soft labels, as labelled
    images do in the paper's few-shot form. Seen and unseen classes are treated alike, but unseen
    ones have only queries. The score is the argument of the last softmax. The paper's tasks have
    few classes per batch. Where a class has few images, its maximum-likelihood distribution is far
    too narrow: what works here are few, short rounds from uniform parameters, at CLIP's own scale.
    """

    options: EmDirichletOptions

    def joint_scores(self, queries: Tensor) -> Tensor:
        """Scores of all queries (Q, D) for all classes, seen first: (Q, K + U)."""
        options, names = self.options, self.label_embeddings()
        scale = options.temperature * self.problem.scale
        softmaxes = [(scale * images @ names.T).softmax(1) for images in (self.keys, queries)]
        key_logs, query_logs = ((softmax + SMALLEST).log() for softmax in softmaxes)
        key_labels, query_labels = self.pad_unseen(self.values), softmaxes[1]
        parameters = torch.ones(len(names), len(names), dtype=queries.dtype, device=queries.device)
        scores = query_labels
        for _ in range(options.rounds):
            mass = key_labels.sum(0) + query_labels.sum(0)
            sums = key_labels.T @ key_logs + query_labels.T @ query_logs
            means = sums / mass.clamp_min(SMALLEST)[:, None]
            has_mass = mass > SMALLEST
            parameters[has_mass] = fit_dirichlets(
                parameters[has_mass], means[has_mass], options.inner_rounds
            )
            log_proportions = (query_labels.mean(0) + SMALLEST).log()
            scores = log_likelihood(query_logs, parameters) + options.complexity * log_proportions
            query_labels = scores.softmax(1)
        return scores


def fit_dirichlets(parameters: Tensor, means: Tensor, steps: int) -> Tensor:
    """Majorise-minimise steps of a maximum-likelihood fit (ibid., block MM of section 4.2).

    They minimise `sum_d lgamma(a_d) - lgamma(sum_d a_d) - sum_d a_d m_d`. As `lgamma(a)` is
    `lgamma(a + 1) - log a`, the first term is bounded by a parabola that meets it at 0 and at the
    current value, the second by its tangent: each step solves a quadratic equation.

    Args:
        parameters: (k, C) above 0, where to begin.
        means: (k, C) mean logs of the images.
        steps: how many.

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
