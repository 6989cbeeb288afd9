"""The one exception that users are meant to read."""

from __future__ import annotations

import re
from collections.abc import Sequence

LISTED = 30
"""Names that a message lists at most."""


class UserError(ValueError):
    """Something that the user can put right; the message is one line: what, where, what to do."""

    exit_code = 1


class SeveralError(UserError):
    """Several things that the user can put right, found in one go.

    Attributes:
        lines: one line that counts them, then a line for each.
    """

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = tuple(lines)


class UsageError(UserError):
    """The command or the call was wrong in itself (exit code 2)."""

    exit_code = 2


_NO_MEMORY = re.compile(
    r"failed to map segment|can(no|')?t allocate memory|can't start new thread|out of memory", re.I
)


def lacks_memory(error: BaseException) -> bool:
    """Whether memory ran out, in whichever of the many ways that libraries say so."""
    return isinstance(error, MemoryError) or bool(_NO_MEMORY.search(str(error)))


def nearest(name: str, known: list[str]) -> str:
    """End of a message that offers the nearest known name, and lists them all if they are few."""
    import difflib

    folded = {other.casefold(): other for other in known}
    close = difflib.get_close_matches(name.casefold(), folded, n=1)
    hint = f" Did you mean '{folded[close[0]]}'?" if close else ""
    listed = f" Known: {', '.join(known)}." if len(known) <= LISTED else ""
    return f"{hint}{listed}" or f" {len(known)} are known, none is like it."
