"""Convert integers of other tools to the types of a cache, without overflow."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pzsl.errors import UserError


def as_whole(values: NDArray[Any], dtype: type, where: str) -> NDArray[Any]:
    """Copy integers into another integer type.

    Args:
        values: of any shape and any integer type.
        dtype: the target type.
        where: file and array, for the message.

    Raises:
        UserError: a value doesn't fit into the type.
    """
    limits = np.iinfo(dtype)
    if values.size and (int(values.min()) < limits.min or int(values.max()) > limits.max):
        flat = values.ravel()
        row = int(np.flatnonzero((flat > limits.max) | (flat < limits.min))[0])
        raise UserError(f"{where}, row {row} holds {flat[row]}: no number of that size fits there.")
    return np.array(values, dtype=dtype)
