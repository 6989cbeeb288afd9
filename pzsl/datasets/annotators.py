"""Join the columns of several annotators into one candidate set per image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from pzsl.datasets.names import normal_form
from pzsl.errors import UsageError

ROUNDING = 1e-9
"""Tolerance when sums of weights are compared with the threshold."""


@dataclass(frozen=True)
class Annotators:
    """The columns of a table that hold annotators' answers.

    Attributes:
        weights: (column, weight) of each annotator.
        agree: a label becomes a candidate if the weights of the annotators who name it sum up to
            this; None accepts every label that anyone names. If no label of an image reaches it,
            those with the largest sum are taken.

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
        """The column names in lower case."""
        return tuple(name.strip().lower() for name, _ in self.weights)

    def __str__(self) -> str:
        named = ", ".join(f"{name}:{weight:g}" for name, weight in self.weights)
        return named + ("" if self.agree is None else f"; agree {self.agree:g}")

    def joined(self, answers: Sequence[Sequence[str]]) -> tuple[str, ...]:
        """The labels with enough votes, in the order in which they are first named.

        Spellings of one class share its votes, one per annotator. All of them are returned, so that
        the spelling of the class can be chosen over the whole table.

        Args:
            answers: one per annotator, in order; empty if the annotator gave none.
        """
        spellings = tuple(dict.fromkeys(chain.from_iterable(answers)))
        if self.agree is None or not spellings:
            return spellings
        total = self._votes(answers)
        least = min(self.agree, max(total.values())) - ROUNDING
        return tuple(name for name in spellings if total[normal_form(name)] >= least)

    def fall_short(self, answers: Sequence[Sequence[str]]) -> bool:
        """Whether there are answers, but no label has enough votes; see `joined`."""
        if self.agree is None:
            return False
        return 0 < max(self._votes(answers).values(), default=0.0) < self.agree - ROUNDING

    def _votes(self, answers: Sequence[Sequence[str]]) -> dict[str, float]:
        """The sum of weights of each class, in normal form."""
        total: dict[str, float] = {}
        for (_, weight), names in zip(self.weights, answers, strict=True):
            for form in {normal_form(name) for name in names}:
                total[form] = total.get(form, 0.0) + weight
        return total
