"""`pzsl predict`: classes of new images by a trained run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pzsl.cli.common import emit, table
from pzsl.errors import UserError


def predict(
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of some.")],
    run: Annotated[Path, typer.Option(help="Folder of a finished run.")],
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", help="A class by name, never seen in training; repeated."),
    ] = None,
    top: Annotated[int, typer.Option(help="Classes to name for each image.")] = 5,
    cache: Annotated[
        Path | None, typer.Option(help="The run's cache, where it has moved. [as recorded]")
    ] = None,
    pretrained: Annotated[
        str | None, typer.Option(help="The encoder's checkpoint, where it has moved.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """The likeliest classes of new images, also of classes that are only named now."""
    from pzsl.inference import predict as run_predict

    result = run_predict(
        run,
        images,
        classes=classes or (),
        top=top,
        cache=cache,
        pretrained=pretrained,
        device=device,
    )
    emit(result, as_json, _text)
    for fault in result["failed"][:1]:
        raise UserError(
            f"{len(result['failed'])} of {len(result['failed']) + len(result['images'])} images "
            f"can't be read, the first: {fault['path']} ({fault['reason']})."
        )


def _text(result: dict[str, Any]) -> str:
    rows = [
        [
            image["path"] if place == 0 else "",
            found["name"],
            f"{100 * found['probability']:.1f} %",
            "" if found["seen"] else "unseen",
        ]
        for image in result["images"]
        for place, found in enumerate(image["classes"])
    ]
    return table(rows, ("image", "class", "probability", ""))
