"""Reports: `report(...)` reads run records, and nothing else, and writes tables and a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pzsl.errors import UsageError, nearest
from pzsl.files import write_atomic
from pzsl.reports.comparison import add_differences, add_marks, standings
from pzsl.reports.formats import latex, markdown, runs_csv, table_csv
from pzsl.reports.groups import Row, rows_of
from pzsl.reports.records import Records, Run, read_runs

FORMATS = ("html", "md", "latex", "csv")


def report(
    runs: str | Path = "runs/",
    out: str | Path = "report/",
    formats: Sequence[str] = ("html", "md", "csv"),
    baseline: str | None = None,
) -> dict[str, Any]:
    """Summarise every finished run below a folder.

    Args:
        runs: folder of run records, searched at any depth.
        out: folder for the files; made when missing.
        formats: some of `FORMATS`.
        baseline: a method or a row's label that every row of its setting is compared with over
            the seeds; `best`: the row of the highest H of each setting.

    Returns:
        `rows`: one dict for each data set, method and setting, with `n`, and `_mean` and `_std`
        (ddof = 1; None for one seed) of each metric, a `_mark` as `add_marks` tells, and with a
        baseline the differences that `add_differences` tells; `standings` over all data sets and
        settings; `files`: what was written; `finished` and
        `unfinished` runs; `warnings`: one line for each record that was left out or mixed.

    Raises:
        UsageError: an unknown format, or a baseline that no row or several rows are named.
        UserError: no finished run.
    """
    for name in formats:
        if name not in FORMATS:
            raise UsageError(f"Unknown format '{name}'.{nearest(name, list(FORMATS))}")
    records = read_runs(Path(runs))
    pairs = rows_of(records.runs)
    add_marks(pairs)
    records.warnings += _mixed(records.runs)
    records.warnings += add_differences(pairs, baseline) if baseline else []
    contents = _contents(pairs, records, formats)
    for name, content in contents.items():
        write_atomic(Path(out) / name, content)
    return {
        "rows": [row for row, _ in pairs],
        "standings": standings(pairs),
        "files": [str(Path(out) / name) for name in contents],
        "finished": len(records.runs),
        "unfinished": records.unfinished,
        "warnings": records.warnings,
    }


def _contents(
    pairs: list[tuple[Row, list[Run]]], records: Records, formats: Sequence[str]
) -> dict[str, str]:
    """The files of each format, by name."""
    rows = [row for row, _ in pairs]
    contents = {}
    if "html" in formats:
        from pzsl.reports.page import render

        contents["index.html"] = render(pairs, records)
    if "md" in formats:
        contents["table.md"] = markdown(rows, records.warnings)
    if "latex" in formats:
        contents["table.tex"] = latex(rows)
    if "csv" in formats:
        contents["table.csv"] = table_csv(rows)
        contents["runs.csv"] = runs_csv(pairs)
    return contents


def _mixed(runs: Sequence[Run]) -> list[str]:
    """A warning for each data set whose runs come from several caches."""
    caches: dict[str, set[str]] = {}
    for run in runs:
        caches.setdefault(run.dataset, set()).add(run.cache_hash)
    return [
        f"The runs on {name} come from {len(hashes)} different caches "
        f"({', '.join(sorted(short[:8] or 'unknown' for short in hashes))}): "
        "they are shown apart, and their numbers should not be compared."
        for name, hashes in sorted(caches.items())
        if len(hashes) > 1
    ]


__all__ = ["FORMATS", "report"]
