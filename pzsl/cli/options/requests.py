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
"""Type of a field, as annotated, and the type in which the command line reads it."""


def from_request(request: type[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for each field of a request that has a flag.

    The command is called with what was given, `{field: value}`, then with its own options. What
    was not given is left out, so that the request's own defaults hold.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        options = [one for one in described(request) if one.flags and not one.by_hand]
        own = list(inspect.signature(command).parameters.values())[1:]

        @wraps(command)
        def called(**values: Any) -> None:
            given = {one.name: values.pop(one.name) for one in options}
            command({key: value for key, value in given.items() if value is not None}, **values)

        hints = get_type_hints(command, include_extras=True)
        own = [each.replace(annotation=hints[each.name]) for each in own]
        parameters = [_parameter(one) for one in options] + [
            each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own
        ]
        called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {each.name: each.annotation for each in parameters}
        return called

    return decorate


def _parameter(one: Described) -> inspect.Parameter:
    """One option as typer reads it; its default is told in its help."""
    kind = KINDS[one.kind.removesuffix(" | None")]
    help = one.help if one.required or "[" in one.help else one.help + _told(one.default)
    option = typer.Option(*one.flags, help=help, rich_help_panel=one.group)
    return inspect.Parameter(
        one.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if one.required else None,
        annotation=Annotated[kind if one.required else kind | None, option],
    )


def _told(default: Any) -> str:
    """The default as the help of an option ends with it."""
    if default is None or default is False:
        return ""
    if isinstance(default, tuple):
        return f" [{','.join(str(value) for value in default)}]"
    return f" [{default:g}]" if isinstance(default, float) else f" [{default}]"
