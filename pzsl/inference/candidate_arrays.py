"""Candidate sets as arrays come: masks, lists, sparse matrices, tensors, numbers or names."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from operator import index
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pzsl.candidates import CandidateSets, validate
from pzsl.cells import text_of
from pzsl.datasets.class_warnings import name_doubts
from pzsl.datasets.names import tidy
from pzsl.errors import UserError
from pzsl.progress import say

NAME = str | bytes
"""What is one name, although Python can iterate over it."""


def as_candidates(values: Any) -> Any:
    """Candidates as `as_plain` gives them; those of two dimensions are a mask of bool, or refused.

    A single column of labels is read as the labels.

    Raises:
        UserError: there are none, or an array of two dimensions is no mask.
    """
    plain = as_plain(values)
    if plain is None:
        raise UserError("The classifier requires y to be passed, but the target y is None.")
    if not _is_mask(plain) or plain.dtype == np.bool_:
        return plain
    if plain.shape[1] == 1:
        return plain[:, 0]
    entries = set(plain.ravel().tolist()) if plain.dtype != object else {*map(_key, plain.ravel())}
    if any(map(_is_missing, entries)):
        raise UserError(
            "candidates: entries are missing (None or NaN): fill them, as in y.fillna(False) for "
            "a mask, or leave such images out."
        )
    if all(isinstance(entry, bool) for entry in entries):
        return plain.astype(bool)  # pandas' nullable booleans
    raise UserError(
        f"candidates should be a mask of bool, but are {plain.dtype}: {_remedy(entries)}"
    )


def _remedy(entries: Collection[Any]) -> str:
    """What makes candidates of an array of two dimensions that holds these values."""
    if {0, 1}.issuperset(entries):
        return "write mask.astype(bool)."
    if all(isinstance(entry, float) and 0 <= entry <= 1 for entry in entries):
        return "choose how large a value makes a class a candidate, as in values > 0.1."
    return "if its rows list classes, give [set(row) for row in numpy.asarray(y)]."


def as_plain(values: Any, name: str = "candidates") -> Any:
    """Convert tensors, sparse matrices and frames to arrays; lists of candidates stay lists."""
    if hasattr(values, "detach"):  # a torch tensor, wherever it lies
        plain = values.detach().cpu().to_dense()
        return (plain.float() if "bfloat16" in str(plain.dtype) else plain).numpy()
    if hasattr(values, "tocsr"):  # a sparse matrix: what isn't zero is a candidate
        return values.tocsr().astype(bool).toarray()
    if np.ma.is_masked(values):
        raise UserError(f"{name}: entries are masked, so unknown: leave such rows out.")
    if hasattr(values, "__array__"):  # of pandas and others
        return np.asarray(values)
    if values is None:
        return None
    if not isinstance(values, Sequence) or isinstance(values, NAME):
        raise UserError(
            f"{name}: an array, a frame or a list is needed, with an entry for each row, but this "
            f"is of type {type(values).__name__}."
        )
    if _are_single(values):
        texts = sum(isinstance(value, NAME) for value in values)
        # NumPy would make text of numbers among names, and a class 'nan' of a missing name.
        return np.asarray(values, dtype=object if 0 < texts < len(values) else None)
    rows = [_plain_row(row) for row in values]
    return np.array(rows) if _are_masks(rows) else values


def _plain_row(candidates: Any) -> Any:
    """The candidates of one image; an array if they are array-like or a list of plain values."""
    listed = isinstance(candidates, Sequence) and not isinstance(candidates, NAME)
    return as_plain(candidates) if listed or hasattr(candidates, "__array__") else candidates


def _are_single(values: Sequence[Any]) -> bool:
    """Whether each image has one number or name, not a collection of them."""
    return all(isinstance(value, NAME | int | float | np.generic) for value in values)


def _are_masks(rows: Sequence[Any]) -> bool:
    """Whether each row is a mask over the same classes, as a list or an array."""
    masks = [row for row in rows if isinstance(row, np.ndarray) and row.dtype == np.bool_]
    return len(masks) == len(rows) > 0 and len({row.shape for row in masks}) == 1


def class_list(candidates: Any, count: int | None, names: ArrayLike | None) -> NDArray[Any]:
    """The classes (C,) that predictions are taken from.

    Args:
        candidates: as `as_plain` returns them.
        count: number of label embeddings; None without any.
        names: class names; None to use their numbers.

    Raises:
        UserError: the number of names is wrong, a name is missing or occurs twice, there is only
            one class, or one of those that occur stands for an unknown class.
    """
    if names is not None:
        classes = np.asarray(as_plain(names, "classes"))
        expected = classes.size if count is None else count
        if classes.shape != (expected,) or len(set(classes.tolist())) != expected:
            raise UserError(
                f"classes should be {expected} different names, but is {classes.shape}."
            )
        if any(map(_is_missing, classes.tolist())):
            raise UserError("classes: a name is missing (None or NaN): name each class.")
    elif count is not None:
        classes = np.arange(count)
    elif _is_mask(candidates):
        classes = np.arange(candidates.shape[1])
    elif isinstance(candidates, np.ndarray) and candidates.dtype != object:
        classes = np.unique(candidates)
        _refuse_missing(classes.tolist())
        if classes.dtype.kind == "f" and (classes != np.round(classes)).any():
            raise UserError("Unknown label type: continuous. Classes should be numbers or names.")
        _check_names(classes.tolist())
    else:
        classes = _occurring(candidates)
    if len(classes) < 2:
        raise UserError(
            f"The classifier can't train with {len(classes)} class: it needs at least two."
        )
    return classes


def _is_mask(candidates: Any) -> bool:
    return isinstance(candidates, np.ndarray) and candidates.ndim == 2


def _occurring(candidates: Any) -> NDArray[Any]:
    """All classes that occur, sorted."""
    names = {_key(label) for row in candidates for label in _items(row)}
    _refuse_missing(names)
    _check_names(names)
    try:
        return np.array(sorted(names))
    except TypeError:
        kinds = sorted({type(name).__name__ for name in names})
        raise UserError(
            f"candidates: classes are of several types ({', '.join(kinds)}): use names or numbers."
        ) from None


def _refuse_missing(names: Collection[Any]) -> None:
    if any(map(_is_missing, names)):
        raise UserError("candidates: a class is missing (None or NaN): leave such images out.")


def _is_missing(name: Any) -> bool:
    return not isinstance(name, NAME) and text_of(name) == ""


def _key(label: Any) -> Any:
    """A label as Python compares it: a number of NumPy or torch, or a date, as the plain one."""
    return label.item() if getattr(label, "ndim", 1) == 0 else label


def _check_names(names: Collection[Any]) -> None:
    """Refuse to learn a class from what stands for an unknown one, in caches and in scikit-learn.

    Warns about names that may stand for none, or for several.

    Raises:
        UserError: a name is empty, or a number -1, except for the two classes -1 and 1.
    """
    empty = any(isinstance(name, NAME) and not tidy(text_of(name)) for name in names)
    if empty or (-1 in names and set(names) != {-1, 1}):
        raise UserError(
            f"candidates: {'an empty name' if empty else '-1'} stands for an unknown class: leave "
            "such images out; if it is a class, list all classes in classes=."
        )
    texts = sorted(name for name in names if isinstance(name, str))
    for doubt in name_doubts(texts, "Give such an image a list of names."):
        say(f"candidates: {doubt}")


def _items(candidates: Any) -> Any:
    if isinstance(candidates, Mapping):
        raise UserError(
            f"candidates: {candidates!r:.60} is a dict, but its values would not count: give the "
            "names alone, as in [set(row) for row in y]."
        )
    return (
        [candidates]
        if isinstance(candidates, NAME) or not hasattr(candidates, "__iter__")
        else candidates
    )


def candidate_arrays(
    candidates: Any, images: int, classes: NDArray[Any], seen: ArrayLike | None
) -> tuple[CandidateSets, NDArray[np.bool_]]:
    """Check candidates given as an argument; returns them as sets, and which classes are seen.

    Args:
        candidates: a bool mask (N, C), an array (N,) of one label each, or N collections of labels.
        images: N. classes: (C,) numbers or names. seen: (C,) bool, or None.

    Raises:
        UserError: a wrong shape or type, an empty set, or an unknown label.
    """
    count, is_mask = len(classes), _is_mask(candidates)
    expected: tuple[int, ...] = (images, count) if is_mask else (images,)
    shape: tuple[int, ...] = (
        candidates.shape if isinstance(candidates, np.ndarray) else (len(candidates),)
    )
    if shape != expected:
        raise UserError(f"candidates should have shape {expected}, but have {shape}.")
    if is_mask:
        sets = CandidateSets.from_masks([candidates], np.arange(count))
    else:
        row_of = {label: row for row, label in enumerate(classes.tolist())}
        plain = classes.dtype.kind in "iu" and np.array_equal(classes, np.arange(count))
        lists = [
            _rows(row, items, None if plain else row_of) for row, items in enumerate(candidates)
        ]
        _doubt_mask(lists, count)
        sets = CandidateSets.from_lists(lists)
    if seen is None:
        allowed = np.isin(np.arange(count), sets.labels)
    else:
        allowed = np.array(as_plain(seen, "seen"))  # a copy: that of a frame may be read-only
        if allowed.shape != (count,) or allowed.dtype != np.bool_:
            raise UserError(
                f"seen should be ({count},) bool, but is {allowed.shape} {allowed.dtype}."
            )
    return validate(sets.offsets, sets.labels, allowed, "candidates"), allowed


def _doubt_mask(lists: list[list[int]], classes: int) -> None:
    """Refuse or report class numbers that look like a mask of zeros and ones.

    Raises:
        UserError: a class occurs twice in a row, so the rows can't be sets.
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
    """The class indices of one image's candidates."""
    items = [_key(label) for label in _items(candidates)]
    try:
        if row_of is None:
            if any(isinstance(label, bool) for label in items):
                raise TypeError  # rows of a mask that differ in length: True is not a class 1
            return [_class_number(row, label) for label in items]
        return [row_of[label] for label in items]
    except TypeError:
        raise UserError(
            f"candidates: row {row} should be a collection of class numbers, but is "
            f"{candidates!r}: name the classes with classes=, or use their numbers."
        ) from None
    except KeyError as error:
        raise UserError(
            f"candidates: row {row} names '{error.args[0]}', which is not a class."
        ) from None


def _class_number(row: int, label: Any) -> int:
    number = index(label)
    if abs(number) > np.iinfo(np.int32).max:
        raise UserError(f"candidates: row {row} has candidate {number}, which is not a class.")
    return number
