"""`pzsl export`: a cache as a file that other tools read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pzsl.cli.common import Json, emit, words
from pzsl.progress import counted


def export(
    cache: Annotated[Path, typer.Argument(help="A complete cache.")],
    out: Annotated[
        Path | None,
        typer.Option(help="File (.npz, .parquet) or folder to write. [the cache's folder]"),
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", help="npz, parquet; comma-separated or repeated. [npz]"),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that exist.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write a cache as .npz (all of it; 'pzsl import' reads it back) or Parquet (its images).

    \b
    pzsl export cache/sun.h5 --out sun.npz
    """
    from pzsl.exchange import export_any

    emit(export_any(cache, out, words(formats), overwrite), as_json, _text)


def _text(result: dict[str, Any]) -> str:
    classes = counted(result["classes"], "class", "classes")
    count = f"{counted(result['images'], 'image')}, {classes}"
    return "\n".join([f"{result['cache']}: {count}", *(f"wrote {f}" for f in result["files"])])
