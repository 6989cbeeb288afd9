"""Embeddings and weights of images as arrays come: frames, tensors or lists, checked."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pzsl.errors import UserError
from pzsl.exchange.vectors import as_unit, check_vectors
from pzsl.inference.candidate_arrays import as_plain


def unit_vectors(name: str, values: Any) -> NDArray[np.float32]:
    """Unit vectors (n, D) of the argument `name`.

    Raises:
        UserError: it is sparse, no matrix of numbers, or a vector is zero or not finite.
    """
    if hasattr(values, "tocsr"):
        raise UserError(f"{name} is a sparse matrix: dense vectors are needed, use X.toarray().")
    try:
        array = np.asarray(as_plain(values, name))
    except ValueError as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{name} should be an array (n, D) of numbers, but its rows differ in length."
        ) from None
    if array.dtype == object and array.ndim == 2 and _are_nullable_numbers(values):
        array = values.to_numpy(np.float64, na_value=np.nan)
    fault = _fault(name, array)
    if fault is not None:
        raise UserError(
            f"{name} should be an array (n, D) of numbers, but is {array.shape} {array.dtype}"
            f"{fault}."
        )
    check_vectors(name, array, normalise=True)
    return as_unit(array)


def image_weights(sample_weight: ArrayLike, images: int) -> NDArray[np.float64]:
    """How much each of `images` counts (n,).

    Raises:
        UserError: another shape, a weight below zero or not finite, or all are zero.
    """
    weights = np.asarray(sample_weight, dtype=np.float64)
    usable = weights.shape == (images,) and np.isfinite(weights).all() and (weights >= 0).all()
    if not usable or not weights.sum() > 0:
        raise UserError(
            f"sample_weight should be ({images},) numbers from 0, not all of them 0, but is "
            f"{weights.shape}."
        )
    return weights


def _are_nullable_numbers(values: Any) -> bool:
    """Whether all columns of a frame are pandas' nullable numbers, an array of which is objects."""
    kinds = [getattr(dtype, "kind", "O") for dtype in getattr(values, "dtypes", ["O"])]
    return all(kind in "fiu" for kind in kinds)


def _fault(name: str, array: NDArray[Any]) -> str | None:
    """Why an array can't be used as vectors, in scikit-learn's words where it has some."""
    if array.dtype.kind == "c":
        return ": Complex data not supported"
    if _is_column_of_vectors(array):
        return f", a vector in each: give numpy.stack(numpy.ravel({name}))"
    if array.ndim == 1 and array.dtype.kind in "fiub":
        return ": Reshape your data, X.reshape(1, -1) for one image"
    if array.ndim == 2 and array.shape[1] == 0:
        return f": 0 feature(s) (shape={array.shape}) while a minimum of 1 is required"
    return "" if array.ndim != 2 or not array.size or array.dtype.kind not in "fiu" else None


def _is_column_of_vectors(array: NDArray[Any]) -> bool:
    """Whether each row holds a vector as one value, as a column of a Parquet file does."""
    column = array.dtype == object and array.size and array.shape[1:] in ((), (1,))
    return bool(column) and isinstance(array.flat[0], np.ndarray | list | tuple)
