"""`pzsl refine`: the old name of `pzsl labels`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pzsl.cli.common import Json, RunCache, emit
from pzsl.cli.labels import text_of


def refine(
    run: Annotated[Path, typer.Option(help="Folder of a finished run.")],
    out: Annotated[Path, typer.Option(help="The table to write.")] = Path("labels.csv"),
    cache: RunCache = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the table.")] = False,
    as_json: Json = False,
) -> None:
    """Write a run's label for each training image: like `labels`, with all candidates.

    \b
    pzsl refine --run runs/sun/RUN --out labels.csv
    """
    from pzsl.inference import refine as run_refine

    emit(run_refine(run, out, cache=cache, overwrite=overwrite), as_json, text_of)
