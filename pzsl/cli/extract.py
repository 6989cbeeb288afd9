"""`pzsl extract`: stage one, from images to a feature cache."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pzsl.cli.common import annotators_of, emit, words
from pzsl.cli.options import from_request
from pzsl.errors import UsageError
from pzsl.progress import counted
from pzsl.requests import OUTPUT, OWN, ExtractRequest

SHOWN = 20
"""Most failed images that are listed; --json has all of them."""


@from_request(ExtractRequest)
def extract(
    values: dict[str, Any],
    annotators: Annotated[
        list[str] | None,
        typer.Option(
            help="Columns of the table to join, one per annotator: NAME or NAME:WEIGHT.",
            rich_help_panel=OWN,
        ),
    ] = None,
    agree: Annotated[
        float | None,
        typer.Option(
            help="Keep a label if the weights of those who name it sum to this or more. [any]",
            rich_help_panel=OWN,
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
    """Encode a data set's images and class names once, into a cache; resumes if interrupted.

    \b
    pzsl extract --dataset sun
    pzsl extract --dataset folder --root photos --model ViT-L-14
    pzsl extract --dataset table --table images.csv --root photos
    pzsl extract --dataset tar --root s3://bucket/shards
    """
    from pzsl.extraction import extract as run

    values["annotators"] = annotators_of(annotators, agree)
    if float16:
        if values.get("dtype", "float16") != "float16":
            raise UsageError(f"--float16 contradicts --dtype {values['dtype']}: give one of them.")
        values["dtype"] = "float16"
    if "devices" in values:
        values["devices"] = words(values["devices"])
    emit(run(**values), as_json, _text)


def _text(result: dict[str, Any]) -> str:
    speed, resumed, failed = result["images_per_second"], result["resumed"], result["failed"]
    scores = result["zero_shot"]
    shown = (f"{name} {'-' if value is None else f'{value:.2f}'}" for name, value in scores.items())
    lines = [
        f"cache      {result['cache']}",
        f"images     {result['images']:,} of {result['classes']:,} classes"
        + (f", {resumed:,} of them from an earlier run" if resumed else ""),
    ]
    if any(value is not None for value in scores.values()):
        lines.append(f"zero-shot  {'  '.join(shown)}")
    if speed:
        lines.append(f"time       {_time(result['seconds'])}, {speed} images a second")
    if failed:
        lines.append(f"left out   {counted(len(failed), 'image')} that can't be read:")
        lines += [f"  {row['path']}: {row['reason']}" for row in failed[:SHOWN]]
    if len(failed) > SHOWN:
        lines.append(f"  and {len(failed) - SHOWN} more (all are listed with --json)")
    return "\n".join(lines)


def _time(seconds: dict[str, float]) -> str:
    """The wall-clock time, and the steps by their share of the threads' time, longest first."""
    steps = {name: value for name, value in seconds.items() if name != "all"}
    total = sum(steps.values()) or 1.0
    longest = sorted(steps.items(), key=lambda step: -step[1])
    shares = [f"{name} {value / total:.0%}" for name, value in longest if value / total >= 0.005]
    return f"{seconds['all']:.1f} s ({', '.join(shares)})"
