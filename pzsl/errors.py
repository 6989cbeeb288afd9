"""`UserError`: the exception whose message is written for users."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

LISTED = 30
"""Most names that a message lists."""
MOST_SHOWN = 200
"""Most characters of a value that a message shows."""


class UserError(ValueError):
    """An error that the user can fix; the message is one line: what, where, what to do."""

    exit_code = 1


class SeveralError(UserError):
    """Several errors that the user can fix, found at once.

    Attributes:
        lines: one line with their number, then one line for each.
    """

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = tuple(lines)

    def __reduce__(self) -> tuple[type[SeveralError], tuple[tuple[str, ...]]]:
        """As worker processes send it: made anew of its lines."""
        return type(self), (self.lines,)


class UsageError(UserError):
    """The command or the call itself was wrong (exit code 2)."""

    exit_code = 2


_NO_MEMORY = re.compile(
    r"failed to map segment|can(no|')?t allocate memory|can't start new thread|"
    r"out of memory|not enough memory",
    re.I,
)


def lacks_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out; libraries report that in many ways."""
    return isinstance(error, MemoryError) or bool(_NO_MEMORY.search(str(error)))


def shown(value: Any) -> str:
    """A value for a message of one line: its repr, or what it is if that is long."""
    text = repr(value)
    one_line = len(text) <= MOST_SHOWN and text.isprintable()
    return text if one_line else f"a value of type {type(value).__name__}"


def nearest(name: str, known_names: list[str]) -> str:
    """The end of an error message: suggests the nearest known name, and lists all if few."""
    import difflib

    folded = {known_name.casefold(): known_name for known_name in known_names}
    close = difflib.get_close_matches(name.casefold(), folded, n=1)
    hint = f" Did you mean '{folded[close[0]]}'?" if close else ""
    listed = f" Known: {', '.join(known_names)}." if len(known_names) <= LISTED else ""
    return f"{hint}{listed}" or f" {len(known_names)} are known, none is like it."
