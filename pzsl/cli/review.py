"""`pzsl review`: a page to correct labels by hand, and its corrections into a table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pzsl.cli.common import emit


def review(
    run: Annotated[
        Path | None, typer.Option(help="Folder of a finished run. [trained on --cache]")
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(help="Without --run, the cache to train on; else the run's, if it has moved."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the page, or the table. [review/, table.csv]")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the pictures. [as recorded]")
    ] = None,
    count: Annotated[int, typer.Option(help="How many images to show.")] = 200,
    apply: Annotated[
        Path | None, typer.Option(help="corrections.csv of the page: write a table with them.")
    ] = None,
    runs: Annotated[
        Path, typer.Option(help="Folder of run records, where a run is trained.")
    ] = Path("runs"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """One page of the images whose labels are most in doubt, to be corrected in a browser.

    The page holds its pictures and asks for nothing from a network. It saves corrections.csv,
    which --apply merges into a table for the next run.

    \b
    pzsl review --run runs/photos/RUN
    pzsl review --run runs/photos/RUN --apply corrections.csv --out table.csv
    pzsl extract --dataset table --table table.csv --root photos
    """
    from pzsl.inference import apply_corrections
    from pzsl.inference import review as write_page

    if apply is not None:
        where = out or Path("table.csv")
        merged = apply_corrections(apply, run, where, cache=cache, runs=runs, overwrite=overwrite)
        emit(merged, as_json, _merged)
        return
    where = out or Path("review")
    found = write_page(
        run, where, cache=cache, images=images, count=count, runs=runs, overwrite=overwrite
    )
    emit(found, as_json, _written)


def _written(result: dict[str, Any]) -> str:
    return f"{result['page']}: {result['images']:,} images; open it in a browser"


def _merged(result: dict[str, Any]) -> str:
    return (
        f"{result['table']}: {result['images']:,} images, {result['corrected']:,} corrected, "
        f"{result['removed']:,} left out"
    )
