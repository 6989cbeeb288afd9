"""gamma of calibrated stacking, from folds over classes and images of the training set alone."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from pzsl.evaluation import Summary, summarise
from pzsl.evaluation.accuracy import class_weights
from pzsl.methods.core import Method, Problem
from pzsl.training.features import choose_rows
from pzsl.training.loop import Fit

FOLDS = 4
FEWEST, ENOUGH = 2, 2000
"""No more folds are fitted than give that many held-out images, but at least two."""
SMOOTH = 0.03
"""Width, in logit scales, over which a margin counts as undecided when H is maximised: held-out
images are few, and the sharp maximum is that of their accidents."""
BLOCK = 4096

MakeMethod = Callable[[Problem, int], Method]


def fold_fits(
    make: MakeMethod, problem: Problem, labels: Tensor, seed: int
) -> Generator[Fit, None, list[Summary]]:
    """Hold out a quarter of the classes and of the images, up to four times, and score them (ours).

    A fold is a small copy of the whole problem: its unseen classes are held-out ones and, where
    those are too few, true unseen ones by name, in the whole problem's proportion. So the best of
    the seen scores has the same head start in both. The label of a held-out image is its refined
    one: true labels take no part.

    Args:
        make: makes an untrained method for a problem and a seed.
        problem: the whole training problem.
        labels: (N,) refined label of each training image.
        seed: of the folds and the fits.

    Yields:
        An untrained method; it should be trained when the next is asked for.

    Returns:
        One summary a fold: held-out images of kept classes, and all images of held-out ones.
        Fewer where there are too few classes or images.
    """
    generator = torch.Generator().manual_seed(seed)
    classes, count, device = len(problem.seen), len(problem.images), labels.device
    class_fold = (torch.randperm(classes, generator=generator) % FOLDS).to(device)
    image_fold = (torch.randperm(count, generator=generator) % FOLDS).to(device)
    summaries: list[Summary] = []
    for fold in range(min(FOLDS, classes)):
        if fold >= FEWEST and sum(len(summary.label) for summary in summaries) >= ENOUGH:
            break
        kept, unseen = class_fold != fold, class_fold[labels] == fold
        train = torch.nonzero((image_fold != fold) & ~unseen).flatten()
        check = torch.nonzero((image_fold == fold) | unseen).flatten()
        if len(train) and len(check) and kept.any():
            method = make(hold_out(problem, kept, train), seed + fold + 1)
            yield Fit(method, seed + fold + 1)
            summaries.append(_score(method, problem, kept, check, labels[check]))
            del method  # before the next is made: on millions of images each takes half a gibibyte
    return summaries


def hold_out(problem: Problem, kept: Tensor, train: Tensor) -> Problem:
    """The problem with only the `kept` (K,) classes seen, on the `train` (n,) images."""
    columns = torch.where(kept, kept.cumsum(0) - 1, -1)
    views, truth, labelled = problem.views, problem.truth, problem.labelled
    if truth is not None:
        truth = torch.where(truth[train] >= 0, columns[truth[train]], -1)
    return replace(
        problem,
        images=choose_rows(problem.images, train),
        candidates=problem.candidates.restrict(train, columns, int(kept.sum())),
        seen=problem.seen[kept],
        unseen=torch.cat([problem.seen[~kept], problem.unseen]),
        views=None if views is None else choose_rows(views, train),
        truth=truth,
        labelled=None if labelled is None else labelled[train],
    )


def unseen_names(kept: int, classes: int, unseen: int) -> int:
    """How many true unseen names join a fold's held-out classes to keep the proportion."""
    return max(0, round(kept / classes * unseen) - (classes - kept))


def _score(
    method: Method, problem: Problem, kept: Tensor, check: Tensor, labels: Tensor
) -> Summary:
    classes, seen = len(kept), int(kept.sum())
    order = torch.cat([torch.nonzero(kept).flatten(), torch.nonzero(~kept).flatten()])
    target = torch.argsort(order)[labels].cpu().numpy()
    width = classes + unseen_names(seen, classes, len(problem.unseen))
    side = np.arange(width) < seen
    blocks, parts = torch.split(check, BLOCK), []
    with torch.no_grad():
        method.observe_queries(lambda: (problem.images[rows] for rows in blocks))
        for start, rows in zip(range(0, len(check), BLOCK), blocks, strict=True):
            scores = method.scores(problem.images[rows])[:, :width].cpu().numpy()
            parts.append(summarise(scores, target[start : start + BLOCK], side))
    joined = Summary.join(parts)
    # Classes are balanced over all folds together, so each answers to its number in the problem.
    names = np.concatenate([order.cpu().numpy(), np.full(width - classes, -1)])
    return replace(
        joined,
        label=labels.cpu().numpy(),
        seen_class=names[joined.seen_class],
        unseen_class=names[joined.unseen_class],
    )


def choose_gamma(summaries: list[Summary], scale: float) -> float:
    """The gamma that maximises the smoothed, class-balanced H of the held-out images (ours).

    Args:
        summaries: of the folds. scale: CLIP's logit scale, the unit of the smoothing.
    """
    if not summaries:
        return 0.0
    held = Summary.join(summaries)
    seen = held.is_seen
    if seen.all() or not seen.any():
        return 0.0
    margin = (held.seen_score - held.unseen_score).astype(np.float64)
    hit = np.empty(len(margin))
    for side in (seen, ~seen):
        hit[side] = class_weights(held.label[side])
    right = np.where(seen, held.seen_class == held.label, held.unseen_class == held.label)
    hit *= right
    grid = np.linspace(margin.min(), margin.max(), 801)
    seen_accuracy, unseen_accuracy = np.zeros((2, len(grid)))
    for start in range(0, len(margin), BLOCK):
        some = slice(start, start + BLOCK)
        steps = (grid[:, None] - margin[some]) / (SMOOTH * scale)
        inside = 1 / (1 + np.exp(np.clip(steps, -60, 60)))
        seen_accuracy += inside @ np.where(seen, hit, 0)[some]
        unseen_accuracy += (1 - inside) @ np.where(seen, 0, hit)[some]
    harmonic = 2 * seen_accuracy * unseen_accuracy / (seen_accuracy + unseen_accuracy + 1e-12)
    return float(grid[harmonic.argmax()])
