"""`pzsl bench`: how fast this machine encodes, loads and trains."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pzsl.cli.common import emit, table, words


def bench(
    parts: Annotated[
        list[str] | None,
        typer.Argument(help="encode, load, train, memory or annotate. [all]"),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A short look; not figures to quote.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Measure this machine: each side by turns in one run, medians of three, and their ratios."""
    from pzsl.bench import bench as measure

    emit(measure(words(parts), quick), as_json, _text)


def _text(results: dict[str, Any]) -> str:
    blocks = []
    for part, result in results.items():
        for title in ("setting", "figures", "ratios"):
            rows = [(name, _shown(value)) for name, value in result.get(title, {}).items()]
            blocks.append(table(rows, (f"{part}: {title}", "")))
    return "\n\n".join(blocks)


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
