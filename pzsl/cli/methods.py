"""`pzsl methods`: the methods that can be trained, and their papers."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pzsl.cli.common import emit, table


def methods(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """List the methods: what each does, what it needs, its presets, and its paper.

    \b
    pzsl methods
    """
    from pzsl.methods.registry import describe

    emit({"methods": describe()}, as_json, _text)


def _text(result: dict[str, Any]) -> str:
    descriptions = result["methods"]
    rows = [
        (row["name"], row["needs"], ", ".join(row["presets"]), row["about"]) for row in descriptions
    ]
    lines = [table(rows, ("name", "needs", "presets", "what it does")), ""]
    sources = [(row["name"], row["year"] or "", row["paper"]) for row in descriptions]
    return "\n".join([*lines, table(sources, ("name", "year", "source"))])
