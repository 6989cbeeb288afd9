"""Candidate sets: how they are held, drawn, read off a model, joined, counted and checked."""

from __future__ import annotations

from pzsl.candidates.annotation import RULES, annotate_images, check_rule
from pzsl.candidates.few_shot import choose_labelled, give_labels
from pzsl.candidates.generation import FROM_DATA, KINDS, NOISES, Kind, generate, statistics
from pzsl.candidates.joining import join
from pzsl.candidates.ragged import CandidateSets
from pzsl.candidates.validation import validate

__all__ = [
    "FROM_DATA",
    "KINDS",
    "NOISES",
    "RULES",
    "CandidateSets",
    "Kind",
    "annotate_images",
    "check_rule",
    "choose_labelled",
    "generate",
    "give_labels",
    "join",
    "statistics",
    "validate",
]
