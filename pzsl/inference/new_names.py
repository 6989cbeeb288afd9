"""Names of classes that are added to a run: which they are, and whether it can take them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from pzsl.datasets.class_warnings import one_edit_apart
from pzsl.datasets.names import normal_form, tidy
from pzsl.errors import UsageError, shown
from pzsl.files import unfit_text
from pzsl.progress import printable, say

LIST = re.compile("[,;|]")
"""What separates the names of a list, but also occurs in names."""
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


def new_names(known: Sequence[str], given: Sequence[str]) -> tuple[str, ...]:
    """Class names that the run lacks, each once; known ones are reported and left out.

    Names that read like a list or are one edit apart from another class are reported, too.

    Args:
        known: the run's classes. given: by the user.

    Raises:
        UsageError: a name is empty, no text, or can't be printed.
    """
    known_forms = {normal_form(name) for name in known}
    new: dict[str, str] = {}
    for given_name in given:
        name = tidy(given_name) if isinstance(given_name, str) else ""
        if not name:
            raise UsageError(f"--class should be a name, not {shown(given_name)}.")
        if unfit := unfit_text([name]):
            raise UsageError(f"--class {printable(name)!r} holds {unfit[1]}: type the name again.")
        if normal_form(name) in known_forms:
            say(f"'{name}' is already a class of the run.")
        else:
            new.setdefault(normal_form(name), name)
    _tell_lists(known, new.values())
    _tell_near(known, tuple(new.values()))
    return tuple(new.values())


def _tell_lists(known: Sequence[str], new: Iterable[str]) -> None:
    """Warn of new names with commas or the like, if no known class has such."""
    lists = [name for name in new if LIST.search(name)]
    if lists and not any(map(LIST.search, known)):
        say(f"'{lists[0]}' is added as one class: if it is a list, repeat --class for each name.")


def _tell_near(known: Sequence[str], new: Sequence[str]) -> None:
    """Warn of new names that are one edit apart from another class: each takes from the other."""
    near = [pair for pair in one_edit_apart((*known, *new)) if {*pair} & {*new}]
    for first, second in near:
        say(f"'{first}' and '{second}' are one letter apart and classes of their own: misspelt?")
