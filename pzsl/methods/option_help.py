"""What each option of a method does, for `pzsl methods NAME`: read from its dataclass."""

from __future__ import annotations

import inspect
import math
import re
from dataclasses import fields, replace
from typing import Any

from pzsl.methods.registry import load_method

_ENTRY = re.compile(r"(\s*)(\w+(?:, \w+)*): (.+)")


def describe_options(name: str) -> list[dict[str, Any]]:
    """The options of a method; those that all trained methods share come last.

    Args:
        name: of the method.

    Returns:
        `name, default, allowed` (range or words, None if its type says it all) and `about`, the
        text of the docstring ('' without one), for each option.

    Raises:
        UsageError: unknown method. PluginError: the plugin can't be loaded, or is not a method.
    """
    from pzsl.methods.core import AdaptedOptions

    _, kind = load_method(name)
    texts: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        texts |= _texts(base.__dict__.get("__doc__") or "")
    shared = {option.name for option in fields(AdaptedOptions)}
    return [
        {
            "name": option.name,
            "default": getattr(kind(), option.name),
            "allowed": _allowed(option.metadata),
            "about": texts.get(option.name, ""),
        }
        for option in sorted(fields(kind), key=lambda option: option.name in shared)
    ]


def _allowed(metadata: Any) -> str | None:
    from pzsl.methods.core import LARGEST

    if "known" in metadata:
        return " or ".join(metadata["known"])
    allowed = metadata.get("range")
    if allowed is not None and allowed.high == LARGEST:  # that bound only catches typing errors
        allowed = replace(allowed, high=math.inf)
    return None if allowed is None else str(allowed)


def _texts(docstring: str) -> dict[str, str]:
    """Option -> what a class's docstring says of it; several names may share a text."""
    texts: dict[str, str] = {}
    names: list[str] = []
    indent = 0
    for line in inspect.cleandoc(docstring).splitlines():
        entry = _ENTRY.fullmatch(line)
        if entry:
            names, indent = entry[2].split(", "), len(entry[1])
            texts |= dict.fromkeys(names, entry[3])
        elif line.strip() and len(line) - len(line.lstrip()) > indent:
            texts |= {name: f"{texts[name]} {line.strip()}" for name in names}
        else:
            names = []
    return texts
