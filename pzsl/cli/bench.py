"""`pzsl bench`: how fast this machine is, and how accurate the default is on your own caches."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pzsl.cli.common import Json, emit, table, words
from pzsl.errors import UsageError

OWNERS = {
    **dict.fromkeys(("cache", "seeds", "runs", "workers"), ("accuracy", "labels")),
    **dict.fromkeys(("tables", "noise", "development"), ("accuracy",)),
    **dict.fromkeys(("classes", "images"), ("memory",)),
    "quick": ("encode", "load", "train", "memory", "cost", "annotate"),
}
"""Option -> the parts that take it."""


def bench(
    parts: Annotated[
        list[str] | None,
        typer.Argument(
            help="encode, load, train, memory, cost or annotate [all]; or accuracy; or labels."
        ),
    ] = None,
    cache: Annotated[
        list[str] | None,
        typer.Option(
            "--cache", help="accuracy, labels: caches to draw problems from; required there."
        ),
    ] = None,
    tables: Annotated[
        list[str] | None,
        typer.Option(
            "--tables",
            help="accuracy: small, main, parts, methods, transductive. [small,main]",
        ),
    ] = None,
    noise: Annotated[
        list[str] | None,
        typer.Option(
            "--noise",
            help="accuracy: kinds of noise with rates, such as uniform:0.3. [each table's own]",
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            "--seeds",
            help="accuracy, labels: number of seeds. [accuracy: 3 or 5 by table, labels: 3]",
        ),
    ] = None,
    development: Annotated[
        bool,
        typer.Option(
            "--development", help="accuracy: only the small table, without any test image."
        ),
    ] = False,
    runs: Annotated[
        Path | None,
        typer.Option("--runs", help="accuracy, labels: folder of run records. [runs/bench-PART]"),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", help="accuracy, labels: worker processes. [one per core]"),
    ] = None,
    classes: Annotated[
        int | None, typer.Option("--classes", help="memory: measure one run on this many classes.")
    ] = None,
    images: Annotated[
        int | None,
        typer.Option(
            "--images", help="memory: with --classes, training images of that run. [10000]"
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Measure speed and memory briefly; not for figures to quote."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Measure how fast this machine is, beside usual ways to do the same; prints ratios of medians.

    `accuracy` trains the default on problems drawn from your caches and compares it with frozen
    CLIP, with a part of it changed (parts), or with every other method (methods, transductive).
    `labels` makes a fifth of the labels wrong and compares how well the default and cleanlab find
    them. Both run only if you name them.

    \b
    pzsl bench encode --quick
    pzsl bench accuracy --cache cache/a.h5,cache/b.h5 --tables small
    pzsl bench labels --cache cache/a.h5
    pzsl bench memory --classes 16000
    """
    from pzsl.bench import bench as measure
    from pzsl.bench import bench_accuracy, bench_labels

    selected = words(parts)
    alone = next((name for name in ("accuracy", "labels") if name in selected), None)
    if alone is not None and len(selected) > 1:
        raise UsageError(f"It is measured by itself: pzsl bench {alone} --cache CACHE.")
    given = {"cache": cache, "seeds": seeds, "runs": runs, "workers": workers}
    given |= {"tables": tables, "noise": noise, "development": development or None}
    given |= {"classes": classes, "images": images, "quick": quick or None}
    _check_given(alone or "memory", given)  # where `measure` refuses sizes of other parts
    if alone is None:
        emit(measure(selected, quick, classes=classes, images=images), as_json, _text)
        return
    runs = runs or Path(f"runs/bench-{alone}")
    if alone == "labels":
        emit(bench_labels(words(cache), runs, seeds, workers=workers), as_json, _rows_text)
        return
    results = bench_accuracy(
        words(cache), words(tables), runs, seeds, words(noise), development, workers
    )
    emit(results, as_json, _accuracy_text)


def _check_given(part: str, given: dict[str, Any]) -> None:
    """Refuse options that the part doesn't take."""
    for name, value in given.items():
        if value is not None and part not in OWNERS[name]:
            parts = "' or '".join(OWNERS[name])
            raise UsageError(f"--{name} belongs to 'pzsl bench {parts}'.")


def _accuracy_text(results: dict[str, Any]) -> str:
    blocks = []
    for name, result in results.items():
        blocks += [_rows_text(result)]
        summary = [(key, _shown(value)) for key, value in result["summary"].items()]
        blocks += [table(summary, (f"{name}: summary", ""))]
    return "\n\n".join(blocks)


def _rows_text(result: dict[str, Any]) -> str:
    rows = [[_shown(value) for value in row.values()] for row in result["rows"]]
    return table(rows, list(result["rows"][0]))


def _text(results: dict[str, Any]) -> str:
    blocks = []
    for part, result in results.items():
        for title in ("setting", "figures", "ratios"):
            rows = [(name, _shown(value)) for name, value in result.get(title, {}).items()]
            blocks.append(table(rows, (f"{part}: {title}", "")))
    return "\n\n".join(blocks)


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
