"""`pzsl import`: make a cache from features that another tool computed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pzsl.cli.common import Json, annotators_of, emit
from pzsl.cli.common import table as columns
from pzsl.progress import counted


def import_(
    file: Annotated[
        Path | None,
        typer.Argument(help="A .npz, .npy or .safetensors file, or clip-retrieval's folder."),
    ] = None,
    xlsa17: Annotated[
        Path | None,
        typer.Option(help="In place of FILE: a folder of xlsa17 (such as SUN) with its features."),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(
            help="For .npy, .safetensors, folder: table of path, label, split, candidates."
        ),
    ] = None,
    classes: Annotated[
        Path | None, typer.Option(help="File of all class names in order, one per line.")
    ] = None,
    unseen_file: Annotated[
        Path | None, typer.Option(help="File of the unseen classes' names, one per line.")
    ] = None,
    annotators: Annotated[
        list[str] | None,
        typer.Option(help="Columns of the table to join, one per annotator: NAME or NAME:WEIGHT."),
    ] = None,
    agree: Annotated[
        float | None,
        typer.Option(
            help="Keep a label if the weights of those who name it sum to this or more. [any]"
        ),
    ] = None,
    text: Annotated[
        Path | None,
        typer.Option(help="Class vectors, .npy or .safetensors, a row for each of --classes."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="In place of --text: the model that made FILE, for the class names."),
    ] = None,
    pretrained: Annotated[
        str | None, typer.Option(help="Tag or checkpoint file of its weights. [openai]")
    ] = None,
    templates: Annotated[
        Path | None, typer.Option(help="Prompt templates, one per line, each with one {}.")
    ] = None,
    normalise: Annotated[
        bool, typer.Option("--normalise", help="Divide vectors by their length.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="The cache to write. [cache/FILE.h5]")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a cache that exists.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a cache from features that another tool computed, and print its zero-shot scores.

    \b
    pzsl import features.npz --out cache/mine.h5
    """
    from pzsl.exchange import Labelling, import_any

    result = import_any(
        file,
        out,
        xlsa17=xlsa17,
        labelling=Labelling(
            table,
            classes,
            unseen_file,
            text,
            model,
            pretrained,
            templates,
            annotators_of(annotators, agree),
        ),
        normalise=normalise,
        overwrite=overwrite,
    )
    emit(result, as_json, _text)


def _text(result: dict[str, Any]) -> str:
    classes = counted(result["classes"], "class", "classes")
    first = f"{result['cache']}: {counted(result['images'], 'image')}, {classes}"
    scores = result["zero_shot"]
    if all(value is None for value in scores.values()):
        return f"{first}\nno zero-shot scores: no text embeddings, or no labelled test images"
    shown = ["-" if value is None else f"{value:.2f}" for value in scores.values()]
    return f"{first}\nthe encoder alone (zero-shot, percent)\n{columns([shown], list(scores))}"
