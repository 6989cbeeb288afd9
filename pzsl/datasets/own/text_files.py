"""Read comma-separated files of any program: detect encoding, separator and quotes."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from pzsl.datasets.own.columns import kind_of
from pzsl.errors import UserError
from pzsl.files import check_regular

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
"""First bytes of Excel's files, new and old."""
BLANKS = "\t\r\n\f\v"
ABOVE = 10
"""Most lines above the header."""
MOST_QUOTES = 20
"""Wrong quotes after which the rest of a file isn't read."""
LARGEST_FIELD = 2**31 - 1
"""Longest field: the largest limit that the csv module accepts on every system."""


class Dialect(NamedTuple):
    """The format of a file.

    Attributes:
        separator, quote: of its fields.
        wrapped: whether each whole line is one quoted field.
        above: number of records above the header.
    """

    separator: str
    quote: str
    wrapped: bool = False
    above: int = 0


class Record(NamedTuple):
    """One line of a file: its number (of the last, where quotes hold line breaks) and fields."""

    line: int
    fields: list[str]


def decode(content: bytes, where: str) -> tuple[str, str]:
    """Decode bytes; return the text and its encoding: UTF-8, UTF-16, UTF-32 or Windows-1252.

    Raises:
        UserError: it is an Excel workbook, or no text.
    """
    if content.startswith(WORKBOOKS):
        raise UserError(
            f"{where} is a workbook, as of Excel: save it as 'CSV UTF-8' and give that file."
        )
    marked = next((name for mark, name in MARKS if content.startswith(mark)), None)
    head = content[:4096]
    zeros = {"utf-16-le": head[1::2].count(0), "utf-16-be": head[::2].count(0)}
    if marked is None and 8 * max(zeros.values()) > len(head):  # a stray one makes no UTF-16
        marked = max(zeros, key=lambda name: zeros[name])
    for encoding in [marked] if marked else ["utf-8", "cp1252"]:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        strange = {letter for letter in set(text) if letter < " " and letter not in BLANKS}
        if not strange:
            return text, encoding
        if encoding == "utf-8":  # text else, so it is told what it holds
            at = min(map(text.index, strange))
            line = text.count("\n", 0, at) + 1
            raise UserError(
                f"{where}, line {line} holds the control character {text[at]!r}: remove it."
            )
    raise UserError(f"{where} is not text in UTF-8, UTF-16 or Windows-1252: save it as UTF-8.")


def find_dialect(text: str) -> Dialect:
    """The dialect that yields the most known headers in the first lines; by default `,` and `"`."""
    has_sep_line = text[:4].lower() == "sep="  # Excel's own first line
    separators = [text[4:5]] if has_sep_line and text[4:5] in SEPARATORS else list(SEPARATORS)
    skipped = 1 if has_sep_line else 0
    best, most = Dialect(separators[0], '"', above=skipped), (0, 0)
    for separator in separators:
        for quote, wrapped in (('"', False), ("'", False), ('"', True)):
            trial = Dialect(separator, quote, wrapped)
            for number, fields in enumerate(_first_fields(text, trial, skipped)):
                kinds = {kind_of(f) for f in fields if f[:1] not in "'\""} - {None}
                score = (len(kinds), len(fields))
                if score > most and (len(kinds) > 1 or number == 0):
                    best, most = trial._replace(above=skipped + number), score
    return best


def _first_fields(text: str, dialect: Dialect, skipped: int) -> list[list[str]]:
    """Fields of the first lines; [] if they can't be of that dialect."""
    try:
        lines = io.StringIO(text, newline="")
        records = islice(_parsed(lines, dialect, strict=False), skipped, skipped + ABOVE)
        return [record.fields for record in records]
    except csv.Error:
        return []


def records_of(text: str, dialect: Dialect, note: Callable[[str, str], None]) -> Iterator[Record]:
    """The header and the records below it.

    A record whose quotes are wrong is left out, and the reading goes on in the line after the one
    in which it starts, so that an open quote doesn't hide the rest of the file.

    Args:
        text: of the file.
        dialect: its format.
        note: is called with the line and the fault of each such record.
    """
    lines = list(io.StringIO(text, newline=""))
    start = count = 0
    for _ in range(MOST_QUOTES):
        line = start
        try:
            for record in _parsed(lines[start:], dialect, strict=True):
                line, count = start + record.line, count + 1
                if count > dialect.above:
                    yield Record(line, record.fields)
            return
        except csv.Error as error:
            start, count = line + 1, count + 1
            if count > dialect.above:
                note(f"line {line + 1}", _quote_fault(error))


def _quote_fault(error: csv.Error) -> str:
    if "unexpected end" in str(error):
        return "a quote is opened, but not closed: close it, or remove it."
    return f"{error}: close the quotes that are opened."


def _parsed(lines: Iterable[str], dialect: Dialect, strict: bool) -> Iterator[Record]:
    csv.field_size_limit(LARGEST_FIELD)
    reader = csv.reader(lines, delimiter=dialect.separator, quotechar=dialect.quote, strict=strict)
    for fields in reader:
        if dialect.wrapped and len(fields) == 1:
            inner = csv.reader(
                io.StringIO(fields[0], newline=""), delimiter=dialect.separator, strict=strict
            )
            fields = next(inner, [])  # noqa: PLW2901
        yield Record(reader.line_num, fields)


def read_bytes(file: Path) -> bytes:
    """The bytes of a file.

    Raises:
        UserError: it can't be read.
    """
    try:
        check_regular(file)
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"{file} can't be read: {error.strerror or error}.") from None
