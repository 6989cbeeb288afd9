"""Class names for prompts: a cleaning rule, then a few exceptions, then the user's own file.

Publishers write `002.Laysan_Albatross`, `grizzly+bear` or `church_indoor`. `clean_name` turns these
into English by rule, so no list of a data set's classes has to be shipped. What the rule gets wrong
(misspellings, possessives, `arena_hockey`) is in `names/<data set>.tsv`, one exception per line.
FLO is published without names: `names/flo.txt` has the 102 names of its publisher (Nilsback and
Zisserman 2008) in the order of its labels. The user's own file, given with --names or named
`names.tsv` beside the split file, takes precedence.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pzsl.datasets.names import normal_form, tidy
from pzsl.errors import UserError
from pzsl.files import read_lines

NAMES = Path(__file__).parent / "names"


def clean_name(published: str) -> str:
    """Turn a publisher's class name into English by rule.

    A leading number goes; `_`, `+` and `/` become spaces; in a capitalised name an underscore
    before a small letter is a hyphen (`Red_winged_Blackbird` -> `Red-winged Blackbird`); a last
    word `indoor` or `outdoor` comes first (`church_indoor` -> `indoor church`).
    """
    name = re.sub(r"^\d+\s*[._-]\s*", "", published.strip())
    if name[:1].isupper():
        name = re.sub(r"_(?=[a-z])", "-", name)
    words = re.sub(r"[_+/\s]+", " ", name).strip().split(" ")
    if len(words) > 1 and words[-1].lower() in ("indoor", "outdoor"):
        words = [words[-1], *words[:-1]]
    return " ".join(words)


def published_names(dataset: str) -> tuple[str, ...] | None:
    """The publisher's class names in label order, if pzsl ships them (flo); else None."""
    file = NAMES / f"{dataset}.txt"
    return tuple(file.read_text(encoding="utf-8").splitlines()) if file.is_file() else None


def read_names(file: Path) -> dict[str, str]:
    """Read a file of lines `published name <TAB> name for prompts`; `#` starts a comment line.

    Raises:
        UserError: the file can't be read, or a line isn't of that form (its number is named).
    """
    lines = read_lines(file, "Class names")
    names: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        published, _, name = (part.strip() for part in line.partition("\t"))
        if not (published and tidy(name)):
            raise UserError(
                f"{file}, line {number}: expected 'published name <TAB> name for prompts', "
                f"found '{line.strip()}'."
            )
        if published in names:
            raise UserError(f"{file}, line {number}: '{published}' is named a second time.")
        names[published] = tidy(name)
    return names


def exceptions(dataset: str) -> dict[str, str]:
    """The shipped exceptions to `clean_name` for a data set: published name -> name for prompts."""
    file = NAMES / f"{dataset}.tsv"
    return read_names(file) if file.is_file() else {}


def prompt_names(
    dataset: str, published: Sequence[str], file: Path | None = None
) -> tuple[str, ...]:
    """Name of each class for prompts: the user's, or else the exception, or else by rule.

    Args:
        dataset: key of the data set.
        published: (C,) the publisher's names.
        file: the user's own names, see `read_names`.

    Raises:
        UserError: the user's file names a class that isn't there, or two classes get one name.
    """
    user_names = _by_published(file, dataset, published) if file else {}
    overrides = {**exceptions(dataset), **user_names}
    names = tuple(overrides.get(name) or clean_name(name) for name in published)
    first: dict[str, str] = {}
    for name, source in zip(names, published, strict=True):
        first_source = first.setdefault(normal_form(name), source)
        if first_source != source:
            raise UserError(
                f"{dataset}: the classes '{first_source}' and '{source}' would both be called "
                f"'{name}': give one another name in a file (published name <TAB> name) with "
                "--names FILE."
            )
    return names


def _by_published(file: Path, dataset: str, published: Sequence[str]) -> dict[str, str]:
    """The user's names by the publisher's, which may be spelt in any way that reads alike."""
    form_counts = Counter(map(normal_form, published))
    of_form = {normal_form(name): name for name in published}
    names: dict[str, str] = {}
    for given, name in read_names(file).items():
        is_unique = form_counts[normal_form(given)] == 1
        source = given if given in published else of_form[normal_form(given)] if is_unique else None
        if source is None:
            raise UserError(
                f"{file}: {dataset} has no class '{given}'; its names are written as published, "
                f"like '{_nearest(given, published)}'."
            )
        if source in names:
            raise UserError(f"{file}: '{source}' is named a second time, as '{given}'.")
        names[source] = name
    return names


def known_names(dataset: str) -> tuple[str, ...]:
    """The class names that are known without the data set's files, as examples; often only some."""
    if dataset == "shapes":
        from pzsl.datasets.shapes import COMPOSITIONS

        return tuple(map(str, COMPOSITIONS))
    published = published_names(dataset)
    return prompt_names(dataset, published) if published else tuple(exceptions(dataset).values())


def _nearest(name: str, candidates: Sequence[str]) -> str:
    import difflib

    return max(
        candidates, key=lambda candidate: difflib.SequenceMatcher(None, name, candidate).ratio()
    )
