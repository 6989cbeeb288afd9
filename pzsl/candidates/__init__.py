"""Candidate sets: storing, drawing, annotating with a model, joining, counting and validating."""

from __future__ import annotations

from pzsl.candidates.annotation import RULES, annotate_images, check_rule
from pzsl.candidates.few_shot import choose_labelled, give_labels
from pzsl.candidates.generation import (
    FROM_DATA,
    KINDS,
    NOISES,
    Kind,
    find_kind,
    generate,
    known_noises,
    statistics,
)
from pzsl.candidates.joining import join
from pzsl.candidates.long_tail import choose_long_tail
from pzsl.candidates.noise_input import Images, Mask
from pzsl.candidates.ragged import CandidateSets
from pzsl.candidates.randomness import Stream, stream, uniforms
from pzsl.candidates.sizes import check_size
from pzsl.candidates.validation import validate

__all__ = [
    "FROM_DATA",
    "KINDS",
    "NOISES",
    "RULES",
    "CandidateSets",
    "Images",
    "Kind",
    "Mask",
    "Stream",
    "annotate_images",
    "check_rule",
    "check_size",
    "choose_labelled",
    "choose_long_tail",
    "find_kind",
    "generate",
    "give_labels",
    "join",
    "known_noises",
    "statistics",
    "stream",
    "uniforms",
    "validate",
]
