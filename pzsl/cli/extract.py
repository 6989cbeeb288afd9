"""`pzsl extract`: stage one, from images to a feature cache."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pzsl.cli.common import emit, people, words
from pzsl.cli.common import table as aligned

SHOWN = 20
"""Failed images that are listed; all are in the JSON."""


def extract(
    dataset: Annotated[str, typer.Option(help="{datasets}; see 'pzsl datasets'.")] = "shapes",
    root: Annotated[Path | None, typer.Option(help="Where its images are.")] = None,
    splits: Annotated[Path | None, typer.Option(help="File or folder with its split.")] = None,
    names: Annotated[
        Path | None, typer.Option(help="Your own class names: published name <TAB> name.")
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="CSV, Parquet or JSON lines of your own images (table).")
    ] = None,
    unseen_file: Annotated[
        Path | None, typer.Option(help="Names of the unseen classes, one a line (table).")
    ] = None,
    classes: Annotated[
        Path | None, typer.Option(help="Names of all classes in order, one a line (table).")
    ] = None,
    annotators: Annotated[
        list[str] | None,
        typer.Option(help="Columns of several people, joined: NAME or NAME:WEIGHT (table)."),
    ] = None,
    agree: Annotated[
        float | None, typer.Option(help="Least sum of their weights for a label to join. [any]")
    ] = None,
    empty: Annotated[
        str | None,
        typer.Option(help="Images without a label: skip, unlabelled or fail (table) [skip]."),
    ] = None,
    split_seed: Annotated[
        int | None, typer.Option(help="Seed of a split that is drawn, or of the drawings (shapes).")
    ] = None,
    unseen: Annotated[
        float | None, typer.Option(help="Share of the classes that are unseen (folder; shapes: 0).")
    ] = None,
    test_share: Annotated[
        float | None, typer.Option(help="Share of a seen class's images to test on (folder).")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="'tiny' or an open_clip model [shapes: tiny, others: ViT-B-32]."),
    ] = None,
    pretrained: Annotated[
        str | None, typer.Option(help="Tag or checkpoint file of the weights [openai].")
    ] = None,
    templates: Annotated[
        Path | None, typer.Option(help="Prompt templates, one per line, each with one {}.")
    ] = None,
    descriptions: Annotated[
        Path | None, typer.Option(help="Sentences on each class: JSON as in CuPL.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The cache [cache/DATASET.h5].")] = None,
    limit: Annotated[int | None, typer.Option(help="Only so many images, evenly spread.")] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Images per batch [CPU: 32, else what its memory holds].")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Threads that read, and on the CPU encode [one per processor]."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    precision: Annotated[
        str | None, typer.Option(help="fp32, fp16, bf16, int8 [fp32 on the CPU, else fp16].")
    ] = None,
    views: Annotated[
        int, typer.Option(help="Augmented views of each training image, cached beside it.")
    ] = 0,
    view_policy: Annotated[
        str, typer.Option(help="weak, strong, or mixed: the first half weak, the rest strong.")
    ] = "mixed",
    view_seed: Annotated[int, typer.Option(help="Seed of the views.")] = 0,
    shard: Annotated[
        str | None,
        typer.Option(help="I/N: only part I (1 to N) of N, for 'pzsl merge' to put together."),
    ] = None,
    devices: Annotated[
        list[str] | None,
        typer.Option(help="One process for each: cuda:0,cuda:1 or cpu,cpu; merged in the end."),
    ] = None,
    engine: Annotated[
        str, typer.Option(help="local, or ray for the machines of a Ray cluster.")
    ] = "local",
    on_error: Annotated[
        str, typer.Option(help="What a missing or unreadable image does: fail or skip.")
    ] = "fail",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin anew, replace a finished cache.")
    ] = False,
    float16: Annotated[
        bool, typer.Option("--float16", help="Store half floats: half the size.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Encode the images and class names of a data set once, into a cache; resumes after a kill."""
    from pzsl.extraction import extract as run

    result = run(
        dataset,
        root,
        model,
        pretrained,
        out,
        batch_size=batch_size,
        workers=workers,
        limit=limit,
        device=device,
        precision=precision,
        on_error=on_error,
        overwrite=overwrite,
        templates=templates,
        descriptions=descriptions,
        dtype="float16" if float16 else "float32",
        views=views,
        view_policy=view_policy,
        view_seed=view_seed,
        shard=shard,
        devices=words(devices),
        engine=engine,
        splits=splits,
        names=names,
        table=table,
        unseen_file=unseen_file,
        classes=classes,
        annotators=people(annotators, agree),
        empty=empty,
        seed=split_seed,
        unseen=unseen,
        test=test_share,
    )
    emit(result, as_json, _text)


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
