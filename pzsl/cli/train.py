"""`pzsl train`: the sweep of stage two."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pzsl.cli.common import emit, numbers, table, words

Words = list[str] | None
DEFAULTS: dict[str, Any] = {
    "method": ["clip-pzsl"],
    "preset": ["default"],
    "noise": ["uniform"],
    "rate": ["0.1,0.3,0.5"],
    "eta": ["0.2"],
    "few_shot": ["0"],
    "seeds": 5,
    "first_seed": 0,
    "labels": "text",
}


def train(
    cache: Annotated[Path, typer.Option(help="Cache of stage one, such as cache/sun.h5.")],
    method: Annotated[Words, typer.Option(help="Methods: {methods}. [clip-pzsl]")] = None,
    preset: Annotated[Words, typer.Option(help="Presets: {presets}. [default]")] = None,
    noise: Annotated[
        Words,
        typer.Option(help="Kinds of ambiguity: {noises}; instance:0.1 sets its rate. [uniform]"),
    ] = None,
    rate: Annotated[Words, typer.Option(help="Noise rates. [0.1,0.3,0.5]")] = None,
    eta: Annotated[Words, typer.Option(help="Noisy sets: share without the truth. [0.2]")] = None,
    few_shot: Annotated[
        Words, typer.Option(help="True labels a class, given by hand: 1,2,4,8. [0]")
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="How many seeds. [5]")] = None,
    first_seed: Annotated[int | None, typer.Option(help="The first of them. [0]")] = None,
    labels: Annotated[
        str | None, typer.Option(help="Label embeddings, one of {labels}. [text]")
    ] = None,
    set_: Annotated[
        Words, typer.Option("--set", help="An option of the method, such as rank=32.")
    ] = None,
    off: Annotated[
        Words, typer.Option(help="Parts to switch off, such as prototypes,calibrate.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML file with these options; the command line wins.")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder of all run records.")] = Path("runs"),
    name: Annotated[str | None, typer.Option(help="Name of the sweep. [the cache's]")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    workers: Annotated[int | None, typer.Option(help="Processes. [one per core]")] = None,
    engine: Annotated[
        str, typer.Option(help="local, or ray: a cluster that sees cache and runs.")
    ] = "local",
    memory: Annotated[
        float, typer.Option(help="GiB of features to hold; more are read in blocks.")
    ] = 2.0,
    checkpoint_seconds: Annotated[
        float, typer.Option(help="Least time between two checkpoints of a run.")
    ] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Train methods on a cache, at each noise rate and with each seed.

    A run that is finished is skipped; an interrupted one goes on from its last checkpoint.
    """
    from pzsl.training import read_config, read_settings, train

    file = read_config(config) if config else {}
    line = {
        "method": method,
        "preset": preset,
        "noise": noise,
        "rate": rate,
        "eta": eta,
        "few_shot": few_shot,
        "seeds": seeds,
        "first_seed": first_seed,
        "labels": labels,
    }
    given = DEFAULTS | file | {key: value for key, value in line.items() if value is not None}
    settings = file.get("set", {}) | dict.fromkeys(file.get("off", []), False)
    result = train(
        cache,
        method=words(_list(given["method"])),
        preset=words(_list(given["preset"])),
        noise=words(_list(given["noise"])),
        rate=numbers(_list(given["rate"]), "--rate"),
        eta=numbers(_list(given["eta"]), "--eta"),
        few_shot=numbers(_list(given["few_shot"]), "--few-shot"),
        seeds=given["seeds"],
        first_seed=given["first_seed"],
        labels=given["labels"],
        settings=settings | read_settings(words(set_), words(off)),
        runs=runs,
        name=name,
        device=device,
        workers=workers,
        engine=engine,
        memory=memory,
        checkpoint_seconds=checkpoint_seconds,
    )
    emit(result, as_json, _text)


def _list(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else [str(value)]


def _text(result: dict[str, Any]) -> str:
    shots = ["few_shot"] if any(row["few_shot"] for row in result["runs"]) else []
    plain = ["rate", *shots, "seed"]
    header = ["method", "noise", *plain, "S", "U", "H", "T1", "AUSUC", "disambiguation"]
    rows = [
        [row[key] if key in plain else _shown(row[key]) for key in header] for row in result["runs"]
    ]
    lines = table(rows, header)
    return f"{lines}\n\n{len(rows)} runs in {result['sweep']}; next: pzsl report"


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)
