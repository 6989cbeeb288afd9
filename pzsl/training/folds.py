"""Scores of held-out classes and images, from folds of the training set."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pzsl.errors import UserError
from pzsl.evaluation import Summary, summarise
from pzsl.methods.core import LabelSource, Method, Problem
from pzsl.training.features_in_blocks import choose_rows, scored_together
from pzsl.training.loop import Fit

FOLDS = 4
FEWEST_FOLDS, ENOUGH_IMAGES = 2, 2000
"""Fewest folds, and held-out images after which no more folds are fitted."""
VERY_MANY, SAMPLE, PER_CLASS = 50_000, 1 << 15, 8
"""Of more training images than the first the folds share a sample: so many images, or so many a
class if that is more."""
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Shares of the trained scores to try, from frozen CLIP (0) to trained (1), if a method fades."""

MakeMethod = Callable[[Problem, int], Method]


def fold_fits(
    make: MakeMethod,
    problem: Problem,
    labels: Tensor,
    seed: int,
    on_fold: Callable[[Method, Tensor, Tensor], None] | None = None,
    open_set: bool | None = None,
) -> Generator[Fit, None, list[list[Summary]]]:
    """Hold out a quarter of the classes and of the images, up to four times, and score them (ours).

    A fold is a small copy of the whole problem. Its unseen classes are the held-out ones and, if
    these are too few, names of true unseen classes, in the whole problem's proportion; so the
    maximum over seen scores has the same advantage in both. In a closed set images alone are held
    out. The label of a held-out image is its refined one: true
    labels are not used.

    Of more than 50,000 images the folds share a random sample of 32,768, or of eight a seen class
    if that is more: what is chosen on them are means over held-out images.

    Args:
        make: makes an untrained method, given a problem and a seed.
        problem: the whole training problem.
        labels: (N,) refined label of each training image.
        seed: of the folds and the fits.
        on_fold: called for each fold with its trained method, the mask (K,) of its seen classes,
            and its held-out rows (n,).
        open_set: whether to hold classes out; None: if the whole problem has unseen ones.

    Yields:
        An untrained method, which the caller trains before asking for the next.

    Returns:
        Per fold a summary of its held-out images (some of seen classes, and all of held-out
        classes) at each of `SHARES`, or a single one if the method does not fade. There are fewer
        folds if there are too few classes or images, also as equal ones are held out together.
    """
    generator = torch.Generator().manual_seed(seed)
    problem, labels, rows = _sample(problem, labels, generator)
    classes, count, device = len(problem.seen), len(problem.images), labels.device
    class_fold = (torch.randperm(classes, generator=generator) % FOLDS).to(device)
    class_fold = class_fold[first_alike(problem.seen)]
    open_set = len(problem.unseen) > 0 if open_set is None else open_set
    if not open_set:
        class_fold = torch.full_like(class_fold, FOLDS)  # a class is in no fold
    image_fold = (torch.randperm(count, generator=generator) % FOLDS).to(device)
    summaries: list[list[Summary]] = []
    for fold in range(min(FOLDS, classes if open_set else count)):
        scored_images = sum(len(per_share[0].label) for per_share in summaries)
        if fold >= FEWEST_FOLDS and scored_images >= ENOUGH_IMAGES:
            break
        seen_classes, of_held_out_class = class_fold != fold, class_fold[labels] == fold
        train = torch.nonzero((image_fold != fold) & ~of_held_out_class).flatten()
        held_out = torch.nonzero((image_fold == fold) | of_held_out_class).flatten()
        is_one_sided = open_set and seen_classes.all() and not len(problem.unseen)
        if len(train) and len(held_out) and seen_classes.any() and not is_one_sided:
            method = make(hold_out(problem, seen_classes, train), seed + fold + 1)
            yield Fit(method, seed + fold + 1)
            summaries.append(_score(method, problem, seen_classes, held_out, labels[held_out]))
            if on_fold is not None:
                on_fold(method, seen_classes, rows[held_out])
            del method  # before the next is made: half a gibibyte each on millions of images
    return summaries


def shares_sample(images: int) -> bool:
    """Whether the folds of so many training images share a sample of them."""
    return images > VERY_MANY


def _sample(
    problem: Problem, labels: Tensor, generator: torch.Generator
) -> tuple[Problem, Tensor, Tensor]:
    """The images that the folds share: their problem, labels (n,) and rows (n,), ascending."""
    count, size = len(problem.images), max(SAMPLE, PER_CLASS * len(problem.seen))
    if not shares_sample(count) or count <= size:
        return problem, labels, torch.arange(count, device=labels.device)
    drawn = torch.randperm(count, generator=generator)[:size]
    rows = drawn.sort().values.to(labels.device)
    every_class = labels.new_ones(len(problem.seen), dtype=torch.bool)
    return hold_out(problem, every_class, rows), labels[rows], rows


