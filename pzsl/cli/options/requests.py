"""Options of a command made from the fields of a request."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from pzsl.requests import Described, described

KINDS: dict[str, Any] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "str | Path": Path,
    "MaybePath": Path,
    "Any": Path,
    "str | Sequence[str]": list[str],
    "float | Sequence[float]": list[str],  # comma-separated: read as numbers by the command
}
"""Annotated type of a field -> the type as which the command line reads it."""


def from_request(request: type[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for each field of a request that has a flag.

    The command gets the values that the user gave, `{field: value}`, and then its own options.
    Fields that the user did not give are left out, so that the request's defaults apply.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        options = [option for option in described(request) if option.flags and not option.by_hand]
        own_parameters = list(inspect.signature(command).parameters.values())[1:]

        @wraps(command)
        def called(**values: Any) -> None:
            arguments = {option.name: values.pop(option.name) for option in options}
            command({key: value for key, value in arguments.items() if value is not None}, **values)

        hints = get_type_hints(command, include_extras=True)
        own_parameters = [
            parameter.replace(annotation=hints[parameter.name]) for parameter in own_parameters
        ]
        parameters = [_parameter(option) for option in options] + [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own_parameters
        ]
        called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return called

    return decorate


def _parameter(option: Described) -> inspect.Parameter:
    """An option in the form that typer reads; its help ends with its default."""
    kind = KINDS[option.kind.removesuffix(" | None")]
    states_default = option.required or "[" in option.help
    help = option.help if states_default else option.help + _default_text(option.default)
    info = typer.Option(*option.flags, help=help, rich_help_panel=option.group)
    return inspect.Parameter(
        option.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if option.required else None,
        annotation=Annotated[kind if option.required else kind | None, info],
    )


def _default_text(default: Any) -> str:
    """A default as it stands at the end of an option's help."""
    if default is None or default is False:
        return ""
    if isinstance(default, tuple):
        return f" [{','.join(str(value) for value in default)}]"
    return f" [{default:g}]" if isinstance(default, float) else f" [{default}]"
