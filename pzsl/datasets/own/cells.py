"""Cells of a table: texts, numbers, and lists as people and programs write them."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

EMPTY = ("<NA>", "NaT")
"""How pandas prints a missing value."""
BRACKETS = {"[": "]", "(": ")", "{": "}"}
LONGEST = 1 << 20
"""Letters of a list in brackets that are looked at."""


def text_of(value: Any) -> str:
    """A cell as text without blanks around it; '' where it is empty. A number 3.0 is `3`."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = str(value).strip()
    return "" if text in EMPTY else text


def names_of(value: Any, separator: str) -> tuple[str, ...]:
    """The names in a cell, each once: a list, a list as Python or JSON prints it, or separated."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    names = value if isinstance(value, list | tuple | set) else printed_list(text_of(value))
    if names is None:
        names = text_of(value).split(separator)
    return tuple(dict.fromkeys(name for name in map(text_of, names) if name))


def printed_list(text: str) -> Sequence[Any] | None:
    """The entries of a list such as `['a', 'b']`, `["a", "b"]` or `['a' 'b']` (numpy's).

    Returns:
        None where the text is no list in brackets.
    """
    if not 1 < len(text) < LONGEST or BRACKETS.get(text[0]) != text[-1]:
        return None
    if not re.match(r"""[\[({]\s*(['"].*['"]\s*,?|[-+.\d\s,]*|nan|None)\s*[\])}]$""", text, re.S):
        return None
    commas = re.sub(r"""(['"])\s+(?=['"])""", r"\1, ", text)
    try:
        value = ast.literal_eval(commas)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    if isinstance(value, str | int | float):
        return [value]
    return list(value) if isinstance(value, list | tuple | set | dict) else None


def list_separator(cells: Iterable[str], labels: Iterable[str] = ()) -> str:
    """What separates the names in a column of candidates: `|`, else `;` or `,` where that fits.

    A comma may belong to a name. It separates where the pieces recur: they are fewer different
    ones than the cells are, and the labels, where there are some, are among them.

    Args:
        cells: of the column.
        labels: names that are known to be one class each.
    """
    whole = {cell for cell in cells if cell and printed_list(cell) is None}
    if any("|" in cell for cell in whole):
        return "|"
    known = {label for label in labels if label}
    for separator in (";", ","):
        if not any(separator in cell for cell in whole) or known & {
            cell for cell in whole if separator in cell
        }:
            continue
        pieces = {piece.strip() for cell in whole for piece in cell.split(separator)} - {""}
        covered = len(known & pieces) > len(known & whole) or (known and known <= pieces)
        if covered or len(pieces) < len(whole):
            return separator
    return "|"
