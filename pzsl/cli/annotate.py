"""`pzsl annotate`: candidate sets from CLIP's own predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pzsl.cli.common import Json, emit, weighted
from pzsl.progress import counted, shell_word


def annotate(
    cache: Annotated[Path, typer.Option(help="Cache of stage one, such as cache/sun.h5.")],
    rule: Annotated[
        str, typer.Option(help="union (of the templates' top classes), topk or ratio.")
    ] = "union",
    templates: Annotated[
        str | None,
        typer.Option(
            help="Which of the cache's templates to use: a file, or numbers such as 0,3-5. [all]"
        ),
    ] = None,
    k: Annotated[
        int | None,
        typer.Option("--k", help="Most labels per image, for topk and ratio. [topk: 3, ratio: 5]"),
    ] = None,
    others: Annotated[
        list[str] | None,
        typer.Option(
            "--with", help="Caches of the same images by other encoders: FILE or FILE:WEIGHT."
        ),
    ] = None,
    weight: Annotated[float, typer.Option(help="Weight of --cache beside those of --with.")] = 1.0,
    agree: Annotated[
        float | None,
        typer.Option(
            help="Keep a label if the weights of the caches that name it sum to this or more. [any]"
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="An annotated copy (.h5) or a table (.csv). [the cache]")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace existing candidate sets or files.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Give each training image a candidate set without a manual label; then train on it.

    \b
    pzsl annotate --cache cache/sun.h5 --rule ratio
    pzsl annotate --cache cache/sun.h5 --with cache/sun-l14.h5:2 --out both.h5
    """
    from pzsl.annotation import annotate as run

    result = run(
        cache,
        rule=rule,
        templates=templates,
        k=k,
        others=weighted(others),
        weight=weight,
        agree=agree,
        out=out,
        overwrite=overwrite,
    )
    emit(result, as_json, _text)


def _text(result: dict[str, Any]) -> str:
    sizes = f"{result['smallest']} to {result['largest']}"
    about = f"{result['images']:,} training images, {result['classes']:,} seen classes"
    lines = [
        f"{result['out']}: {about}",
        f"candidates     {result['mean_candidates']:.2f} per image, {sizes}",
    ]
    if result["truth_outside"] is not None:
        worst = result["worst_class"]
        lines.append(
            f"truth outside  {result['truth_outside']:.2f} % of the images, by class "
            f"{result['truth_outside_by_class']:.2f} %, worst '{worst['name']}' "
            f"{worst['truth_outside']:.2f} %"
        )
    if result["never_named"]:
        classes = counted(result["never_named"], "seen class", "seen classes")
        lines.append(f"never named    {classes} in no set")
    if not result["out"].lower().endswith(".csv"):
        lines.append(
            f"next           pzsl train --cache {shell_word(result['out'])} --noise annotated"
        )
    return "\n".join(lines)
