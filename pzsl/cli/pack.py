"""`pzsl pack`: a folder that predicts without cache and run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pzsl.cli.common import Json, RunCache, emit


def pack(
    run: Annotated[Path, typer.Option(help="Folder of a finished run.")],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    cache: RunCache = None,
    onnx: Annotated[
        bool, typer.Option("--onnx", help="Also write the scoring part as scores.onnx.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing packed folder.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Pack a finished run into a folder that predicts without its cache and its images.

    You can copy the folder anywhere, and upload it to the Hugging Face hub as it is.

    \b
    pzsl pack --run runs/sun/RUN --out scenes
    pzsl predict --run scenes new-photos/
    pzsl predict --run hf-hub:OWNER/scenes new-photos/
    """
    from pzsl.inference import pack as run_pack

    result = run_pack(run, out, cache=cache, onnx=onnx, overwrite=overwrite)
    emit(result, as_json, _text)


def _text(result: dict[str, Any]) -> str:
    lines = [
        f"{result['out']}: {result['classes']:,} classes, {result['bytes'] / 2**20:.1f} MiB in "
        f"{len(result['files'])} files",
        f"checked      its scores differ from the run's by {result['largest_difference']:.1e}",
    ]
    if result["onnx_difference"] is not None:
        lines.append(f"onnx         its scores differ by {result['onnx_difference']:.1e}")
    return "\n".join(lines)
