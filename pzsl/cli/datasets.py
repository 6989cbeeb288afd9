"""`pzsl datasets`: the known data sets, what each needs, and how to fetch them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pzsl.cli.common import Json, emit, table
from pzsl.cli.options import App
from pzsl.progress import shell_word

app = App(invoke_without_command=True)


@app.callback()
def datasets(context: typer.Context, as_json: Json = False) -> None:
    """List the known data sets: what each is, what it needs, and how it is fetched.

    \b
    pzsl datasets
    pzsl datasets fetch sun
    """
    if context.invoked_subcommand:
        return
    from pzsl.datasets import SOURCES, describe

    emit({"datasets": [describe(name) for name in SOURCES]}, as_json, _text)


@app.command(short_help="Download a published data set.")
def fetch(
    name: Annotated[str, typer.Argument(help="sun, cub, awa2, apy or flo.")],
    root: Annotated[
        Path | None, typer.Option(help="Folder to put it in. [$PZSL_DATA/NAME or data/NAME]")
    ] = None,
    as_json: Json = False,
) -> None:
    """Download a published data set and its split files, verify and unpack them; resumable.

    \b
    pzsl datasets fetch sun
    pzsl datasets fetch cub --root /data/cub
    """
    from pzsl.datasets.fetching import fetch as run

    emit(run(name, root), as_json, _fetched)


def _text(result: dict[str, Any]) -> str:
    rows = [(row["name"], row["needs"], row["about"]) for row in result["datasets"]]
    lines = [table(rows, ("name", "needs", "what it is")), ""]
    for row in result["datasets"]:
        if row["fetch"]:
            sizes = "; ".join(f"{item['file']} ({item['size']})" for item in row["downloads"])
            lines += [row["fetch"], f"  {sizes}", f"  licence: {row['licence']}; {row['home']}"]
    return "\n".join(lines)


def _fetched(result: dict[str, Any]) -> str:
    rows = [(row["file"], row["bytes"], row["unpacked"], row["checked"]) for row in result["files"]]
    return "\n".join(
        [
            table(rows, ("archive", "bytes", "files unpacked", "held to")),
            f"{result['dataset']} is in {result['root']}: pzsl extract {_extract(result)}",
            "The archives may be deleted; a second fetch does not need them.",
        ]
    )


def _extract(result: dict[str, Any]) -> str:
    """Options for `pzsl extract`: --root only if the folder isn't one of the usual places."""
    from pzsl.datasets.fetching import usual_places

    name, root = result["dataset"], Path(result["root"])
    elsewhere = "" if root in usual_places(name) else f" --root {shell_word(root)}"
    return f"--dataset {name}{elsewhere}"
