"""Several people's columns of a table, joined into one candidate set for each image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pzsl.errors import UsageError

ROUNDING = 1e-9
"""Sums of weights that miss the threshold by less than this reach it."""


@dataclass(frozen=True)
class Annotators:
    """Columns that hold people's answers.

    Attributes:
        weights: (column, weight of its word) of each person.
        agree: a label joins when the weights of those who name it sum up to this; None lets every
            label in that anyone names. Where none reaches it, the heaviest are taken.

    Raises:
        UsageError: a column is named twice, or a weight or `agree` isn't above 0.
    """

    weights: tuple[tuple[str, float], ...]
    agree: float | None = None

    def __post_init__(self) -> None:
        for name, weight in self.weights:
            if self.columns.count(name.strip().lower()) > 1:
                raise UsageError(f"--annotators names the column '{name}' twice.")
            if not (math.isfinite(weight) and weight > 0):
                raise UsageError(f"The weight of '{name}' should be above 0, not {weight:g}.")
        if self.agree is not None and not (math.isfinite(self.agree) and self.agree > 0):
            raise UsageError(f"--agree should be a sum of weights above 0, not {self.agree:g}.")

    @property
    def columns(self) -> tuple[str, ...]:
        """Their names, in small letters as in a table's header."""
        return tuple(name.strip().lower() for name, _ in self.weights)

    def __str__(self) -> str:
        named = ", ".join(f"{name}:{weight:g}" for name, weight in self.weights)
        return named + ("" if self.agree is None else f"; agree {self.agree:g}")

    def joined(self, answers: Sequence[Sequence[str]]) -> tuple[str, ...]:
        """The labels that enough of them name, in the order in which they are first named.

        Args:
            answers: of each person in turn, empty where they gave none.
        """
        total: dict[str, float] = {}
        for (_, weight), names in zip(self.weights, answers, strict=True):
            for name in names:
                total[name] = total.get(name, 0.0) + weight
        if self.agree is None or not total:
            return tuple(total)
        least = min(self.agree, max(total.values())) - ROUNDING
        return tuple(name for name, weight in total.items() if weight >= least)
