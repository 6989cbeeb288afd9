"""How the values of a call are read."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Integral, Real
from pathlib import PurePath
from typing import Any, TypeVar

Value = TypeVar("Value", str, float)


def as_list(value: Value | Iterable[Value]) -> list[Value]:
    """A list of values; a plain string or number is a list of one."""
    if isinstance(value, str | int | float):
        return [value]
    return list(value)


def is_plain_name(name: str) -> bool:
    """Whether a name names a folder right below another one: no path, no step up, printable."""
    plain = not {"/", "\\", ":"} & set(name) and name.isprintable()
    return plain and name.strip() not in ("", ".", "..") and PurePath(name).name == name


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number; true and false are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether a value is a finite number; true and false are none."""
    return is_whole(value) or (isinstance(value, Real) and math.isfinite(value))
