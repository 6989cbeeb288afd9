"""Collect all faults of a table, each with its place, and report them together."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from pzsl.errors import SeveralError, UserError

SHOWN = 20
"""Most faults that a message lists."""


@dataclass
class Faults:
    """The faults of a file, in the order in which they were found.

    Attributes:
        where: the file, for the message.
        noted: (place, what is wrong) of each fault; the place is '' for the file as a whole.
    """

    where: str
    noted: list[tuple[str, str]] = field(default_factory=list)

    def note(self, place: str, text: str) -> None:
        """Add a fault."""
        self.noted.append((place, text))

    @property
    def places(self) -> set[str]:
        """The places with a fault."""
        return {place for place, _ in self.noted}

    def check(self) -> None:
        """Raise an error if there are faults: with one line each, at most twenty.

        Raises:
            UserError: there is a fault.
        """
        if not self.noted:
            return
        ordered = sorted(self.noted, key=lambda fault: _number(fault[0]))
        lines = [f"{place}: {text}" if place else text for place, text in ordered]
        if len(lines) == 1:
            place, text = self.noted[0]
            raise UserError(f"{self.where}, {place}: {text}" if place else f"{self.where}: {text}")
        remaining = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
        listed = (f"  {' '.join(line.split())}" for line in [*lines[:SHOWN], *remaining])
        raise SeveralError([f"{self.where}: {len(lines)} faults:", *listed])


def _number(place: str) -> float:
    """The number in a place such as `line 7`; the file as a whole comes last."""
    return float(re.sub(r"\D", "", place) or "inf")
