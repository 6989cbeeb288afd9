"""`pzsl labels`: find wrong labels and suggest better ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pzsl.cli.common import CacheToCheck, Json, NewRuns, RunIfAny, emit
from pzsl.progress import counted


def labels(
    run: RunIfAny = None,
    cache: CacheToCheck = None,
    out: Annotated[
        Path, typer.Option(help="Table to write: .csv, .parquet, .json or .jsonl.")
    ] = Path("labels.csv"),
    review: Annotated[
        int | None,
        typer.Option(
            help="How many images to mark for review. [those with a doubt of 0.5 or more]"
        ),
    ] = None,
    runs: NewRuns = Path("runs"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the table.")] = False,
    as_json: Json = False,
) -> None:
    """Find the labels that are probably wrong, and what they should be, with confidences.

    Writes one row per training image, the most doubtful first. For a cache with one label per
    image, --cache is enough: those labels are checked.

    \b
    pzsl labels --cache cache/photos.h5
    pzsl labels --run runs/photos/RUN --out labels.parquet --review 200
    """
    from pzsl.inference import labels as find_labels

    result = find_labels(run, out, cache=cache, review=review, runs=runs, overwrite=overwrite)
    emit(result, as_json, text_of)


def text_of(result: dict[str, Any]) -> str:
    """The counts in plain words."""
    lines = [
        f"{result['out']}: {counted(result['images'], 'training image')}, the most doubtful first",
        f"run          {result['run']}",
        f"changed      {counted(result['changed'], 'image')} with another label than the one given",
        f"outside      {counted(result['outside'], 'image')} with a label outside the candidates",
        f"review       {counted(result['review'], 'image')} worth a look",
        f"confidence   {result['mean_confidence']:.2f} % on average, below one half for "
        f"{result['unsure']:,} images",
    ]
    if result["disambiguation"] is not None:
        lines.append(
            f"right        {result['disambiguation']:.2f} % of the labels; expected calibration "
            f"error {result['expected_calibration_error']:.4f}"
        )
    if result["unchecked"]:
        lines.append(
            f"not checked  {counted(result['unchecked'], 'test image')}: to have all checked, "
            "extract with --unseen 0 --test-share 0, and without a split of the data's own"
        )
    return "\n".join(lines)
