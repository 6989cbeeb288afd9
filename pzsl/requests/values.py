"""Checks of option values."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Integral, Real
from pathlib import PurePath
from typing import Any, TypeVar

from pzsl.errors import UsageError

Value = TypeVar("Value", str, float)


def as_list(value: Value | Iterable[Value]) -> list[Value]:
    """A list of values; a plain string or number is a list of one."""
    if isinstance(value, str | int | float):
        return [value]
    return list(value)


def is_plain_name(name: str) -> bool:
    """Whether a name can be that of a subfolder: printable, no path separators, not `..`."""
    plain = not {"/", "\\", ":"} & set(name) and name.isprintable()
    return plain and name.strip() not in ("", ".", "..") and PurePath(name).name == name


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number; True and False are not."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether a value is a finite number; True and False are not."""
    return is_whole(value) or (isinstance(value, Real) and math.isfinite(value))


def check_counts(**counts: int | None) -> None:
    """Check that counts are at least 1; None (not given) passes.

    Args:
        counts: values by the names of their options, with underscores.

    Raises:
        UsageError: a count is too small; the first one is reported.
    """
    for name, value in counts.items():
        if value is not None and not (is_whole(value) and value >= 1):
            option = name.replace("_", "-")
            raise UsageError(f"--{option} should be a whole number from 1, not {value}.")
