"""`pzsl report`: tables and figures from run records."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pzsl.cli.common import emit, table, words
from pzsl.progress import say


def report(
    runs: Annotated[Path, typer.Argument(help="Folder of run records.")] = Path("runs"),
    out: Annotated[Path, typer.Option(help="Folder for the files.")] = Path("report"),
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", help="html, md, latex, csv; repeated or comma-separated."),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(help="Compare each row with this method, or with the 'best' of its setting."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Tables (mean and sample standard deviation over seeds) and one HTML page with figures."""
    from pzsl.reports import report as make_report

    result = make_report(runs, out, words(formats) or ("html", "md", "csv"), baseline)
    for warning in result["warnings"]:
        say(f"Warning: {warning}")
    emit(result, as_json, text_of)


def text_of(result: dict[str, Any]) -> str:
    """The table of a report's answer, for people."""
    from pzsl.reports.formats import SCORES, cell, noise_text, rate_text, sections

    blocks = []
    for title, rows in sections(result["rows"]):
        lines = [
            [row["label"], noise_text(row), rate_text(row["rate"]), row["n"]]
            + [cell(row, metric) for metric in SCORES]
            for row in rows
        ]
        blocks.append(f"{title}\n{table(lines, ('method', 'noise', 'rate', 'n', *SCORES))}")
    unfinished = f", {result['unfinished']} unfinished" if result["unfinished"] else ""
    counts = f"{result['finished']} finished runs{unfinished}; mean ± sample standard deviation."
    return "\n\n".join([*blocks, counts, "\n".join(f"wrote {file}" for file in result["files"])])
