"""`pzsl review`: a page to correct labels by hand; --apply puts the corrections into a table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pzsl.cli.common import CacheToCheck, Json, NewRuns, RunIfAny, emit
from pzsl.progress import counted

COUNT = 200


def review(
    run: RunIfAny = None,
    cache: CacheToCheck = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the page; with --apply, the table to write. [review/, table.csv]"
        ),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the pictures. [as recorded]")
    ] = None,
    count: Annotated[
        int, typer.Option(help="How many images to show, the least certain first.")
    ] = COUNT,
    apply: Annotated[
        Path | None,
        typer.Option(help="Write a table with the corrections in this file, which the page saved."),
    ] = None,
    runs: NewRuns = Path("runs"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    as_json: Json = False,
) -> None:
    """Make a page of the images with the most doubtful labels, to correct them in a browser.

    The page works offline: its pictures are embedded. It saves corrections.csv, which --apply
    merges into a table for the next run.

    \b
    pzsl review --run runs/photos/RUN
    pzsl review --run runs/photos/RUN --apply corrections.csv --out table.csv
    pzsl extract --dataset table --table table.csv --root photos
    """
    from pzsl.inference import apply_corrections
    from pzsl.inference import review as write_page
    from pzsl.requests import say_unused, unless

    if apply is not None:
        count_given = unless(COUNT, count)
        say_unused("--apply writes a table, not a page", images=images, count=count_given)
        where = out or Path("table.csv")
        merged = apply_corrections(apply, run, where, cache=cache, runs=runs, overwrite=overwrite)
        emit(merged, as_json, _corrections_text)
        return
    where = out or Path("review")
    result = write_page(
        run, where, cache=cache, images=images, count=count, runs=runs, overwrite=overwrite
    )
    emit(result, as_json, _page_text)


def _page_text(result: dict[str, Any]) -> str:
    return f"{result['page']}: {counted(result['images'], 'image')}; open it in a browser"


def _corrections_text(result: dict[str, Any]) -> str:
    images = counted(result["images"], "image")
    return (
        f"{result['table']}: {images}, {result['corrected']:,} corrected, "
        f"{result['removed']:,} left out"
    )
