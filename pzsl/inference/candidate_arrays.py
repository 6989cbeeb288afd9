"""Candidate sets as arrays come: masks, lists, sparse matrices, tensors, numbers or names."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pzsl.candidates import CandidateSets, validate
from pzsl.errors import UserError
from pzsl.progress import say


def as_plain(given: Any, name: str = "candidates") -> Any:
    """A mask, an array (N,), or a list: without tensors, sparse matrices and data frames."""
    if hasattr(given, "detach"):  # a torch tensor, wherever it lies
        return given.detach().cpu().numpy()
    if hasattr(given, "tocsr"):  # a sparse matrix: what isn't zero is a candidate
        return given.tocsr().astype(bool).toarray()
    if hasattr(given, "__array__"):  # of pandas and others
        return np.asarray(given)
    if given is None:
        return None
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise UserError(
            f"{name}: an array, a frame or a list is needed, with an entry for each row, but this "
            f"is of type {type(given).__name__}."
        )
    if _are_single(given):
        return np.asarray(given)
    rows = [_plain_row(each) for each in given]
    return np.array(rows) if _are_masks(rows) else given


def _plain_row(each: Any) -> Any:
    """The candidates of one image: an array where they come as one, or as a list of its values."""
    listed = isinstance(each, Sequence) and not isinstance(each, str)
    return as_plain(each) if listed or hasattr(each, "__array__") else each


def _are_single(given: Sequence[Any]) -> bool:
    """Whether each image has one number or name, not a collection of them."""
    return all(isinstance(each, str | int | float | np.generic) for each in given)


def _are_masks(rows: Sequence[Any]) -> bool:
    """Whether each row is a mask over the same classes, as a list or an array."""
    masks = [row for row in rows if isinstance(row, np.ndarray) and row.dtype == np.bool_]
    return len(masks) == len(rows) > 0 and len({row.shape for row in masks}) == 1


def class_list(
    given: Any, count: int | None, names: ArrayLike | None, mask_width: int | None
) -> NDArray[Any]:
    """The classes (C,) that predictions are taken from.

    Args:
        given: candidates, plain. count: of the label embeddings, None without any.
        names: what the classes are called, None for their numbers.
        mask_width: columns of a mask, None where there is none.

    Raises:
        UserError: there are not as many names as classes, a name twice, or a single class.
    """
    if names is not None:
        classes = np.asarray(names)
        wanted = classes.size if count is None else count
        if classes.shape != (wanted,) or len(set(classes.tolist())) != wanted:
            raise UserError(f"classes should be {wanted} different names, but is {classes.shape}.")
    elif count is not None:
        classes = np.arange(count)
    elif mask_width is not None:
        classes = np.arange(mask_width)
    elif isinstance(given, np.ndarray) and given.dtype != object:
        classes = np.unique(given)
        if classes.dtype.kind == "f" and (classes != np.round(classes)).any():
            raise UserError("Unknown label type: continuous. Classes should be numbers or names.")
    else:
        classes = np.array(sorted({label for each in given for label in _items(each)}))
    if len(classes) < 2:
        raise UserError(
            f"The classifier can't train with {len(classes)} class: it needs at least two."
        )
    return classes


def _items(each: Any) -> Any:
    return [each] if isinstance(each, str) or not hasattr(each, "__iter__") else each


def candidate_arrays(
    given: Any, images: int, classes: NDArray[Any], seen: ArrayLike | None
) -> tuple[CandidateSets, NDArray[np.bool_]]:
    """Candidate sets of an argument, and which classes are seen, both checked.

    Args:
        given: a bool mask (N, C), an array (N,) of one label each, or N collections of labels.
        images: N. classes: (C,) numbers or names. seen: (C,) bool, or None.

    Raises:
        UserError: a wrong shape or type, an empty set, or a label that is no class.
    """
    count, is_mask = len(classes), isinstance(given, np.ndarray) and given.ndim == 2
    expected: tuple[int, ...] = (images, count) if is_mask else (images,)
    shape: tuple[int, ...] = given.shape if isinstance(given, np.ndarray) else (len(given),)
    if shape != expected:
        raise UserError(f"candidates should have shape {expected}, but have {shape}.")
    if is_mask:
        if given.dtype != np.bool_:
            raise UserError(f"candidates should be a mask of bool, but are {given.dtype}.")
        sets = CandidateSets.from_masks([given], np.arange(count))
    else:
        row_of = {label: row for row, label in enumerate(classes.tolist())}
        plain = classes.dtype.kind in "iu" and np.array_equal(classes, np.arange(count))
        lists = [_rows(row, each, None if plain else row_of) for row, each in enumerate(given)]
        _doubt_mask(lists, count)
        sets = CandidateSets.from_lists(lists)
    if seen is None:
        allowed = np.isin(np.arange(count), sets.labels)
    else:
        allowed = np.asarray(seen)
        if allowed.shape != (count,) or allowed.dtype != np.bool_:
            raise UserError(
                f"seen should be ({count},) bool, but is {allowed.shape} {allowed.dtype}."
            )
    return validate(sets.offsets, sets.labels, allowed, "candidates"), allowed


def _doubt_mask(lists: list[list[int]], classes: int) -> None:
    """Ask back where class numbers look like a mask, whose zeros and ones would be classes.

    Raises:
        UserError: they can't be sets.
    """
    width = len(lists[0]) if lists else 0
    if width < 2 or any(len(row) != width or not {0, 1}.issuperset(row) for row in lists):
        return
    if any(len(set(row)) < width for row in lists):
        raise UserError(
            f"candidates: each row is {width} zeros and ones, which are read as class numbers: "
            "make a mask bool, as in numpy.array(candidates, dtype=bool)."
        )
    if classes == 2:
        say(
            "candidates: both classes are candidates of each image, so nothing is learnt from "
            "them; if the rows are those of a mask, make it bool."
        )


def _rows(row: int, candidates: Any, row_of: dict[Any, int] | None) -> list[int]:
    """Rows of the class list of one image's candidates."""
    items = _items(candidates)
    try:
        if row_of is None:
            if any(isinstance(each, bool) for each in items):
                raise TypeError  # rows of a mask that differ in length: True is no class 1
            return [_class_number(row, each) for each in items]
        return [row_of[each] for each in items]
    except TypeError:
        raise UserError(
            f"candidates: row {row} should be a collection of class numbers, but is "
            f"{candidates!r}: name the classes with classes=, or use their numbers."
        ) from None
    except KeyError as error:
        raise UserError(
            f"candidates: row {row} names '{error.args[0]}', which is no class."
        ) from None


def _class_number(row: int, given: Any) -> int:
    number = index(given)
    if abs(number) > np.iinfo(np.int32).max:
        raise UserError(f"candidates: row {row} has candidate {number}, which is no class.")
    return number


def class_means(
    images: NDArray[np.float32], sets: CandidateSets, classes: int
) -> NDArray[np.float32]:
    """The mean image of each class, each image shared out among its candidates: (C, D).

    They stand for label embeddings where there are none; a class without an image has none.

    Raises:
        UserError: a class has no image, or its images have a mean without direction.
    """
    rows, sizes = sets.rows(), sets.sizes()
    means = np.zeros((classes, images.shape[1]))
    np.add.at(means, sets.labels, images[rows] / sizes[rows][:, None])
    lengths = np.linalg.norm(means, axis=1)
    if (lengths < 1e-9).any():
        raise UserError(
            f"Class {int(lengths.argmin())} has no image, or its images have no common direction: "
            "give label_embeddings."
        )
    return np.asarray(means / lengths[:, None], dtype=np.float32)