def hold_out(problem: Problem, seen_classes: Tensor, train: Tensor) -> Problem:
    """The problem with only `seen_classes` (K,) seen, on the `train` (n,) images.

    Label embeddings that depend on images are made anew from these ones.
    """
    columns = torch.where(seen_classes, seen_classes.cumsum(0) - 1, -1)
    views, truth, labelled = problem.views, problem.truth, problem.labelled
    if truth is not None:
        truth = torch.where(truth[train] >= 0, columns[truth[train]], -1)
    part = replace(
        problem,
        images=choose_rows(problem.images, train),
        candidates=problem.candidates.restrict(train, columns, int(seen_classes.sum())),
        seen=problem.seen[seen_classes],
        unseen=torch.cat([problem.seen[~seen_classes], problem.unseen]),
        views=None if views is None else choose_rows(views, train),
        truth=truth,
        labelled=None if labelled is None else labelled[train],
    )
    if problem.label_source is None:
        return part
    unseen = torch.arange(len(problem.seen), len(problem.seen) + len(problem.unseen))
    order = torch.cat([seen_first(seen_classes), unseen.to(seen_classes.device)])
    return _relabelled(part, problem.label_source.reordered(order))


def _relabelled(problem: Problem, source: LabelSource) -> Problem:
    """The problem with the label embeddings that a source makes from its own images."""
    embeddings = source.embeddings(problem.images, problem.candidates, len(problem.seen))
    seen, unseen = embeddings.tensor_split([len(problem.seen)])
    return replace(problem, seen=seen, unseen=unseen, label_source=source)


def first_alike(labels: Tensor) -> Tensor:
    """Per label embedding (K, D), the index of the first equal one, (K,).

    Identical names are held out together: if only one were held out, gamma alone would decide
    between the two, and would be chosen for that.
    """
    group = torch.unique(labels.cpu(), dim=0, return_inverse=True)[1]
    index = torch.arange(len(group))
    first = torch.full_like(group, len(group)).scatter_reduce(0, group, index, "amin")
    return first[group].to(labels.device)


def seen_first(seen_classes: Tensor) -> Tensor:
    """Order (K,) of the columns in a fold: classes seen in it (mask (K,)), then the held-out."""
    return torch.cat([torch.nonzero(mask).flatten() for mask in (seen_classes, ~seen_classes)])


def unseen_names(seen: int, classes: int, unseen: int) -> int:
    """How many true unseen names join a fold's held-out classes to keep the proportion.

    Args:
        seen: number of classes seen in the fold.
        classes: number of seen classes in the whole problem.
        unseen: number of unseen classes in the whole problem.
    """
    return max(0, round(seen / classes * unseen) - (classes - seen))


def _score(
    method: Method, problem: Problem, seen_classes: Tensor, held_out: Tensor, labels: Tensor
) -> list[Summary]:
    """A fold's summary at each share; `labels` (n,) are refined ones of the `held_out` images."""
    classes, seen = len(seen_classes), int(seen_classes.sum())
    order = seen_first(seen_classes)
    targets = torch.argsort(order)[labels].cpu().numpy()
    width = classes + unseen_names(seen, classes, len(problem.unseen))
    is_seen = np.arange(width) < seen
    size = scored_together(width)
    blocks = torch.split(held_out, size)
    summaries: list[list[Summary]] = []
    with torch.no_grad():
        method.observe_queries(lambda: (problem.images[rows] for rows in blocks))
        for start, rows in zip(range(0, len(held_out), size), blocks, strict=True):
            block_targets = targets[start : start + size]
            scores = _at_each_share(method, problem.images[rows], width)
            summaries.append(
                [summarise(blended.cpu().numpy(), block_targets, is_seen) for blended in scores]
            )
    # Classes are balanced over all folds together, so columns become classes of the whole problem.
    class_of = np.concatenate([order.cpu().numpy(), np.full(width - classes, -1)])
    return [
        _with_problem_classes(Summary.join(of_share), labels, class_of)
        for of_share in zip(*summaries, strict=True)
    ]


def _at_each_share(method: Method, images: Tensor, width: int) -> Iterator[Tensor]:
    """Scores (n, width) of images (n, D) as a method gives them, or at each of `SHARES`."""
    trained = method.scores(images)[:, :width]
    if trained.shape[1] < width:
        raise UserError(
            f"Method '{type(method).__name__}' should score all classes of the problem, seen and "
            f"unseen, at least {width}, but gave {trained.shape[1]} scores an image. If it can't "
            "score classes without images, let its property takes_classes be False."
        )
    if not method.fades:
        yield trained
        return
    frozen = method.frozen_scores(images)[:, :width]
    for share in SHARES:
        yield frozen if share == 0 else trained if share == 1 else frozen.lerp(trained, share)


def _with_problem_classes(summary: Summary, labels: Tensor, class_of: NDArray[np.int64]) -> Summary:
    """A summary with `labels` (n,), and with the class of each column, `class_of` (C,)."""
    return replace(
        summary,
        label=labels.cpu().numpy(),
        seen_class=class_of[summary.seen_class],
        unseen_class=class_of[summary.unseen_class],
    )
