"""Fields of a request, each with its help text and command line flag."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, field, fields
from pathlib import PurePath
from typing import Any, NamedTuple

from pzsl.errors import UsageError, shown
from pzsl.requests.values import is_number, is_whole

INPUT, MODEL, OUTPUT, MACHINE = "Input", "Model", "Output", "Machine"


def _is_text(value: Any) -> bool:
    return isinstance(value, str | PurePath)


KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "bool": (lambda value: isinstance(value, bool), "True or False"),
    "int": (is_whole, "a whole number"),
    "float": (is_number, "a number"),
    **dict.fromkeys(("str", "str | Path", "MaybePath"), (_is_text, "a text or a path")),
}
"""Annotation of an option -> whether a value is of this kind, and the kind in words."""
OBJECTS = ("device",)
"""Options that may be torch's own objects."""


class Described(NamedTuple):
    """One option of a request.

    Attributes:
        name: of the field, and of the argument in Python.
        kind: its type, as annotated.
        default: its value if it isn't given. required: whether it has no default.
        help: one line; `{methods}` and the like stand for the names of a registry.
        group: the heading under which --help lists it.
        flags: its names on the command line; none if it exists in Python only.
        by_hand: the command defines these flags itself, because several make up one value.
    """

    name: str
    kind: str
    default: Any
    required: bool
    help: str
    group: str
    flags: tuple[str, ...]
    by_hand: bool


def option(
    help: str,
    group: str,
    default: Any = MISSING,
    flags: tuple[str, ...] | None = None,
    by_hand: bool = False,
) -> Any:
    """A field of a request; see `Described`. Without `flags`, the flag is the field's name."""
    about = {"help": help, "group": group, "flags": flags, "by_hand": by_hand}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=about)
    return field(default=default, metadata=about)


def described(request: type[Any]) -> list[Described]:
    """The options of a request, in order."""
    options = []
    for field_ in fields(request):
        required = field_.default is MISSING and field_.default_factory is MISSING
        default = None if field_.default is MISSING else field_.default
        flags = field_.metadata["flags"]
        if flags is None:
            flags = (f"--{field_.name.replace('_', '-')}",)
        about = field_.metadata["help"], field_.metadata["group"], flags, field_.metadata["by_hand"]
        options.append(Described(field_.name, str(field_.type), default, required, *about))
    return options


def check_kinds(request: Any) -> None:
    """Check that each option is of its kind: True is no number, and 'no' is not False.

    Raises:
        UsageError: a value is of another kind; the first such value is reported.
    """
    for entry in described(type(request)):
        value, kind = getattr(request, entry.name), entry.kind.removesuffix(" | None")
        optional = entry.default is None and not entry.required
        if kind not in KINDS or entry.name in OBJECTS or (value is None and optional):
            continue
        fits, expected = KINDS[kind]
        if not fits(value):
            name = next(iter(entry.flags), entry.name)
            raise UsageError(f"{name} should be {expected}, not {shown(value)}.")
