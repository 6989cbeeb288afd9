"""Problems drawn from a cache: other class splits, and small ones in which evidence is scarce."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pzsl.store import Cache

Rows = NDArray[np.intp]
IMAGENET = 1000
IMAGENET_GROUPS = {"birds": ((7, 25), (80, 101), (127, 147)), "snakes": ((52, 69),)}
IMAGENET_GROUPS |= {"dogs": ((151, 269),)}
"""Look-alikes among the classes of ImageNet-1k, in its own order."""
SHOTS = (1, 2, 3, 4, 8)
FEW = ((2, 1), (4, 2), (8, 4))
CLOSED_SHOTS = (1, 3)
"""Training images of a class in problems without unseen classes."""
MOST = 200
"""Classes of a small problem; of more, some are drawn."""
TESTED = 30
"""Test images of a class in a small problem."""
TRAINED = 2 / 3
"""Share of a class's images that are trained on, where not fewer are asked for."""
UNSEEN = 0.25
"""Share of the classes that are unseen, where not as many are asked for."""
FADING = 0.9
"""In a long tail each class has so many images for each one of the class before."""


@dataclass(frozen=True)
class Recipe:
    """How a small problem is drawn.

    Attributes:
        name: of the problem, short.
        shots: most training images of a class; None for two thirds of what it has.
        sizes: seen and unseen classes; None for three to one.
        among: rows of the classes that are drawn from; None for all.
        nameless: share of the seen classes that keep their name and lose their training images.
        twins: whether every second seen class has the same label embedding as the one before.
        tail: whether each class has fewer training images than the one before.
    """

    name: str
    shots: int | None = None
    sizes: tuple[int, int] | None = None
    among: tuple[int, ...] | None = None
    nameless: float = 0.0
    twins: bool = False
    tail: bool = False


@dataclass(frozen=True)
class DrawnProblem:
    """The classes and images of a problem, as rows of the cache that it is drawn from.

    Attributes:
        seen, unseen: classes. train, test: images.
        twins: seen classes that take the label embedding of the class before them.
    """

    seen: Rows
    unseen: Rows
    train: Rows
    test: Rows
    twins: bool = False


def recipes(cache: Cache) -> Iterator[Recipe]:
    """The small problems that a cache has enough classes and images for."""
    per_class = _images_of_classes(cache)
    classes, most = len(per_class), int(np.median([len(rows) for rows in per_class]))
    for shots in SHOTS:
        if shots < most:
            yield Recipe(f"{shots} a class", shots)
    for seen, unseen in FEW:
        if seen + unseen <= classes:
            yield Recipe(f"{seen} + {unseen} classes", sizes=(seen, unseen))
    for shots in CLOSED_SHOTS:
        yield Recipe(f"closed set, {shots} a class", shots, sizes=(min(classes, MOST), 0))
    yield Recipe("names without images", shots=4, nameless=0.5)
    yield Recipe("identical names", shots=3, twins=True)
    yield Recipe("long tail", shots=20, tail=True)
    if classes >= 100:
        yield Recipe("20 + 80 classes", sizes=(20, 80))
    if classes == IMAGENET:
        yield from _look_alikes()


def _look_alikes() -> Iterator[Recipe]:
    for name, spans in IMAGENET_GROUPS.items():
        among = tuple(row for first, end in spans for row in range(first, end))
        for shots in (1, 2, 3, None):
            yield Recipe(f"{name}, {shots or 'all'} a class", shots, among=among)


