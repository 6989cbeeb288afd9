"""`oracle`: the network of `clip-pzsl` with the true labels, as an upper bound (ours)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from pzsl.methods.clip_pzsl.method import ClipPzsl
from pzsl.methods.clip_pzsl.options import LEFT_OUT, ClipPzslOptions
from pzsl.methods.core import CandidateEntries


@dataclass(frozen=True)
class OracleOptions(ClipPzslOptions):
    """Options of `clip-pzsl`; with true labels there is no noise to estimate."""

    noise_model: bool = False

    def unread(self) -> dict[str, str]:
        """Also those that only weigh several candidates of an image."""
        why = "where an image's true label is known, that is its only candidate."
        weights = ("progressive", "momentum", *LEFT_OUT, "balance")
        return super().unread() | dict.fromkeys(weights, why)


class Oracle(ClipPzsl):
    """Learns from the true labels, and from the candidates of an image whose label is unknown."""

    row_wise: ClassVar[bool] = True

    def prepare(self) -> None:
        """Replace the candidates by true labels, then prepare as `clip-pzsl` does."""
        if self.problem.truth is not None:
            true_sets = with_true_labels(self.problem.candidates, self.problem.truth)
            self.problem, self.candidates = replace(self.problem, candidates=true_sets), true_sets
        super().prepare()


def with_true_labels(candidates: CandidateEntries, truth: Tensor) -> CandidateEntries:
    """Candidate sets in which the true label is the only candidate wherever it is known.

    Args:
        candidates: of N images.
        truth: (N,) columns, -1 where unknown.
    """
    rows = torch.repeat_interleave(candidates.sizes)
    unknown = truth[rows] < 0
    labelled = torch.nonzero(truth >= 0).flatten()
    row = torch.cat([rows[unknown], labelled])
    label = torch.cat([candidates.labels[unknown], truth[labelled]])
    order = torch.argsort(row, stable=True)
    sizes = torch.bincount(row, minlength=len(candidates))
    return CandidateEntries.of(torch.cat([sizes.new_zeros(1), sizes.cumsum(0)]), label[order])
