"""`pzsl prompts`: the templates that turn a data set's class names into prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pzsl.cli.common import Json, emit
from pzsl.cli.options import App

app = App(
    no_args_is_help=True,
    help="Show the prompt templates of a data set.\n\n\b\npzsl prompts show sun",
)


@app.callback()
def prompts() -> None:
    """Show the prompts that stand for the classes of a data set."""


@app.command(short_help="Print a data set's templates.")
def show(
    dataset: Annotated[str, typer.Argument(help="A data set of 'pzsl datasets'.")],
    templates: Annotated[
        Path | None,
        typer.Option(help="Your own templates, one per line, each with one {}."),
    ] = None,
    descriptions: Annotated[
        Path | None, typer.Option(help="JSON file of your own sentences on each class, as CuPL's.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print a data set's templates, where they come from, and a few examples.

    \b
    pzsl prompts show sun
    """
    from pzsl.encoders.descriptions import show_prompts

    emit(show_prompts(dataset, templates, descriptions), as_json, _text)


def _text(result: dict[str, Any]) -> str:
    lines = [f"prompts of {result['dataset']}, from {result['source']}:"]
    lines += [f"  {template}" for template in result["templates"]]
    if result["examples"]:
        lines += ["for example:", *(f"  {example}" for example in result["examples"])]
    return "\n".join(lines)
