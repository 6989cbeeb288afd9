"""The range of each option, beside its default: `rank: int = within(32, 1, 4096)`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from pzsl.errors import UsageError, nearest

LARGEST = 10**9
"""Largest value of an option that counts something; a larger one is a typing error."""


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`; `above` excludes `low` itself, `below` excludes `high`."""

    low: float
    high: float
    above: bool = False
    below: bool = False

    def holds(self, value: float) -> bool:
        """Whether a number lies in it; NaN and infinity never do."""
        over = value > self.low if self.above else value >= self.low
        under = value < self.high if self.below else value <= self.high
        return math.isfinite(value) and over and under

    def __str__(self) -> str:
        start = f"above {self.low:g}" if self.above else f"at least {self.low:g}"
        if self.high == math.inf:
            return start
        return f"{start} and {'below' if self.below else 'at most'} {self.high:,.12g}"


def within(
    default: float, low: float, high: float = math.inf, *, above: bool = False, below: bool = False
) -> Any:
    """A number as an option of a dataclass, with its allowed range.

    Args:
        default: its default.
        low, high: the range. above, below: exclude `low` itself, exclude `high` itself.
    """
    return field(default=default, metadata={"range": Range(low, high, above, below)})


def counting(default: int, low: int = 0, high: int = LARGEST) -> Any:
    """A whole number as an option of a dataclass."""
    return field(default=default, metadata={"range": Range(low, high)})


def one_of(default: str, words: Sequence[str]) -> Any:
    """A word as an option of a dataclass, with the allowed words."""
    return field(default=default, metadata={"known": tuple(words)})


def check_ranges(options: Any) -> None:
    """Check each option's range.

    Raises:
        UsageError: an option is out of range; the message names the range or the allowed words.
    """
    for option in fields(options):
        value, name = getattr(options, option.name), option.name
        allowed, words = option.metadata.get("range"), option.metadata.get("known")
        if allowed is not None and not (_is_number(value) and allowed.holds(value)):
            raise UsageError(f"Option '{name}' should be {allowed}, not {value}.")
        if words is not None and value not in words:
            hint = nearest(str(value), list(words))
            raise UsageError(f"Option '{name}' has no '{value}'.{hint}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
