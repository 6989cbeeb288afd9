"""What all methods share: the problem, the interface, candidate entries, adapters, views."""

from __future__ import annotations

from pzsl.methods.core.adapted_method import (
    AdaptedMethod,
    AdaptedOptions,
    JointPass,
    entries_softmax,
    masked_softmax,
)
from pzsl.methods.core.candidate_entries import OUTSIDE, BatchEntries, CandidateEntries
from pzsl.methods.core.features import ChosenRows, Deferred, TrainingFeatures
from pzsl.methods.core.label_source import LabelSource
from pzsl.methods.core.method import KEPT, Blocks, LabelEvidence, Method, Options, Problem
from pzsl.methods.core.option_ranges import LARGEST, counting, one_of, within
from pzsl.methods.core.set_likelihood import (
    IMAGINED,
    SetLikelihood,
    inside_odds,
    set_likelihood,
)
from pzsl.methods.core.views import Views, mixing_shares, perturb

__all__ = [
    "IMAGINED",
    "KEPT",
    "LARGEST",
    "OUTSIDE",
    "AdaptedMethod",
    "AdaptedOptions",
    "BatchEntries",
    "Blocks",
    "CandidateEntries",
    "ChosenRows",
    "Deferred",
    "JointPass",
    "LabelEvidence",
    "LabelSource",
    "Method",
    "Options",
    "Problem",
    "SetLikelihood",
    "TrainingFeatures",
    "Views",
    "counting",
    "entries_softmax",
    "inside_odds",
    "masked_softmax",
    "mixing_shares",
    "one_of",
    "perturb",
    "set_likelihood",
    "within",
]
