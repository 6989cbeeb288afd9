"""`pzsl report`: tables and figures from run records."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from pzsl.cli.common import Json, emit, words
from pzsl.progress import counted, say


def report(
    runs: Annotated[Path, typer.Argument(help="Folder of run records.")] = Path("runs"),
    out: Annotated[Path, typer.Option(help="Folder for the files.")] = Path("report"),
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format", help="html, md, latex, csv, svg, png; comma-separated. [html,md,csv]"
        ),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(help="Compare each row with this method, or with the 'best' of each setting."),
    ] = None,
    layout: Annotated[
        str,
        typer.Option(
            help="What lines and columns are: settings, methods-by-rates or methods-by-datasets."
        ),
    ] = "settings",
    metrics: Annotated[
        list[str] | None,
        typer.Option(help="Metrics to show, such as S,U,H. [settings: all, else H or S]"),
    ] = None,
    precision: Annotated[int, typer.Option(help="Digits after the point.")] = 2,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the training images, to show a few of them.")
    ] = None,
    compare: Annotated[
        Path | None,
        typer.Option(
            help="Folder of another sweep: show its differences to this one, paired by seed."
        ),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Follow a sweep until it ends, then report.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write tables (mean and sample standard deviation over seeds) and an HTML page with figures.

    \b
    pzsl report
    pzsl report runs/sun --format latex --layout methods-by-rates
    """
    from pzsl.reports import report as make_report

    if watch:
        from pzsl.sweep_progress import follow_to_the_end

        follow_to_the_end(runs, sys.stderr)

    result = make_report(
        runs,
        out,
        words(formats) or ("html", "md", "csv"),
        baseline,
        layout=layout,
        metrics=words(metrics),
        precision=precision,
        images=images,
        compare=compare,
    )
    for warning in result["warnings"]:
        say(f"Warning: {warning}")
    for run in result["failed"]:
        say(f"Failed: {run['path']}: {run['reason']}")
    for row in result["missing"]:
        seeds = ", ".join(map(str, row["seeds"]))
        say(f"Missing: {row['dataset']}, {row['label']}, {row['setting']}: seed {seeds}")
    emit(result, as_json, text_of)


def text_of(result: dict[str, Any]) -> str:
    """The tables of a report as plain text."""
    others = {"unfinished": result["unfinished"], "failed": len(result["failed"])}
    unfinished = "".join(f", {count} {name}" for name, count in others.items() if count)
    runs = counted(result["finished"], "finished run")
    counts = f"{runs}{unfinished}; mean ± sample standard deviation."
    files = "\n".join(f"wrote {file}" for file in result["files"])
    return "\n\n".join([result["text"], counts, files])
