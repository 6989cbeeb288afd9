"""`pzsl predict`: classes of new images by a trained run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pzsl.cli.common import Json, RunCache, emit, table
from pzsl.errors import UserError
from pzsl.progress import counted


def predict(
    images: Annotated[
        list[Path],
        typer.Argument(help="Images, folders, tables that list images, or one .npy of features."),
    ],
    run: Annotated[
        str, typer.Option(help="A finished run or a packed folder, or hf-hub:OWNER/NAME.")
    ],
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", help="Name of a class to add, never seen in training; repeatable."),
    ] = None,
    top: Annotated[int, typer.Option(help="Classes to list for each image.")] = 5,
    error_rate: Annotated[
        float | None,
        typer.Option(
            help="Also list a set of likely classes that misses the true one for this share of "
            "images; images with several, or with none that is likely enough, are marked unsure."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Table of all answers: .csv, .parquet, .json or .jsonl. Written as they come; "
            "the same command resumes where it was interrupted."
        ),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(help="Folder that a table's paths are relative to. [the table's]"),
    ] = None,
    cache: RunCache = None,
    model: Annotated[
        str | None,
        typer.Option(help="The encoder, if the cache was imported and doesn't name it."),
    ] = None,
    pretrained: Annotated[
        str | None,
        typer.Option(help="The encoder's weights: a tag, or a checkpoint file that has moved."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    batch_size: Annotated[
        int | None, typer.Option(help="Images per batch. [what fits]", show_default=False)
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Threads that read images. [one per processor]")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the table.")] = False,
    as_json: Json = False,
) -> None:
    """Predict the classes of new images, including classes that training has never seen.

    Images that can't be read are reported at the end, after all answers.

    \b
    pzsl predict --run runs/sun/RUN new-photos/ --class "ice rink"
    pzsl predict --run runs/sun/RUN archive.csv --root photos --out answers.csv
    pzsl predict --run runs/sun/RUN new-photos/ --error-rate 0.05
    """
    from pzsl.inference import predict as run_predict

    result = run_predict(
        run,
        images,
        classes=classes or (),
        top=top,
        error_rate=error_rate,
        out=out,
        root=root,
        cache=cache,
        model=model,
        pretrained=pretrained,
        device=device,
        batch_size=batch_size,
        workers=workers,
        overwrite=overwrite,
    )
    emit(result, as_json, _text)
    for fault in result["failed"][:1]:
        raise UserError(
            f"{len(result['failed'])} of {len(result['failed']) + result['answered']} images "
            f"can't be read, the first: {fault['path']} ({fault['reason']})."
        )


def _doubt(likely: int) -> str:
    return f"unsure, {likely} are likely" if likely > 1 else "unsure, none is likely enough"


def _text(result: dict[str, Any]) -> str:
    if "out" in result:
        rate = result["images_per_second"]
        speed = f", {rate:,} images per second" if rate else ""
        return (
            f"{result['out']}: {counted(result['answered'], 'image')}, "
            f"{counted(result['classes'], 'class', 'classes')} in question{speed}"
        )
    rows = [
        [
            image["path"] if place == 0 else "",
            answer["name"],
            f"{100 * answer['probability']:.1f} %",
            "" if answer["seen"] else "unseen",
            _doubt(len(image["likely"])) if place == 0 and unsure else "",
        ]
        for image in result["images"]
        for unsure in [image.get("unsure", False)]
        for place, answer in enumerate(image["classes"])
    ]
    shown = table(rows, ("image", "class", "probability", "", ""))
    calibration = result["calibration"]
    if calibration["error_rate"] is None:
        return shown
    return (
        f"{shown}\n\nAt an error rate of {100 * calibration['error_rate']:g} % the sets of likely "
        f"classes held the right one for {calibration['coverage']:g} % of "
        f"{calibration['held_out']:,} held-out images."
    )
