"""Checks of option values."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import wraps
from numbers import Integral, Real
from pathlib import Path, PurePath
from typing import Any, ParamSpec, TypeVar

from pzsl.errors import UsageError, shown
from pzsl.progress import say

Value = TypeVar("Value", str, float, Any)
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
PATHS = {"str | Path": False, "str | Path | None": True}
"""Annotation of an argument that is a path -> whether None will do."""


def as_list(value: Value | Iterable[Value]) -> list[Value]:
    """A list of values; a single text, path or number is a list of one.

    Numbers of NumPy become Python's, with the digits that they print, and all are `rounded`.
    """
    if isinstance(value, str) or not isinstance(value, Iterable):
        return [_plain(value)]
    return [_plain(entry) for entry in value]


def _plain(value: Any) -> Any:
    if isinstance(value, bool | int) or not isinstance(value, Real):
        return value
    if isinstance(value, Integral):
        return int(value)
    return rounded(float(str(value)) if type(value).__module__ == "numpy" else float(value))


def rounded(number: float) -> float:
    """A number to twelve digits: what is computed, such as 0.1 + 0.2, equals what is written."""
    return float(f"{number:.12g}")


def as_lists(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call with lists in place of iterators, which can be read only once."""
    return {
        name: [*value] if isinstance(value, Iterator) else value
        for name, value in arguments.items()
    }


def with_paths(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """A function that refuses what is neither a text nor a path where a path is annotated.

    It raises UsageError, which names the argument.
    """
    signature = inspect.signature(function)

    @wraps(function)
    def checked(*arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
        for name, value in signature.bind(*arguments, **named).arguments.items():
            optional = PATHS.get(signature.parameters[name].annotation)
            if optional is None or isinstance(value, str | os.PathLike):
                continue
            if value is not None or not optional:
                raise UsageError(f"'{name}' should be a text or a path, not {shown(value)}.")
        return function(*arguments, **named)

    return checked


def is_plain_name(name: str) -> bool:
    """Whether a name can be that of a subfolder: printable, no path separators, not `..`."""
    plain = not {"/", "\\", ":"} & set(name) and name.isprintable()
    return plain and name.strip() not in ("", ".", "..") and PurePath(name).name == name


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number; True and False are not."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether a value is a finite number; True and False are not."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


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


def check_ray_devices(*devices: str) -> None:
    """Refuse a numbered GPU where Ray assigns the GPUs.

    Raises:
        UsageError: a device has a number.
    """
    for device in devices:
        kind, colon, _ = device.partition(":")
        if colon:
            raise UsageError(
                f"'{device}' has a number, but Ray gives each of its tasks a GPU of its own, on "
                f"any machine: write {kind}, or start its workers with CUDA_VISIBLE_DEVICES."
            )


def say_unused(why: str, **options: Any) -> None:
    """Warn about options that were given but change nothing in this call.

    Args:
        why: ends the line, such as 'features (.npy) need no encoder'.
        options: values by the names of their options, with underscores; None (not given) passes.
    """
    given = [f"--{name.replace('_', '-')}" for name, value in options.items() if value is not None]
    if given:
        say(f"{', '.join(given)} {'mean' if len(given) > 1 else 'means'} nothing here: {why}.")


def unless(usual: Any, value: Any) -> Any:
    """A value that differs from the usual one; None if it was not given."""
    return None if value == usual else value


def check_output(path: Path, sources: Sequence[Path | str | None] = ()) -> None:
    """Refuse a path to write to that names no file, or a file that is read.

    Args:
        path: of the file to write.
        sources: the files that are read; what isn't there, or None, passes.

    Raises:
        UsageError: it can't be written there, or would replace what it is made of.
    """
    if path.name in ("", ".."):
        raise UsageError(f"--out {path}: this is a folder: name a file in it.")
    inputs = [Path(source) for source in sources if source is not None and Path(source).exists()]
    if path.exists() and any(path.samefile(source) for source in inputs):
        raise UsageError(f"--out {path}: this file is read: write to another one.")
