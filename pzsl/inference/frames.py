"""The names that frames of pandas bring along: of images, classes and dimensions."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pzsl.errors import UserError
from pzsl.requests import is_whole


def check_frames(
    images: Any,
    candidates: Any,
    label_embeddings: Any = None,
    classes: ArrayLike | None = None,
    seen: Any = None,
    sample_weight: Any = None,
) -> list[Any] | None:
    """Compare the names that pandas' frames bring along; arrays have none, and pass.

    Names of two arguments that have none in common are of different kinds, such as numbers and
    file names, and pass too.

    Returns:
        The names of the classes in their order: `classes`, or those of a frame; None without any.

    Raises:
        UserError: two arguments name the same images, classes or dimensions in different orders,
            or only some of the same; or one numbers the classes otherwise than by their rows.
    """
    _same_order(
        {
            "the index of X": axis(images, "index"),
            "the index of y": axis(candidates, "index"),
            "the index of sample_weight": axis(sample_weight, "index"),
        }
    )
    columns = axis(candidates, "columns") or []
    names = {
        "classes": None if classes is None else np.asarray(classes).tolist(),
        "the columns of y": columns if len(columns) > 1 else None,  # one column is of labels
        "the index of label_embeddings": axis(label_embeddings, "index"),
        "the index of seen": axis(seen, "index"),
    }
    _same_order(names)
    if classes is None:
        _check_numbers(names)
    check_columns(images, axis(label_embeddings, "columns"), "label_embeddings")
    return next((given for given in names.values() if given is not None), None)


def check_columns(images: Any, columns: list[Any] | None, where: str) -> None:
    """Compare the columns of images with those of another frame.

    Raises:
        UserError: they name the same dimensions in different orders, or only some of the same.
    """
    _same_order({"the columns of X": axis(images, "columns"), f"those of {where}": columns})


def axis(values: Any, name: str) -> list[Any] | None:
    """The index or the columns of a frame of pandas, if it has such; NaN becomes None."""
    if not (hasattr(values, "iloc") and hasattr(values, name)):
        return None
    return [
        None if isinstance(label, float) and np.isnan(label) else label
        for label in getattr(values, name)
    ]


def _check_numbers(given: dict[str, list[Any] | None]) -> None:
    """Without a list of classes their numbers are those of their rows, in answers as in candidates.

    Raises:
        UserError: a frame has other numbers.
    """
    for name, numbers in given.items():
        if numbers and all(map(is_whole, numbers)) and numbers != list(range(len(numbers))):
            raise UserError(
                f"{name} numbers the classes {', '.join(map(str, numbers[:3]))}, ..., but without "
                "classes= they are numbered from 0 in this order: give these numbers as classes=, "
                "or the frame as an array."
            )


def _same_order(given: dict[str, list[Any] | None]) -> None:
    for (one, first), (other, second) in combinations(given.items(), 2):
        if first is None or second is None or set(first).isdisjoint(second):
            continue
        pairs = enumerate(zip(first, second, strict=False))  # other lengths are reported as shapes
        at = next((row for row, (left, right) in pairs if left != right), None)
        if at is not None:
            raise UserError(
                f"{one} and {other} differ (at {at}: {first[at]!r} and {second[at]!r}): give both "
                "in the same order, or as arrays."
            )
