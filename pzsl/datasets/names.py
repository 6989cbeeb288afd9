"""Class names: tidy them, compare them, and merge spellings of the same name."""

from __future__ import annotations

import html
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache

QUOTES = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛`´′ʼʻ", "'"),
        **dict.fromkeys("“”„‟«»″", '"'),
        **dict.fromkeys("‐‑‒–—−", "-"),
    }
)
"""Typographic quotes and dashes -> those on a keyboard."""
INVISIBLE = dict.fromkeys(
    (
        *map(ord, "\u200b\u2060\ufeff\u00ad\u061c\u200e\u200f"),
        *range(0x202A, 0x202F),
        *range(0x2066, 0x206A),
    )
)
"""Characters without width, which copying from web pages and dialogs adds to names."""
SCIENTIFIC = re.compile(r"[+-]?\d\.\d{2,}e\+0\d")
"""A number as `numpy.savetxt` and `printf("%e")` write it."""
WHOLE_NUMBER = re.compile(r"([+-]?)0*(\d+)(?:[.,]0{1,2})?")


def tidy(name: str) -> str:
    """Clean a class name for prompts and caches.

    HTML entities are resolved, letters composed (NFC), and underscores, which a tokenizer takes for
    tokens of their own, and runs of white space replaced by one blank. UTF-8 that was read as
    Windows-1252 is read again (`Ã©` -> `é`). A whole number written as a decimal loses its zeros
    (`3.0` -> `3`), because pandas writes such numbers in columns with missing values; three zeros
    can be thousands, and stay.
    """
    text = _read_again(html.unescape(html.unescape(name))).translate(INVISIBLE)
    text = " ".join(unicodedata.normalize("NFC", text).replace("_", " ").split())
    if _read_again(text) != text:
        return tidy(text)
    if SCIENTIFIC.fullmatch(text) and float(text).is_integer():
        return str(int(float(text)))
    return re.sub(r"^([+-]?\d+)([.,]0{1,2}|\.|\.0{4,})$", r"\1", text)


def _read_again(text: str) -> str:
    """The text that was UTF-8 before a program read its bytes as Windows-1252, if it was."""
    try:
        return text.encode("cp1252").decode("utf-8")
    except UnicodeError:
        return text


@lru_cache(maxsize=1 << 16)  # the names of a table recur in each of its rows
def normal_form(name: str) -> str:
    """The form in which class names are compared: two names with the same form are one class.

    Ignores case, HTML entities, kinds of quotes and dashes, and the difference between blanks and
    underscores (NFKC); numbers are compared as numbers.
    """
    text = tidy(name).translate(QUOTES)
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    text = " ".join(text.replace("_", " ").split())
    if len(text) > 2 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1].strip()
    number = WHOLE_NUMBER.fullmatch(text)
    return f"{number[1].strip('+')}{number[2]}" if number else text


def first_alike(names: Iterable[str]) -> tuple[str, str] | None:
    """The first two names that are the same class, in their order; None if all differ."""
    first: dict[str, str] = {}
    for name in names:
        form = normal_form(name)
        if form in first:
            return first[form], name
        first[form] = name
    return None


def join_spellings(names: Iterable[str], listed: Iterable[str] = ()) -> dict[str, str]:
    """Choose one spelling for each class.

    Args:
        names: all occurrences, with repetitions.
        listed: spellings that take precedence.

    Returns:
        Each spelling -> the listed one, or else the most frequent one (ties go to the first),
        tidied.
    """
    counts = Counter(names)
    chosen = {normal_form(name): name for name in listed}
    for name, _ in counts.most_common():
        chosen.setdefault(normal_form(name), tidy(name))
    return {name: chosen[normal_form(name)] for name in counts}


def joined_spellings_message(spelling: Mapping[str, str]) -> str | None:
    """A message about names that occur in several spellings; None if each has only one."""
    of_class: dict[str, list[str]] = {}
    for spelling_, name in spelling.items():
        of_class.setdefault(name, []).append(spelling_)
    several = {name: spelling_ for name, spelling_ in of_class.items() if len(spelling_) > 1}
    if not several:
        return None
    name, spellings = next(iter(several.items()))
    remaining = f", and {len(several) - 1} classes more" if len(several) > 1 else ""
    spelt = ", ".join(map(repr, spellings))
    return f"Spellings that read alike are one class: {spelt} are '{name}'{remaining}."
