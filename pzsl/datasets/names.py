"""When two spellings are one name: the form in which class names are compared, and written."""

from __future__ import annotations

import html
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping

QUOTES = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛`´′", "'"),
        **dict.fromkeys("“”„‟«»″", '"'),
        **dict.fromkeys("‐‑‒–—−", "-"),
    }
)
"""Typographic quotes and dashes to those of a keyboard."""
INVISIBLE = dict.fromkeys(map(ord, "\u200b\u2060\ufeff\u00ad"))
"""Letters without width that get into names by copying."""
WHOLE_NUMBER = re.compile(r"([+-]?)0*(\d+)(?:[.,]0{1,2})?")


def tidy(name: str) -> str:
    """A class name as prompts and caches get it.

    HTML entities are resolved, letters composed (NFC), blanks single; a whole number written as a
    decimal, as pandas does where values are missing, loses its zeros: `3.0` is `3`.
    """
    text = html.unescape(html.unescape(name)).translate(INVISIBLE)
    text = " ".join(unicodedata.normalize("NFC", text).split())
    return re.sub(r"^([+-]?\d+)[.,]0{1,2}$", r"\1", text)


def normal_form(name: str) -> str:
    """The form in which class names are compared: equal means the same class.

    NFKC, without regard to case, entities, kinds of quotes and dashes, and with blanks and
    underscores alike; numbers as numbers. An encoder's tokenizer sees no difference either.
    """
    text = tidy(name).translate(QUOTES)
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    text = " ".join(text.replace("_", " ").split())
    if len(text) > 2 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1].strip()
    number = WHOLE_NUMBER.fullmatch(text)
    return f"{number[1].strip('+')}{number[2]}" if number else text


def first_alike(names: Iterable[str]) -> tuple[str, str] | None:
    """The first two of some names that are one class, in their order; None where all differ."""
    first: dict[str, str] = {}
    for name in names:
        form = normal_form(name)
        if form in first:
            return first[form], name
        first[form] = name
    return None


def join_spellings(names: Iterable[str], listed: Iterable[str] = ()) -> dict[str, str]:
    """One spelling for each class.

    Args:
        names: as they occur, once for each time that they do.
        listed: spellings that have the last word.

    Returns:
        Each spelling that occurs -> the listed one, else the one that occurs most often (of equals
        the first), tidied.
    """
    counts = Counter(names)
    chosen = {normal_form(name): name for name in listed}
    for name, _ in counts.most_common():
        chosen.setdefault(normal_form(name), tidy(name))
    return {name: chosen[normal_form(name)] for name in counts}


def told_joins(spelling: Mapping[str, str]) -> str | None:
    """One line on names that occur in several spellings; None where each has one."""
    of_class: dict[str, list[str]] = {}
    for written, name in spelling.items():
        of_class.setdefault(name, []).append(written)
    several = {name: written for name, written in of_class.items() if len(written) > 1}
    if not several:
        return None
    name, spellings = next(iter(several.items()))
    more = f", and {len(several) - 1} classes more" if len(several) > 1 else ""
    spelt = ", ".join(map(repr, spellings))
    return f"Spellings that read alike are one class: {spelt} are '{name}'{more}."
