"""`pzsl train`: the sweep of stage two."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pzsl.cli.common import Json, emit, numbers, table, words
from pzsl.cli.options import from_request
from pzsl.progress import counted, shell_word
from pzsl.requests import TrainRequest

Words = list[str] | None
NUMBERS = ("rate", "eta", "few_shot", "imbalance")
LISTS = ("method", "preset", "noise", *NUMBERS)


@from_request(TrainRequest)
def train(
    values: dict[str, Any],
    set_: Annotated[
        Words,
        typer.Option(
            "--set", help="Set an option of the method, such as rank=32; see 'pzsl methods NAME'."
        ),
    ] = None,
    off: Annotated[
        Words, typer.Option(help="Switch off parts of the method, such as prototypes,calibrate.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML file with these options; the command line wins.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train methods on a cache, once for each noise rate and seed.

    Finished runs are skipped; interrupted runs resume from their last checkpoint.

    \b
    pzsl train --cache cache/sun.h5
    pzsl train --cache cache/sun.h5 --method clip,clip-pzsl --rate 0.1,0.3
    pzsl train --cache cache/sun.h5 --noise annotated --seeds 3 --set rank=64
    """
    from pzsl.training import read_config, read_settings, train, with_parts_off

    file = read_config(config) if config else {}
    settings = with_parts_off(file.pop("set", {}), words(_list(file.pop("off", []))))
    request = file | values
    for name in LISTS:
        if name in request:
            listed = _list(request[name])
            as_given = f"--{name.replace('_', '-')}"
            request[name] = numbers(listed, as_given) if name in NUMBERS else words(listed)
    settings |= read_settings(words(set_), words(off))
    emit(train(**request, settings=settings), as_json, _text)


def _list(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else [str(value)]


def _text(result: dict[str, Any]) -> str:
    usual = {"preset": "default", "eta": 0, "few_shot": 0, "imbalance": 1}
    axes = [key for key in usual if any(row[key] != usual[key] for row in result["runs"])]
    preset, others = axes[: "preset" in axes], axes["preset" in axes :]
    plain = ["rate", *others, "seed"]
    header = ["method", *preset, "noise", *plain, "S", "U", "H", "T1", "AUSUC", "disambiguation"]
    rows = [
        [
            str(row[key]) if key in plain and row[key] is not None else _shown(row[key])
            for key in header
        ]
        for row in result["runs"]
    ]
    lines = table(rows, header)
    following = _report_of(Path(result["sweep"]))
    return f"{lines}\n\n{counted(len(rows), 'run')} in {result['sweep']}; next: {following}"


def _report_of(sweep: Path) -> str:
    """The command that reports a sweep, beside others in the same folder of runs."""
    runs = sweep.parent
    return "pzsl report" if runs == Path(TrainRequest.runs) else f"pzsl report {shell_word(runs)}"


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)
