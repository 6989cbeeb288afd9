"""`zlap`: label propagation from names to images (Stojnic et al., CVPR 2024; transductive)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pzsl.methods.baselines.transductive import Transductive
from pzsl.methods.core import Options, counting, within

BLOCK = 2048
"""Images whose neighbours are searched at a time."""
PRECISION = 1e-9
"""Largest error of the propagated labels."""


@dataclass(frozen=True)
class ZlapOptions(Options):
    """Options of label propagation.

    Attributes:
        neighbours: k, the most images, and the most class names, that an image is linked with.
        alpha: how far labels spread.
        power: gamma, the exponent of similarities of images with names.
    """

    neighbours: int = counting(5, 1)
    alpha: float = within(0.3, 0, 0.99)
    power: float = within(5.0, 0)


class Edges(NamedTuple):
    """Links of a graph, each in one direction.

    Attributes:
        start, end: (m,) nodes.
        weight: (m,) at least 0.
    """

    start: Tensor
    end: Tensor
    weight: Tensor


class Zlap(Transductive):
    """Labels spread from class names over a graph of images (Stojnic et al. 2024, section 3).

    Nodes are all class names, all training images and all queries. Each image is linked with its k
    nearest images, by cosine, and its k nearest names, by the cosine to the power gamma. A training
    image is linked only with the names of its candidates: this is how candidates enter (ours; the
    paper's graph has unlabelled images only). With S the graph made symmetric and normalised,
    `F = (I - alpha S)^-1 Y`, where Y is 1 at each class's name. Unseen classes have names as seen
    ones do. The score is `s` times the share of a class in an image's row of F.
    """

    options: ZlapOptions

    def joint_scores(self, queries: Tensor) -> Tensor:
        """Scores of all queries (Q, D) for all classes, seen first: (Q, K + U)."""
        options, names = self.options, self.label_embeddings().cpu()
        images = torch.cat([self.keys, queries]).cpu()
        keys, seen = self.values.shape
        excluded = torch.full((len(images), len(names)), False)
        excluded[:keys, :seen] = self.values.cpu() <= 0
        excluded[:keys, seen:] = True
        to_images = image_edges(images, options.neighbours, len(names))
        to_names = name_edges(images, names, excluded, options.neighbours, options.power)
        edges = Edges(*(torch.cat(pair) for pair in zip(to_images, to_names, strict=True)))
        labels = propagate(edges, len(names), len(names) + len(images), options.alpha)
        query_labels = labels[len(names) + keys :]
        smallest = torch.finfo(query_labels.dtype).tiny
        share = query_labels / query_labels.sum(1, keepdim=True).clamp_min(smallest)
        return (self.problem.scale * share).to(queries.device)


def image_edges(images: Tensor, count: int, first_node: int) -> Edges:
    """Link each image with the others that it is nearest to.

    Args:
        images: (N, D) unit vectors.
        count: how many, at most.
        first_node: the node of the first image.
    """
    count, edge_blocks = min(count, len(images) - 1), []
    for rows in torch.split(torch.arange(len(images)), BLOCK):
        cosines = images[rows] @ images.T
        cosines[torch.arange(len(rows)), rows] = -torch.inf
        edge_blocks.append(_nearest_edges(cosines, count, rows + first_node, first_node))
    return Edges(*(torch.cat(values) for values in zip(*edge_blocks, strict=True)))


def name_edges(images: Tensor, names: Tensor, excluded: Tensor, count: int, power: float) -> Edges:
    """Link each image with the class names, nodes 0 to C - 1, that it is nearest to.

    Args:
        images: (N, D) unit vectors.
        names: (C, D) unit vectors.
        excluded: (N, C) bool, pairs that must not be linked.
        count: how many, at most.
        power: exponent of the cosine.
    """
    first_node, count, edge_blocks = len(names), min(count, len(names)), []
    for rows in torch.split(torch.arange(len(images)), BLOCK):
        cosines = (images[rows] @ names.T).masked_fill(excluded[rows], -torch.inf)
        edges = _nearest_edges(cosines, count, rows + first_node, 0)
        edge_blocks.append(edges._replace(weight=edges.weight**power))
    return Edges(*(torch.cat(values) for values in zip(*edge_blocks, strict=True)))


def _nearest_edges(cosines: Tensor, count: int, start: Tensor, first_node: int) -> Edges:
    nearest = cosines.topk(count, dim=1)
    starts = start[:, None].expand_as(nearest.indices)
    linked = nearest.values > 0
    return Edges(starts[linked], nearest.indices[linked] + first_node, nearest.values[linked])


def propagate(edges: Edges, classes: int, nodes: int, alpha: float) -> Tensor:
    """Solve `(I - alpha S) F = Y` by `F <- alpha S F + Y` (Zhou et al. 2004).

    Args:
        edges: links; each counts in both directions, so twice if it is given in both.
        classes: C, the first nodes, whose labels are given.
        nodes: number of all nodes.
        alpha: below one.

    Returns:
        (nodes, C), on the device of the links.
    """
    start, end = torch.cat([edges.start, edges.end]), torch.cat([edges.end, edges.start])
    weight = torch.cat([edges.weight, edges.weight])
    degree = weight.new_zeros(nodes).index_add_(0, start, weight)
    inverse = torch.where(degree > 0, degree.clamp_min(1e-30).rsqrt(), 0)
    weight = alpha * weight * inverse[start] * inverse[end]
    order = torch.argsort(start, stable=True)
    begins = torch.searchsorted(start[order], torch.arange(nodes))
    labels = targets = torch.eye(nodes, classes, dtype=weight.dtype)
    for _ in range(steps_needed(alpha) if len(order) else 0):
        labels = targets + F.embedding_bag(
            end[order], labels, begins, mode="sum", per_sample_weights=weight[order]
        )
    return labels


def steps_needed(alpha: float) -> int:
    """How many steps leave an error of at most `PRECISION`: its bound is alpha^n / (1 - alpha)."""
    return math.ceil(math.log(PRECISION * (1 - alpha)) / math.log(alpha)) if alpha else 0
