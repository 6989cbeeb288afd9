"""CSV files with full precision: all rows, and all single runs."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from pzsl.reports.groups import Row
from pzsl.reports.records import METRICS, Run


def table_csv(rows: Sequence[Row]) -> str:
    """All rows with full precision."""
    return _csv([{**row, "seeds": " ".join(map(str, row["seeds"]))} for row in rows])


def compare_csv(rows: Sequence[Row]) -> str:
    """All rows that two sweeps have in common, with full precision."""
    return _csv(rows)


def runs_csv(pairs: Sequence[tuple[Row, list[Run]]]) -> str:
    """All single runs with full precision: the numbers behind the means."""
    names = (
        *("dataset", "cache_hash", "method", "preset", "variant"),
        *("noise", "rate", "eta", "few_shot", "imbalance"),
    )
    flat = [
        {
            **{name: row[name] for name in names},
            "seed": run.seed,
            **{metric: run.metrics[metric] for metric in METRICS},
            "path": run.path,
        }
        for row, group in pairs
        for run in group
    ]
    return _csv(flat)


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _no_formula(value) for key, value in row.items()} for row in rows)
    return buffer.getvalue()


def _no_formula(value: Any) -> Any:
    """Prefix a text with a quote if a spreadsheet would run it as a formula."""
    return (
        f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@")) else value
    )
