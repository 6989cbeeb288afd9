"""`pzsl inspect`: what a cache holds, where it comes from, and whether it is complete."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pzsl.cli.common import Json, emit
from pzsl.progress import say


def inspect(
    cache: Annotated[Path, typer.Argument(help="The cache, finished or not.")],
    as_json: Json = False,
) -> None:
    """Show what a cache holds and where it comes from; exit 1 if it is incomplete or damaged.

    \b
    pzsl inspect cache/sun.h5
    """
    from pzsl.store import inspect_cache

    result = inspect_cache(cache)
    emit(result, as_json, _text)
    if result["problems"]:
        if as_json:  # otherwise stdout has just shown it
            say(f"pzsl: {result['problems'][0]}")
        raise typer.Exit(1)


def _text(result: dict[str, Any]) -> str:
    lines = [f"{result['cache']}, {(result['bytes'] or 0) / 1e6:,.1f} MB"]
    if result["counts"]:
        lines += ["", "holds", *_holds(result["counts"])]
    if result["provenance"]:
        lines += ["", "comes from", *_comes_from(result["provenance"])]
    if result["problems"]:
        lines += ["", "not whole", *(f"  {problem}" for problem in result["problems"])]
    else:
        lines += ["", f"whole (fingerprint {result['fingerprint'][:12]})"]
        if not result["checksums"]:
            lines.append("no checksums (an older pzsl wrote it): a flipped bit may go unnoticed")
    return "\n".join(lines)


def _holds(counts: dict[str, Any]) -> list[str]:
    splits = ", ".join(f"{name} {number:,}" for name, number in counts["splits"].items())
    kinds = f"{counts['seen']:,} seen, {counts['unseen']:,} unseen"
    lines = [
        f"  images      {counts['images']:,} ({splits})",
        f"  classes     {counts['classes']:,} ({kinds})",
        f"  dimensions  {counts['dim']} ({counts['dtype']})",
        f"  templates   {counts['templates']}",
    ]
    if counts["done"] < counts["images"]:
        lines.insert(1, f"  done        {counts['done']:,} of {counts['images']:,} images")
    for name in ("views", "attributes", "unlabelled"):
        if counts[name]:
            lines.append(f"  {name:<11} {counts[name]:,}")
    if counts["mean_candidates"] is not None:
        lines.append(f"  candidates  {counts['mean_candidates']:.2f} per image")
    return lines


def _comes_from(provenance: dict[str, Any]) -> list[str]:
    lines = []
    for name, value in provenance.items():
        pairs = value.items() if isinstance(value, dict) else [("", value)]
        for key, entry in pairs:
            lines.append(f"  {f'{name} {key}'.strip()}: {_brief(str(entry))}")
    return lines


def _brief(text: str) -> str:
    """The start of a long entry; --json has all of it."""
    return text if len(text) <= 200 else f"{text[:180]}... ({len(text):,} letters, --json)"
