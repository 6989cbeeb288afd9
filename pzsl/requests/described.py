"""Fields of a request that say what they mean."""

from __future__ import annotations

from dataclasses import MISSING, field, fields
from typing import Any, NamedTuple

INPUT, MODEL, OUTPUT, MACHINE = "Input", "Model", "Output", "Machine"


class Described(NamedTuple):
    """One option of a request.

    Attributes:
        name: of the field, and of the argument in Python.
        kind: its type, as annotated.
        default: its value where it isn't given. required: whether it has none.
        help: one line; `{methods}` and the like stand for the names of a registry.
        group: the heading under which the command line's help lists it.
        flags: its names on the command line; none where it is for Python alone.
        by_hand: the command reads these flags itself, as one value is made of several.
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
    """A field of a request with its help; see `Described`. The flag is the field's name."""
    about = {"help": help, "group": group, "flags": flags, "by_hand": by_hand}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=about)
    return field(default=default, metadata=about)


def described(request: type[Any]) -> list[Described]:
    """The options of a request, in order."""
    found = []
    for one in fields(request):
        required = one.default is MISSING and one.default_factory is MISSING
        default = None if one.default is MISSING else one.default
        flags = one.metadata["flags"]
        if flags is None:
            flags = (f"--{one.name.replace('_', '-')}",)
        about = one.metadata["help"], one.metadata["group"], flags, one.metadata["by_hand"]
        found.append(Described(one.name, str(one.type), default, required, *about))
    return found
