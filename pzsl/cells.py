"""Parse the cells of a table: texts, numbers and lists, as people and programs write them."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pzsl.errors import UserError

SEPARATOR = "|"
"""Separates the names of a list in a CSV that pzsl writes."""
EMPTY = ("<NA>", "NaT")
"""How pandas prints a missing value."""
BRACKETS = {"[": "]", "(": ")", "{": "}"}
WRAPPED = re.compile(
    r"(?:set|frozenset|array|deque|Index)\(\s*([\[({].*[\])}])?\s*(?:,\s*dtype=.*)?\)", re.S
)
"""How Python prints a list of another type; the list itself, if it isn't empty, is the group."""
LIST = re.compile(r"""\w*\(\s*(['"[{]|np\.).*\)$""", re.S)
"""What begins as a tuple, or a list of another type, does; a name such as `owl (barn)` does not."""
SCALAR = re.compile(r"""\bnp\.\w+\(((['"]).*?\2|[-+.\d]+)\)""")
"""How NumPy prints a text or a number within a list; the text or the number is the first group."""
LATE = "is a quote closed too late?"
LONGEST = 1 << 20
"""Longer cells are not parsed as a list in brackets."""


def text_of(value: Any) -> str:
    """A cell as stripped text; '' if it is empty. The number 3.0 becomes `3`."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace").strip()
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = str(value).strip()
    return "" if text in EMPTY else text


def names_of(value: Any, separator: str) -> tuple[str, ...]:
    """The unique names in a cell: a list, a printed list (Python, JSON), or separated text."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    names = value if isinstance(value, list | tuple | set) else printed_list(text_of(value))
    if names is None:
        names = text_of(value).split(separator)
    return tuple(dict.fromkeys(name for name in map(text_of, names) if name))


def printed_list(text: str) -> Sequence[Any] | None:
    """The entries of a printed list: `['a', 'b']`, `["a", "b"]`, `['a' 'b']` (numpy's), `set()`.

    Returns:
        None if the text is not a list in brackets.
    """
    if len(text) >= LONGEST:
        return None
    if wrapped := WRAPPED.fullmatch(text):
        text = wrapped[1] or "[]"
    text = SCALAR.sub(r"\1", text)
    if len(text) < 2 or BRACKETS.get(text[0]) != text[-1]:
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


def cell_fault(value: Any, as_list: bool = False) -> str | None:
    """Why a cell can't be read as a text, or as a list of texts; None if it can."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if as_list and isinstance(value, list | tuple | set):
        faults = map(cell_fault, value)
        return next((fault for fault in faults if fault), None)
    if isinstance(value, list | tuple | set | dict):
        kind = "an object" if isinstance(value, dict) else "a list"
        return f"{kind} in place of a text: {str(value)[:60]}."
    if not isinstance(value, str) or (text := value.strip()) == "":
        return None
    is_list = text[0] + text[-1] in ("[]", "{}") or (as_list and LIST.match(text))
    if is_list and printed_list(text) is None:
        return f"{text[:60]} is not a list that can be read: separate the names by |."
    if "\n" in text or "\r" in text:
        return (
            None if printed_list(text) is not None else f"{text[:60]!r} holds a line break: {LATE}"
        )
    return None


def refuse_misread(names: Iterable[str], out: Path, remedy: str) -> None:
    """Refuse to write class names that are read as something else from a cell of a CSV.

    Raises:
        UserError: a name holds the separator or a line break, begins or ends with a blank, or looks
            like a list or a missing value.
    """
    for name in names:
        if names_of(name, SEPARATOR) != (name,) or cell_fault(name):
            raise UserError(
                f"{out}: the class name '{name}' can't stand in a list separated by {SEPARATOR}, "
                f"or would be read as one: {remedy}."
            )


def list_separator(cells: Iterable[str], labels: Iterable[str] = ()) -> str:
    """The separator of the names in a column of candidates: `|`, or else `;` or `,` if plausible.

    A comma may also belong to a name. It is taken for a separator if the pieces are among the
    labels, or recur, so that there are fewer different pieces than cells.

    Args:
        cells: of the column.
        labels: names that are known to be one class each.
    """
    whole = {cell for cell in cells if cell and printed_list(cell) is None}
    if any("|" in cell for cell in whole):
        return "|"
    label_names = {label for label in labels if label}
    for separator in (";", ","):
        if not any(separator in cell for cell in whole) or label_names & {
            cell for cell in whole if separator in cell
        }:
            continue
        pieces = {piece.strip() for cell in whole for piece in cell.split(separator)} - {""}
        covered = len(label_names & pieces) > len(label_names & whole) or (
            label_names and label_names <= pieces
        )
        if covered or len(pieces) < len(whole):
            return separator
    return "|"
