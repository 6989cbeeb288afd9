"""`pzsl refine`: clean labels of the training images of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pzsl.cli.common import emit


def refine(
    run: Annotated[Path, typer.Option(help="Folder of a finished run.")],
    out: Annotated[Path, typer.Option(help="The table to write.")] = Path("labels.csv"),
    cache: Annotated[
        Path | None, typer.Option(help="The run's cache, where it has moved. [as recorded]")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the table.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """The label that a run settled on for each training image, and how sure it is, as CSV."""
    from pzsl.inference import refine as run_refine

    emit(run_refine(run, out, cache=cache, overwrite=overwrite), as_json, _text)


def _text(result: dict[str, Any]) -> str:
    lines = [
        f"{result['out']}: {result['images']:,} training images",
        f"confidence   {result['mean_confidence']:.2f} % on average, below one half for "
        f"{result['unsure']:,} images",
        f"outside      {result['outside']:,} images have a label that is no candidate of theirs",
    ]
    if result["disambiguation"] is not None:
        lines.append(f"right        {result['disambiguation']:.2f} % of the labels")
    return "\n".join(lines)
