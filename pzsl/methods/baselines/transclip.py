"""`transclip`: a Gaussian mixture tied to text and neighbours (Zanella et al. 2024; transductive).

Written from its published equations; the authors' code was not read.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pzsl.methods.baselines.transductive import Transductive
from pzsl.methods.core import Options, counting, within

BLOCK = 2048
"""Queries whose neighbours are searched at a time."""
SMALLEST = 1e-9
"""Lower bound on a variance, and on a class's sum of weights if it has a mean of its own."""


@dataclass(frozen=True)
class TransclipOptions(Options):
    """Options of TransCLIP.

    Attributes:
        text: lambda, weight of frozen CLIP's prediction in the assignment of a query.
        labelled: gamma, weight of the training images in the mixture; that of the queries is 1.
        neighbours: nearest images that the Laplacian term ties an image to.
        rounds: alternations between means, covariance and assignments.
        inner_rounds: updates of the assignments in each round.
    """

    text: float = within(1.0, 0)
    labelled: float = within(0.2, 0)
    neighbours: int = counting(3)
    rounds: int = counting(10, 1)
    inner_rounds: int = counting(5, 1)


class Transclip(Transductive):
    """Queries share a mixture of Gaussians with the training images (arXiv 2406.01837, section 3).

    Assignments z_i of the queries, means and a diagonal covariance are estimated in turn:

        z_i   = softmax(lambda log y_i + log p_i + sum_j w_ij z_j)
        mu_k  = (gamma / S sum_s z_sk f_s + 1 / Q sum_q z_qk f_q) / (the same without f)
        Sigma = (gamma / S sum_sk z_sk (f_s - mu_k)^2 + 1 / Q sum_qk ...) / (gamma + 1)

    y_i is frozen CLIP's softmax, p_i the density of the Gaussians, w_ij the cosine of near images.
    On candidate sets the assignments of training images are fixed to their soft labels, as those of
    labelled images in the paper's few-shot form. Seen and unseen classes are treated alike, but
    unseen ones have only queries. It begins with z = y and covariance I / D. The score is log z.
    """

    options: TransclipOptions

    def joint_scores(self, queries: Tensor) -> Tensor:
        """Scores of all queries (Q, D) for all classes, seen first: (Q, K + U)."""
        options, images = self.options, torch.cat([self.keys, queries])
        text = self.frozen_scores(queries).log_softmax(1)
        key_labels = self.pad_unseen(self.values)
        keys = len(key_labels)
        image_weights = torch.cat(
            [
                images.new_full((keys,), options.labelled / max(keys, 1)),
                images.new_full((len(queries),), 1 / len(queries)),
            ]
        )
        neighbours, similarities = near_images(images, queries, options.neighbours)
        covariance = images.new_full((images.shape[1],), 1 / images.shape[1])
        labels, log_labels = torch.cat([key_labels, text.exp()]), text
        for round_number in range(options.rounds):
            weights = labels * image_weights[:, None]
            sums = weights.T @ images
            means = weighted_means(weights, images, image_weights, sums)
            if round_number:
                covariance = diagonal_covariance(weights, images, image_weights, means, sums)
            evidence = options.text * text + log_density(queries, means, covariance)
            for _ in range(options.inner_rounds):
                neighbour_sum = sum_of_near(labels, neighbours, similarities)
                log_labels = neighbour_sum.add_(evidence).log_softmax(1)
                labels[keys:] = log_labels.exp()
        return log_labels


def near_images(images: Tensor, queries: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The nearest other images of each query, and their similarities.

    Args:
        images: (N, D), of which the last are the queries.
        queries: (Q, D).
        count: k, at most.

    Returns:
        (Q, k) rows of the images, and (Q, k) their cosines, at least 0.
    """
    count, first_query, nearest = min(count, len(images) - 1), len(images) - len(queries), []
    for rows in torch.split(torch.arange(len(queries), device=images.device), BLOCK):
        cosines = queries[rows] @ images.T
        cosines.scatter_(1, (rows + first_query)[:, None], -torch.inf)
        nearest.append(cosines.topk(count, dim=1))
    neighbours = torch.cat([block.indices for block in nearest])
    return neighbours, torch.cat([block.values for block in nearest]).clamp_min(0)


def sum_of_near(labels: Tensor, neighbours: Tensor, similarities: Tensor) -> Tensor:
    """Labels (N, C) summed over `neighbours` (Q, k), weighted by `similarities` (Q, k): (Q, C)."""
    total = labels.new_zeros(len(neighbours), labels.shape[1])
    for rows, weights in zip(neighbours.unbind(1), similarities.unbind(1), strict=True):
        total += labels[rows].mul_(weights[:, None])
    return total


def weighted_means(weights: Tensor, images: Tensor, image_weights: Tensor, sums: Tensor) -> Tensor:
    """Means of the classes.

    Args:
        weights: (N, C) soft labels times `image_weights`.
        images: (N, D).
        image_weights: (N,) weight of each image.
        sums: (C, D) `weights.T @ images`.

    Returns:
        (C, D); the mean of all images for a class without any weight.
    """
    counts = weights.sum(0)[:, None]
    centre = (image_weights[:, None] * images).sum(0) / image_weights.sum()
    return torch.where(counts > SMALLEST, sums / counts.clamp_min(SMALLEST), centre)


def diagonal_covariance(
    weights: Tensor, images: Tensor, image_weights: Tensor, means: Tensor, sums: Tensor
) -> Tensor:
    """Variance (D,) around the class means (C, D); other arguments as in `weighted_means`."""
    squares = weights.sum(1) @ images.square() + weights.sum(0) @ means.square()
    variance = (squares - 2 * (sums * means).sum(0)) / image_weights.sum()
    return variance.clamp_min(SMALLEST)


def log_density(images: Tensor, means: Tensor, covariance: Tensor) -> Tensor:
    """Log densities of C Gaussians at images (n, D), up to a term equal for all: (n, C)."""
    scaled = means / covariance
    return images @ scaled.T - 0.5 * (scaled * means).sum(1)
