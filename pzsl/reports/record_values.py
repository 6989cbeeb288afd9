"""Values of a record, checked: untrusted JSON in, texts and finite numbers out."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

from pzsl.errors import UserError
from pzsl.progress import printable
from pzsl.requests import rounded

_PERCENT = ("S", "U", "H", "T1", "AUSUC", "disambiguation", "truth_outside")
_ROUNDING = 1e-6


def metric_of(metrics: dict[str, Any], key: str, where: str) -> float | None:
    """A metric of a run; percentages lie between 0 and 100."""
    number = number_of(metrics, key, where)
    if number is not None and key in _PERCENT and not -_ROUNDING <= number <= 100 + _ROUNDING:
        raise UserError(f"{where}: '{key}' is {number:g}, and should be 0 to 100: train it again.")
    return number


def text_of(config: dict[str, Any], key: str, name: str, default: str | None = None) -> str:
    """A text of a configuration, or the default where there is none."""
    value = config.get(key)
    value = default if value is None else value
    if not isinstance(value, str) or (key == "method" and not value):
        raise UserError(f"{name}/config.json: '{key}' should be a text.")
    return printable(value)


def number_of(values: dict[str, Any], key: str, where: str) -> float | None:
    """A finite number, or None where there is none."""
    value = values.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"{where}: '{key}' should be a number or null.")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise UserError(f"{where}: '{key}' is not finite: the run went wrong, train it again.")
    return number


def axis_value(config: dict[str, Any], key: str, where: str) -> float | None:
    """A number that tells settings apart: 0.1 + 0.2 is the rate 0.3."""
    number = number_of(config, key, where)
    return None if number is None else rounded(number)


def flatten(options: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Options as flat texts, nested names joined by dots."""
    for key, value in options.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value)
            yield printable(f"{prefix}{key}"), printable(text)