def draw(cache: Cache, recipe: Recipe, seed: int) -> DrawnProblem:
    """Draw a small problem's classes and images (ours); the same seed gives the same.

    Args:
        cache: all its labelled images are drawn from, whichever side they were on.
        recipe: what the problem is like. seed: of the draw.
    """
    rng = np.random.default_rng([seed, 16])
    images = _images_of_classes(cache)
    pool = [c for c in recipe.among or range(len(images)) if len(images[c]) > 1]
    pool = [int(c) for c in rng.permutation(pool)][:MOST]
    if recipe.sizes is None:
        count = max(1, round(UNSEEN * len(pool)))
        sizes = len(pool) - count, count
    else:
        sizes = recipe.sizes
    seen, unseen = pool[: sizes[0]], pool[sizes[0] : sum(sizes)]
    train, test = [], []
    for place, label in enumerate(seen):
        rows = rng.permutation(images[label])
        count = _training_images(recipe, place, len(rows), len(seen))
        train.append(rows[:count])
        test.append(rows[count:][:TESTED])
    test += [rng.permutation(images[label])[:TESTED] for label in unseen]
    images_of_both = np.concatenate(train), np.concatenate(test)
    return DrawnProblem(
        np.array(seen), np.array(unseen, dtype=np.intp), *images_of_both, recipe.twins
    )


def _training_images(recipe: Recipe, place: int, images: int, classes: int) -> int:
    """How many images the seen class at a place is trained on; at least one is left to test."""
    count = min(recipe.shots or images, max(1, int(TRAINED * images)))
    if recipe.tail:
        count = max(1, int(count * FADING**place))
    return 0 if place >= classes * (1 - recipe.nameless) else count


def resplit(cache: Cache, seed: int) -> DrawnProblem:
    """Draw as many unseen classes anew, and as large a share of test images of the seen ones."""
    rng = np.random.default_rng([seed, 61])
    images = _images_of_classes(cache)
    order = rng.permutation(len(images))
    count = int((~cache.seen).sum())
    seen, unseen = np.sort(order[count:]), np.sort(order[:count])
    tested = (cache.splits == "test_seen").sum() / max(1, (cache.splits != "test_unseen").sum())
    train, test = [], [images[label] for label in unseen]
    for label in seen:
        rows = rng.permutation(images[label])
        held_out = min(len(rows) - 1, max(1, round(tested * len(rows))))
        train.append(rows[max(0, held_out) :])
        test.append(rows[: max(0, held_out)])
    return DrawnProblem(seen, unseen, np.concatenate(train), np.concatenate(test))


def arrays(cache: Cache, drawn: DrawnProblem, name: str) -> dict[str, NDArray[Any]]:
    """A problem as the arrays that `pzsl import` reads (see docs/data.md).

    Args:
        cache: that it was drawn from. drawn: its classes and rows. name: of the new data set.
    """
    classes = np.concatenate([drawn.seen, drawn.unseen])
    rows = np.concatenate([drawn.train, drawn.test])
    column = np.full(len(cache.classes), -1)
    column[classes] = np.arange(len(classes))
    labels = column[cache.labels[rows]]
    text = cache.label_embeddings()[classes]
    if drawn.twins:
        pairs = np.arange(1, len(drawn.seen), 2)
        text[pairs] = text[pairs - 1]
    trained = np.arange(len(rows)) < len(drawn.train)
    side = np.where(labels < len(drawn.seen), "test_seen", "test_unseen")
    return {
        "image_features": np.asarray(cache.images[np.sort(rows)])[np.argsort(np.argsort(rows))],
        "text_features": text,
        "labels": labels,
        "class_names": np.array([cache.classes[row] for row in classes]),
        "unseen": np.arange(len(classes)) >= len(drawn.seen),
        "split": np.where(trained, "trainval", side),
        "paths": np.array([cache.paths[row] for row in rows]),
        "model": np.array(str(cache.provenance.get("model", ""))),
        "pretrained": np.array(str(cache.provenance.get("pretrained", ""))),
        "logit_scale": np.array(cache.logit_scale),
        "dataset": np.array(name),
    }


def only_training(cache: Cache) -> Cache:
    """A cache's training images of seen classes alone, for problems to develop on."""
    splits = np.where(cache.splits == "trainval", cache.splits, "none")
    return replace(cache, labels=np.where(splits == "trainval", cache.labels, -1))


def _images_of_classes(cache: Cache) -> list[Rows]:
    order = np.argsort(cache.labels, kind="stable")
    ends = np.searchsorted(cache.labels[order], np.arange(len(cache.classes) + 1))
    return [order[first:end] for first, end in pairwise(ends)]
