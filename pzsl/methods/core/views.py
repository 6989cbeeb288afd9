"""Weak and strong views of training images: cached ones, or augmented features."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pzsl.methods.core.method import Problem


class Views:
    """Draws two weak or two strong views of training images.

    Cached views of a kind are drawn at random. If the cache has none, a view is the image's own
    embedding with noise (weak), or with more noise and masked coordinates (strong). Cached views of
    unknown kind count as strong.

    Args:
        problem: images and cached views.
        weak, strong: mean length of the noise.
        mask: share of coordinates that are masked in a strong view.
    """

    def __init__(self, problem: Problem, weak: float, strong: float, mask: float) -> None:
        self.problem, self.views = problem, problem.views
        self.noise = {"weak": (weak, 0.0), "strong": (strong, mask)}
        count = 0 if problem.views is None else problem.views.shape[1]
        kinds = problem.view_kinds or ("strong",) * count
        self.columns = {
            kind: torch.tensor(
                [column for column, view_kind in enumerate(kinds) if view_kind == kind]
            )
            for kind in self.noise
        }

    def pair(self, kind: str, rows: Tensor, generator: torch.Generator) -> list[Tensor]:
        """Two views of a kind for training rows (B,): unit vectors (B, D) each.

        They are different views if the cache has at least two.
        """
        columns = self.columns[kind]
        if self.views is None or not len(columns):
            twice = self.problem.embeddings(rows).expand(2, -1, -1)
            return list(perturb(twice, *self.noise[kind], generator))
        first = torch.randint(len(columns), (len(rows),), generator=generator)
        step = torch.randint(1, max(len(columns), 2), (len(rows),), generator=generator)
        column_pair = columns[torch.stack([first, (first + step) % len(columns)])]
        return [self.views[rows, column] for column in column_pair.to(rows.device)]

    def describe(self) -> str:
        """Where each kind of view comes from."""
        sources = {
            kind: "cached" if len(columns) else "features" for kind, columns in self.columns.items()
        }
        if len(set(sources.values())) == 1:
            return sources["weak"]
        return ", ".join(f"{kind} {source}" for kind, source in sources.items())


def mixing_shares(count: int, alpha: int, generator: torch.Generator) -> Tensor:
    """MixUp shares `max(l, 1 - l)` with l from Beta(alpha, alpha), (count, 1).

    For integer alpha, l is the alpha-th smallest of 2 alpha - 1 uniform numbers.
    """
    uniform = torch.rand(count, 2 * alpha - 1, generator=generator)
    share = uniform.sort(dim=1).values[:, alpha - 1 : alpha]
    return torch.maximum(share, 1 - share)


def perturb(images: Tensor, noise: float, mask: float, generator: torch.Generator) -> Tensor:
    """Unit vectors (..., D) with uniform noise of length `noise` and masked coordinates (ours).

    One uniform number per coordinate serves both: below `mask` it masks, else it gives the noise.
    """
    uniform = torch.rand(images.shape, generator=generator).to(images.device)
    width = 2 * noise * (3 / images.shape[-1]) ** 0.5
    if not mask:
        return F.normalize(uniform.sub_(0.5).mul_(width).add_(images), dim=-1)
    unmasked = uniform >= mask
    noisy = uniform.sub_(mask).div_(1 - mask).sub_(0.5).mul_(width).add_(images)
    return F.normalize(noisy.mul_(unmasked), dim=-1)
