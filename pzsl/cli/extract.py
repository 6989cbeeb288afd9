"""`pzsl extract`: stage one, from images to a feature cache."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pzsl.cli.common import emit, people, words
from pzsl.cli.common import table as aligned
from pzsl.cli.options import from_request
from pzsl.requests import OUTPUT, OWN, ExtractRequest

SHOWN = 20
"""Failed images that are listed; all are in the JSON."""


@from_request(ExtractRequest)
def extract(
    given: dict[str, Any],
    annotators: Annotated[
        list[str] | None,
        typer.Option(
            help="Columns of several people, joined: NAME or NAME:WEIGHT (table).",
            rich_help_panel=OWN,
        ),
    ] = None,
    agree: Annotated[
        float | None,
        typer.Option(
            help="Least sum of their weights for a label to join. [any]", rich_help_panel=OWN
        ),
    ] = None,
    float16: Annotated[
        bool,
        typer.Option("--float16", help="The same as --dtype float16.", rich_help_panel=OUTPUT),
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print one JSON document.", rich_help_panel=OUTPUT),
    ] = False,
) -> None:
    """Encode the images and class names of a data set once, into a cache; resumes after a kill.

    \b
    pzsl extract --dataset sun
    pzsl extract --dataset folder --root photos --model ViT-L-14
    pzsl extract --dataset table --table images.csv --root photos
    """
    from pzsl.extraction import extract as run

    given["annotators"] = people(annotators, agree)
    if float16:
        given["dtype"] = "float16"
    if "devices" in given:
        given["devices"] = words(given["devices"])
    emit(run(**given), as_json, _text)


def _text(result: dict[str, Any]) -> str:
    speed = result["images_per_second"]
    lines = [
        f"cache      {result['cache']}",
        f"images     {result['images']} of {result['classes']} classes, {result['resumed']} of "
        f"them from an earlier run" + (f", {speed} a second" if speed else ""),
        "zero-shot  "
        + "  ".join(
            f"{name} {'-' if value is None else f'{value:.2f}'}"
            for name, value in result["zero_shot"].items()
        ),
    ]
    if speed:
        lines += _times(result["seconds"])
    failed = result["failed"]
    if failed:
        lines.append(f"left out   {len(failed)} images that can't be read:")
        lines += [f"  {row['path']}: {row['reason']}" for row in failed[:SHOWN]]
    if len(failed) > SHOWN:
        lines.append(f"  and {len(failed) - SHOWN} more (all are listed with --json)")
    return "\n".join(lines)


def _times(seconds: dict[str, float]) -> list[str]:
    """A table of where the time of all threads went, and how long it was by the clock."""
    parts = {name: value for name, value in seconds.items() if name != "all"}
    total = sum(parts.values()) or 1.0
    rows = [(name, f"{value:.1f} s", f"{value / total:.0%}") for name, value in parts.items()]
    rows.append(("all", f"{seconds['all']:.1f} s", "by the clock"))
    lines = aligned(rows, ("time", "", "of all threads")).splitlines()
    return [lines[0], *(f"  {line}" for line in lines[1:])]
