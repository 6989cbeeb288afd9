"""`pzsl methods`: the methods that can be trained, their papers and their options."""

from __future__ import annotations

import shutil
import textwrap
from typing import Annotated, Any

import typer

from pzsl.cli.common import Json, emit, table


def methods(
    method: Annotated[
        str | None, typer.Argument(help="List the options of this method and their defaults.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the methods: what each does, what it needs, its presets, and its paper.

    With a method's name, list the options that `pzsl train --set` and `--off` change.

    \b
    pzsl methods
    pzsl methods clip-pzsl
    pzsl train --cache cache/sun.h5 --method clip-pzsl --set rank=64 --off balance
    """
    from pzsl.methods.registry import describe

    if method is None:
        emit({"methods": describe()}, as_json, _text)
        return
    from pzsl.methods.option_help import describe_options

    emit({"method": method, "options": describe_options(method)}, as_json, _options_text)


def _text(result: dict[str, Any]) -> str:
    descriptions = result["methods"]
    rows = [
        (row["name"], row["needs"], ", ".join(row["presets"]), row["about"]) for row in descriptions
    ]
    lines = [table(rows, ("name", "needs", "presets", "what it does")), ""]
    sources = [(row["name"], row["year"] or "", row["paper"]) for row in descriptions]
    return "\n".join([*lines, table(sources, ("name", "year", "source"))])


def _options_text(result: dict[str, Any]) -> str:
    width = shutil.get_terminal_size().columns
    lines = [f"Options of {result['method']}, with their defaults"]
    for option in result["options"]:
        default = option["default"]
        shown = ("off", "on")[default] if isinstance(default, bool) else default
        allowed = f"  ({option['allowed']})" if option["allowed"] else ""
        lines += ["", f"{option['name']}={shown}{allowed}"]
        lines += textwrap.wrap(
            option["about"], width, initial_indent="    ", subsequent_indent="    "
        )
    return "\n".join(lines)
