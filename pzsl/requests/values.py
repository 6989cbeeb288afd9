"""How the values of a call are read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath
from typing import TypeVar

Value = TypeVar("Value", str, float)


def as_list(value: Value | Iterable[Value]) -> list[Value]:
    """A list of values; a plain string or number is a list of one."""
    if isinstance(value, str | int | float):
        return [value]
    return list(value)


def is_plain_name(name: str) -> bool:
    """Whether a name names a folder right below another one: no path, no step up."""
    plain = not {"/", "\\", ":", "\0"} & set(name)
    return plain and name.strip() not in ("", ".", "..") and PurePath(name).name == name
