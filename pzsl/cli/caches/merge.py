"""`pzsl merge`: the parts of a cache, written by `pzsl extract --shard`, into one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pzsl.cli.common import Json, emit


def merge(
    out: Annotated[
        Path, typer.Option("--out", help="The cache to write; to an address it is uploaded.")
    ],
    parts: Annotated[
        list[Path] | None,
        typer.Argument(help="Part files, or addresses. [all parts of OUT, beside it]"),
    ] = None,
    virtual: Annotated[
        bool,
        typer.Option(
            "--virtual",
            help="Refer to the parts instead of copying them: they have to stay where they are.",
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a cache that exists.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Merge shards into one cache; they must cover every row once and have the same origin.

    \b
    pzsl merge --out cache/sun.h5
    pzsl merge 's3://bucket/sun.part-*-of-8.h5' --out cache/sun.h5
    """
    from pzsl.exchange import merge as run

    emit(run(parts or [], out, virtual, overwrite), as_json, _text)


def _text(result: dict[str, Any]) -> str:
    relation = "refers to" if result["virtual"] else "holds the rows of"
    scores = "  ".join(
        f"{name} {'-' if value is None else f'{value:.2f}'}"
        for name, value in result["zero_shot"].items()
    )
    return (
        f"cache      {result['cache']}, {relation} {len(result['parts'])} parts\n"
        f"images     {result['images']:,} of {result['classes']:,} classes\n"
        f"zero-shot  {scores}"
    )
