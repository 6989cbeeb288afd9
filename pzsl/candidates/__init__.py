"""Candidate sets: how they are held, drawn, read off a model, joined, counted and checked."""

from __future__ import annotations

from pzsl.candidates.annotation import RULES, annotate_images, check_rule
from pzsl.candidates.generation import KINDS, Kind, generate, statistics
from pzsl.candidates.joining import join
from pzsl.candidates.ragged import CandidateSets
from pzsl.candidates.validation import validate

__all__ = [
    "KINDS",
    "RULES",
    "CandidateSets",
    "Kind",
    "annotate_images",
    "check_rule",
    "generate",
    "join",
    "statistics",
    "validate",
]
