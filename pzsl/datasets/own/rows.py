"""The rows of a table file, CSV or Parquet, as plain text; each knows its place in the file."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from pzsl.datasets.annotators import Annotators
from pzsl.errors import UserError

COLUMNS = ("path", "label", "candidates", "split", "unseen")
REQUIRED = ("path", "split")
CANDIDATES = Annotators((("candidates", 1.0),))
"""The column that is read unless others are named."""
SEPARATOR = "|"
YES, NO = ("1", "true", "yes"), ("", "0", "false", "no")


class Row(NamedTuple):
    """One image of a table.

    Attributes:
        place: `line 7` of a CSV, `row 6` of a Parquet file; for messages.
        path: in forward slashes.
        label: '' where unknown.
        candidates: without repetitions.
        split: as written.
        unseen: whether the label is marked as an unseen class.
    """

    place: str
    path: str
    label: str
    candidates: tuple[str, ...]
    split: str
    unseen: bool


def read_rows(table: Path, annotators: Annotators = CANDIDATES) -> list[Row]:
    """Read a table.

    Args:
        table: the file.
        annotators: the columns that candidates are joined from.

    Raises:
        UserError: the file can't be read, a column is missing, or a row is malformed.
    """
    reader = _parquet if table.suffix.lower() in (".parquet", ".pq") else _csv
    return [_row(table, place, fields, annotators) for place, fields in reader(table, annotators)]


def _row(table: Path, place: str, fields: Mapping[str, Any], annotators: Annotators) -> Row:
    unseen = _text(fields.get("unseen")).lower()
    if unseen not in (*YES, *NO):
        raise UserError(f"{table}, {place}: 'unseen' is {unseen!r}; write 1 or 0.")
    return Row(
        place=place,
        path=_path(_text(fields["path"])),
        label=_text(fields.get("label")),
        candidates=annotators.joined([_listed(fields.get(name)) for name in annotators.columns]),
        split=_text(fields["split"]),
        unseen=unseen in YES,
    )


def _path(text: str) -> str:
    """A path in one form: forward slashes, without `./` and doubled slashes."""
    return str(PurePosixPath(text.replace("\\", "/"))) if text else ""


def _listed(value: Any) -> tuple[str, ...]:
    """The names in a cell: a list, or text with separators."""
    names = value if isinstance(value, list) else _text(value).split(SEPARATOR)
    return tuple(dict.fromkeys(name for name in map(_text, names) if name))


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _check_columns(table: Path, columns: list[str], annotators: Annotators) -> None:
    missing = [name for name in REQUIRED if name not in columns]
    if annotators is not CANDIDATES:
        missing += [name for name in annotators.columns if name not in columns]
    if not missing and not {"label", *annotators.columns} & set(columns):
        missing = ["label"]
    if missing:
        raise UserError(
            f"{table} has no column '{missing[0]}': its columns are "
            f"{', '.join(columns) or 'none'}; they should be {', '.join(COLUMNS[:4])}."
        )


def _csv(table: Path, annotators: Annotators) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, strict=True)
            header = [name.strip().lower() for name in next(lines, [])]
            _check_columns(table, header, annotators)
            for fields in lines:
                if not fields:
                    continue
                if len(fields) != len(header):
                    raise UserError(
                        f"{table}, line {lines.line_num}: {len(fields)} fields, but the header "
                        f"has {len(header)}: put quotes round a field that holds a comma."
                    )
                yield f"line {lines.line_num}", dict(zip(header, fields, strict=True))
    except csv.Error as error:
        raise UserError(f"{table}, line {lines.line_num}: {error}.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{table} is not UTF-8 text ({error.reason}): save it as UTF-8.") from None
    except OSError as error:
        raise UserError(f"{table} can't be read: {error.strerror or error}.") from None


def _parquet(table: Path, annotators: Annotators) -> Iterator[tuple[str, dict[str, Any]]]:
    content = read_parquet(table)
    content = content.rename_columns([name.strip().lower() for name in content.column_names])
    _check_columns(table, content.column_names, annotators)
    wanted = [name for name in content.column_names if name in {*COLUMNS, *annotators.columns}]
    for number, fields in enumerate(content.select(wanted).to_pylist(), start=1):
        yield f"row {number}", fields


def read_parquet(file: Path, columns: list[str] | None = None) -> Any:
    """A Parquet file as a `pyarrow.Table`; only these columns, where they are named.

    Raises:
        UserError: pyarrow isn't installed, or the file can't be read.
    """
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise UserError(
            f"{file}: Parquet files need pyarrow: pip install 'pzsl[parquet]', or use a CSV."
        ) from None
    try:
        return parquet.read_table(file, columns=columns)
    except OSError as error:
        raise UserError(f"{file} can't be read: {error.strerror or error}.") from None
    except ArrowException as error:
        raise UserError(f"{file} is no whole Parquet file ({error}).") from None
