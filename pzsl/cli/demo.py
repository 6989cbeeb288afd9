"""`pzsl demo`: the whole pipeline on the built-in data and encoder, offline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pzsl.cli.common import Json, emit
from pzsl.cli.report import text_of


def demo(
    out: Annotated[Path, typer.Option(help="Folder of cache, runs and report.")] = Path("demo"),
    seeds: Annotated[int, typer.Option(help="How many seeds.")] = 3,
    as_json: Json = False,
) -> None:
    """Extract, train and report on the built-in data set and encoder; needs no network.

    \b
    pzsl demo
    pzsl demo --out somewhere
    """
    from pzsl.demo import run_demo

    emit(run_demo(out, seeds), as_json, _text)


def _text(result: dict[str, Any]) -> str:
    return text_of(result["report"])
