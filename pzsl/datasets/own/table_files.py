"""Read any table into a pandas frame of its cells: CSV, Parquet, JSON lines, or a frame."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from pzsl.datasets.own.columns import kind_of
from pzsl.datasets.own.faults import Faults
from pzsl.datasets.own.text_files import SEPARATORS, decode, find_dialect, read_bytes, records_of
from pzsl.errors import UserError
from pzsl.files import check_regular, check_unpacked, digest, parse_json, sha256_of
from pzsl.progress import counted
from pzsl.remote import as_remote

if TYPE_CHECKING:
    import pandas as pd

PARQUET = (".parquet", ".pq")
JSON = (".json", ".jsonl", ".ndjson")
FRAME = "the frame"
WANTED_JSON = (
    'write an object for each image, one a line or in a list, such as {"path": .., "label": ..} '
    '(pandas: to_json(.., orient="records"))'
)
LINE_END = re.compile(r"\r\n|[\r\n]")
"""JSON may hold what Python takes for further ends of lines, such as U+2028."""


@dataclass
class Table:
    """The cells of a table.

    Attributes:
        name: of the file, for messages.
        frame: the cells; the index holds the place of each row, such as `line 7`.
        faults: what is wrong with it so far.
        notes: guesses about the file's format, to tell the user.
    """

    name: str
    frame: pd.DataFrame
    faults: Faults
    notes: list[str] = field(default_factory=list)


def read_table(source: Path | pd.DataFrame) -> Table:
    """Read a table.

    Args:
        source: a `.parquet` file, `.jsonl` or `.json` (a line or an entry for each image), a frame,
            or a text file with separators.

    Raises:
        UserError: it can't be read at all; faulty rows are noted in the table's `faults`.
    """
    if not isinstance(source, PurePath):
        return _of_frame(source)
    if source.suffix.lower() in PARQUET:
        return _of_parquet(source)
    if source.suffix.lower() in JSON:
        return _of_json(source)
    return _of_text(source)


def identity_of(source: Path | pd.DataFrame) -> tuple[tuple[str, str], ...]:
    """The path and the hash of a table, for a data set's origin."""
    if isinstance(source, PurePath):
        return (("table", str(source.resolve())), ("table_sha256", sha256_of(source)))
    return (("table", FRAME), ("table_sha256", digest(source.to_csv())))


def _frame(rows: list[list[Any]], columns: list[str], places: list[str]) -> pd.DataFrame:
    import pandas as pd

    frame = pd.DataFrame(rows, index=places, columns=range(len(columns)), dtype=object)
    return frame.set_axis(columns, axis=1)


def _of_text(file: Path) -> Table:
    text, encoding = decode(read_bytes(file), str(file))
    dialect = find_dialect(text)
    faults, rows, places = Faults(str(file)), [], []
    header: list[str] | None = None
    for line, fields in records_of(text, dialect, faults.note):
        while fields and not fields[-1].strip() and len(fields) > len(header or ()):
            fields.pop()
        if not any(cell.strip() for cell in fields):
            continue
        if header is None:
            header = [cell.strip() for cell in fields]
        elif len(fields) == len(header):
            rows.append(fields)
            places.append(f"line {line}")
        else:
            faults.note(
                f"line {line}",
                f"{len(fields)} fields, but the header has {len(header)}: put quotes round a "
                f"field that holds a {_singular(dialect.separator)}.",
            )
    header = header or []
    notes = []
    if dialect.separator != ",":
        notes.append(f"separated by {SEPARATORS[dialect.separator]}")
    if encoding == "cp1252":
        notes.append("not UTF-8, read as Windows-1252")
    elif not encoding.startswith("utf-8"):
        notes.append(encoding.upper())
    if dialect.above:
        notes.append(f"{counted(dialect.above, 'line')} above the header left out")
    return Table(str(file), _frame(rows, header, places), faults, notes)


def _singular(separator: str) -> str:
    return SEPARATORS[separator].removesuffix("s")


def _of_frame(frame: Any) -> Table:
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        raise UserError(f"A table is a file or a pandas frame, not a {type(frame).__name__}.")
    return _numbered(frame, FRAME)


def _numbered(frame: pd.DataFrame, name: str) -> Table:
    index = frame.index.names
    if any(header is not None and header not in frame.columns for header in index):
        frame = frame.reset_index([h for h in index if h is not None and h not in frame.columns])
    cells = frame.astype(object).set_axis([str(column) for column in frame.columns], axis=1)
    cells = cells.set_axis([f"row {number}" for number in range(1, len(frame) + 1)], axis=0)
    return Table(name, cells, Faults(name))


def _of_parquet(file: Path) -> Table:
    content = read_parquet(file)
    return _numbered(content.to_pandas(integer_object_nulls=True), str(file))


def _of_json(file: Path) -> Table:
    text, _ = decode(read_bytes(file), str(file))
    faults = Faults(str(file))
    placed_entries: list[tuple[str, Any]] = []
    if _is_one_object(text):
        raise UserError(f"{file} holds one object: {WANTED_JSON}.")
    if text.lstrip().startswith("["):
        try:
            placed_entries = [
                (f"entry {n}", entry) for n, entry in enumerate(parse_json(text), start=1)
            ]
        except ValueError as error:
            faults.note("", f"not JSON ({error}).")
    else:
        for number, line in enumerate(LINE_END.split(text), start=1):
            try:
                placed_entries += [(f"line {number}", parse_json(line))] if line.strip() else []
            except ValueError as error:
                faults.note(f"line {number}", f"not JSON ({error}).")
    for place, entry in placed_entries:
        if not isinstance(entry, dict):
            faults.note(place, 'expected an object such as {"path": .., "label": ..}.')
    entries = [(place, entry) for place, entry in placed_entries if isinstance(entry, dict)]
    columns = list(dict.fromkeys(key for _, entry in entries for key in entry))
    rows = [[entry.get(column) for column in columns] for _, entry in entries]
    return Table(str(file), _frame(rows, columns, [place for place, _ in entries]), faults)


def _is_one_object(text: str) -> bool:
    """Whether the whole text is an object that is no row: of all images, or of all columns."""
    try:
        value = parse_json(text) if text.lstrip().startswith("{") else None
    except ValueError:
        return False  # one a line, or a fault that is reported with its line
    return isinstance(value, dict) and not any(
        kind_of(key) == "path" and isinstance(cell, str) for key, cell in value.items()
    )


def read_parquet(file: Path) -> Any:
    """Read a Parquet file as a `pyarrow.Table`.

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
        check_regular(file)
        source = io.BytesIO(file.read_bytes()) if as_remote(file) else file
        about = parquet.read_metadata(source)
        groups = [about.row_group(number) for number in range(about.num_row_groups)]
        cells = 8 * about.num_rows * about.num_columns  # equal ones are stored but once
        check_unpacked(cells + sum(group.total_byte_size for group in groups), file)
        return parquet.read_table(source)
    except OSError as error:
        raise UserError(f"{file} can't be read: {error.strerror or error}.") from None
    except (ArrowException, ValueError) as error:
        raise UserError(f"{file} is not a complete Parquet file ({error}).") from None
