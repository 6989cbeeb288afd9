"""Whether class names can be added to a run: those of which it knows the prompts."""

from __future__ import annotations

from collections.abc import Sequence

UNNAMED = ("", "(imported)")
"""What a cache records if its encoder, or its prompts, are unknown."""


def whole_templates(templates: Sequence[str]) -> list[str]:
    """The prompt templates that a new name can be put into."""
    return [template for template in templates if template.count("{}") == 1]


def takes_names(labels: str, templates: Sequence[str]) -> bool:
    """Whether new names can have label embeddings like those of a run.

    Args:
        labels: what its label embeddings are made of. templates: of its prompts.
    """
    if labels != "text":
        return False
    known = len(whole_templates(templates)) == len(templates)
    return known or templates[0] in UNNAMED  # where they are unknown, the usual ones do
