"""All faults of a table at once, each with its place."""

from __future__ import annotations

from dataclasses import dataclass, field

from pzsl.errors import SeveralError, UserError

SHOWN = 20
"""Faults that a message lists."""


@dataclass
class Faults:
    """Faults of a file, in the order in which they were noted.

    Attributes:
        where: the file, for the message.
        noted: (place, what is wrong) of each; the place is '' where it is the file as a whole.
    """

    where: str
    noted: list[tuple[str, str]] = field(default_factory=list)

    def note(self, place: str, text: str) -> None:
        """Take a fault down."""
        self.noted.append((place, text))

    @property
    def places(self) -> set[str]:
        """The places that have a fault."""
        return {place for place, _ in self.noted}

    def check(self) -> None:
        """Raise what was noted: one line of one fault, else a line for each, at most twenty.

        Raises:
            UserError: something was noted.
        """
        if not self.noted:
            return
        lines = [f"{place}: {text}" if place else text for place, text in self.noted]
        if len(lines) == 1:
            place, text = self.noted[0]
            raise UserError(f"{self.where}, {place}: {text}" if place else f"{self.where}: {text}")
        more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
        listed = (f"  {' '.join(line.split())}" for line in [*lines[:SHOWN], *more])
        raise SeveralError([f"{self.where}: {len(lines)} faults:", *listed])
