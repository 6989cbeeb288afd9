"""Tables of labels as CSV, Parquet or JSON lines, which `extract --dataset table` reads again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pzsl.cells import SEPARATOR, refuse_misread
from pzsl.errors import UsageError, UserError
from pzsl.files import replacing

SUFFIXES = (".csv", ".parquet", ".json", ".jsonl")


def check_out(out: Path, overwrite: bool) -> None:
    """Refuse, before any work is done, a table that could not be written.

    Raises:
        UsageError: an unknown ending.
        UserError: the file exists, or pyarrow is missing.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--out {out}: its suffix should be one of {', '.join(SUFFIXES)}.")
    if out.exists() and not overwrite:
        raise UserError(f"{out} exists already: give another --out, or --overwrite.")
    if out.suffix.lower() == ".parquet":
        try:
            import pyarrow  # noqa: F401
        except ImportError:
            raise UserError(
                f"{out}: Parquet files need pyarrow: pip install 'pzsl[parquet]', or use a CSV."
            ) from None


def check_names(out: Path, names: Sequence[str]) -> None:
    """Refuse class names that are read as something else from a CSV; other formats hold any.

    Raises:
        UserError: see `refuse_misread`.
    """
    if out.suffix.lower() == ".csv":
        refuse_misread(names, out, "write .parquet or .json instead")


def write_table(out: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    """Write columns of equal length, in the format of the file's ending.

    Args:
        out: `.csv` (lists are joined by `|`), `.parquet`, or `.json` (one list of records) or
            `.jsonl` (a record a line).
        columns: text, numbers, True and False, lists of these.

    Raises:
        UserError: the file can't be written.
    """
    import pandas as pd

    suffix = out.suffix.lower()
    if suffix == ".csv":
        columns = {name: [_cell(value) for value in values] for name, values in columns.items()}
    frame = pd.DataFrame(columns)
    try:
        with replacing(out) as temporary:
            if suffix == ".csv":
                frame.to_csv(temporary, index=False, lineterminator="\n", encoding="utf-8")
            elif suffix == ".parquet":
                frame.to_parquet(temporary, index=False, engine="pyarrow")
            else:
                lines = suffix == ".jsonl"
                indent = None if lines else 1
                frame.to_json(
                    temporary, orient="records", lines=lines, indent=indent, force_ascii=False
                )
    except OSError as error:
        raise UserError(f"{out} can't be written: {error.strerror or error}.") from None


def _cell(value: Any) -> Any:
    """A value as a cell of a CSV."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, list):
        return SEPARATOR.join(str(_cell(entry)) for entry in value)
    return value
