"""Settings of a sweep as text or TOML."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pzsl.errors import UsageError, nearest
from pzsl.files import read_text
from pzsl.requests import is_number, is_whole


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _are(kind: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """A check for one value of a kind, or a list; a text may hold several, comma-separated."""
    return lambda value: all(
        kind(entry) or _is_text(entry) for entry in (value if isinstance(value, list) else [value])
    )


def _are_settings(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(option, bool) or _is_text(option) or is_number(option)
        for option in value.values()
    )


TEXTS = _are(_is_text), "a text or a list of texts"
NUMBERS = _are(is_number), "a number or a list of numbers"
WHOLE = is_whole, "a whole number"
KINDS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "method": TEXTS,
    "preset": TEXTS,
    "noise": TEXTS,
    "rate": NUMBERS,
    "eta": NUMBERS,
    "few_shot": NUMBERS,
    "imbalance": NUMBERS,
    "seeds": WHOLE,
    "first_seed": WHOLE,
    "labels": (_is_text, "a text"),
    "set": (_are_settings, "a table of options, [set], each on or off, a number or a text"),
    "off": TEXTS,
}
"""Keys of a TOML file of settings: key -> check of its value, and what is expected."""


def read_settings(texts: Sequence[str], off: Sequence[str] = ()) -> dict[str, Any]:
    """Options from `name=value` texts, and names of parts to switch off.

    Raises:
        UsageError: a text without `=`, or a part that is set and switched off.
    """
    settings: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"--set takes name=value, but was given '{text}'.")
        name, value = name.strip(), value.strip()
        if settings.setdefault(name, value) != value:
            raise UsageError(f"--set gives {name} twice, as {settings[name]} and as {value}.")
    return with_parts_off(settings, off)


def with_parts_off(settings: Mapping[str, Any], off: Sequence[str]) -> dict[str, Any]:
    """Options with some parts switched off.

    Raises:
        UsageError: a part is set to something else.
    """
    for name in off:
        if str(settings.get(name, "off")).lower() not in ("off", "false", "no", "0"):
            raise UsageError(
                f"{name} is set to {settings[name]} and is off at once (--set, --off): leave one "
                "of them out."
            )
    return {**settings, **dict.fromkeys(off, False)}


def read_config(path: Path) -> dict[str, Any]:
    """Read a TOML file of sweep settings: the keys are the options of `pzsl train`.

    `set` is a table of method options, `off` a list of parts to switch off.

    Raises:
        UsageError: no such file, no valid TOML, an unknown key (the nearest is offered), or a value
            of another type.
    """
    try:
        values = tomllib.loads(read_text(path))
    except OSError as error:
        raise UsageError(f"Can't read the configuration {path}: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}.") from None
    for key, value in values.items():
        if key not in KINDS:
            raise UsageError(f"{path}: unknown key '{key}'.{nearest(key, list(KINDS))}")
        fits, kind = KINDS[key]
        if not fits(value):
            raise UsageError(f"{path}: '{key}' should be {kind}, not {str(value)[:60]}.")
    return values
