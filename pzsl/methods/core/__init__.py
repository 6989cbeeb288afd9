"""What all methods share: the problem, the interface, candidate entries, adapters, views."""

from __future__ import annotations

from pzsl.methods.core.adapted import AdaptedMethod, AdaptedOptions, entries_softmax, masked_softmax
from pzsl.methods.core.candidate_entries import OUTSIDE, Entries, Support
from pzsl.methods.core.method import KEPT, Blocks, Method, Options, Problem
from pzsl.methods.core.views import Views, mixing_shares, perturb

__all__ = [
    "KEPT",
    "OUTSIDE",
    "AdaptedMethod",
    "AdaptedOptions",
    "Blocks",
    "Entries",
    "Method",
    "Options",
    "Problem",
    "Support",
    "Views",
    "entries_softmax",
    "masked_softmax",
    "mixing_shares",
    "perturb",
]
