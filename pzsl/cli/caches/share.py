"""`pzsl push` and `pzsl pull`: caches on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pzsl.cli.common import Json, emit
from pzsl.progress import shell_word


def push(
    cache: Annotated[Path, typer.Argument(help="The cache to share.")],
    to: Annotated[str, typer.Option(help="Repository on the hub: USER/NAME.")],
    as_json: Json = False,
) -> None:
    """Share a cache on the Hugging Face hub, with a card and its checksum.

    \b
    pzsl push cache/sun.h5 --to USER/sun-vit-b-32
    """
    from pzsl.exchange import push as run

    emit(run(cache, to), as_json, _pushed)


def pull(
    source: Annotated[str, typer.Argument(help="Repository on the hub: USER/NAME.")],
    out: Annotated[
        Path | None, typer.Option(help="The cache to write. [cache/ and its name there]")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file.")] = False,
    as_json: Json = False,
) -> None:
    """Download a shared cache from the Hugging Face hub and verify its checksum.

    \b
    pzsl pull USER/sun-vit-b-32
    pzsl train --cache cache/sun.h5
    """
    from pzsl.exchange import pull as run

    emit(run(source, out, overwrite), as_json, _pulled)


def _pushed(result: dict[str, Any]) -> str:
    return f"{result['file']} is at {result['url']}; others: pzsl pull {result['repository']}"


def _pulled(result: dict[str, Any]) -> str:
    about = f"{result['dataset']} by {result['encoder']}, {result['bytes']:,} bytes"
    return f"{result['cache']}: {about}; next: pzsl train --cache {shell_word(result['cache'])}"
