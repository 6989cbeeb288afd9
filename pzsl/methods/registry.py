"""Look up a method, its class and its options by name; plugins among them."""

from __future__ import annotations

import math
from dataclasses import asdict, fields, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pzsl import plugins
from pzsl.errors import UsageError, nearest
from pzsl.methods.catalogue import METHODS, Entry
from pzsl.methods.plugin_methods import plugin_method, plugin_options
from pzsl.methods.presets import NONE, Settings

if TYPE_CHECKING:
    from pzsl.methods.core import Method, Options


def describe() -> list[dict[str, Any]]:
    """Every method as plain values: name, paper, year, needs, about, presets; plugins unread."""
    built_in = [
        {
            "name": name,
            "paper": entry.paper,
            "year": entry.year,
            "needs": entry.needs,
            "about": entry.about,
            "presets": {preset: dict(settings) for preset, settings in entry.presets.items()},
        }
        for name, entry in METHODS.items()
    ]
    unknown_fields = {
        "paper": "see its package",
        "year": None,
        "needs": "",
        "about": "an installed plugin",
    }
    installed = [name for name in plugins.names("methods") if name not in METHODS]
    return built_in + [
        {"name": name, **unknown_fields, "presets": {"default": {}}} for name in installed
    ]


def find_method(name: str) -> Entry:
    """The catalogue entry of a method: one of `METHODS`, or made from a plugin.

    Raises:
        UsageError: unknown name; the nearest is offered, plugins included.
        PluginError: the plugin can't be loaded, or is not a method.
    """
    if name in METHODS:
        return METHODS[name]
    kind = plugin_method(name, known_methods())
    return Entry(
        loader="",
        paper=str(getattr(kind, "paper", "a plugin")),
        year=getattr(kind, "year", None),
        needs=str(getattr(kind, "needs", "candidates")),
        about=(kind.__doc__ or "a plugin").strip().splitlines()[0],
        presets={"default": NONE, **getattr(kind, "presets", {})},
    )


def known_methods() -> list[str]:
    """Names of all methods, the installed plugins last."""
    return [*dict.fromkeys([*METHODS, *plugins.names("methods")])]


def load_method(name: str) -> tuple[type[Method], type[Options]]:
    """The class of a method and the class of its options.

    Raises:
        UsageError: unknown name; the nearest is offered, plugins included.
        PluginError: the plugin can't be loaded, or is not a method.
    """
    if name not in METHODS:
        kind = plugin_method(name, known_methods())
        return kind, plugin_options(name, kind)
    module, method, options = METHODS[name].loader.split(":")
    home = import_module(module)
    return getattr(home, method), getattr(home, options)


def make_options(name: str, preset: str = "default", changes: Settings = NONE) -> Options:
    """Options of a method: its defaults, then the preset, then the user's changes.

    Args:
        name: of the method.
        preset: one of the method's presets.
        changes: option -> value; a text is read as the type of the option's default.

    Raises:
        UsageError: unknown method, preset or option, or a value of the wrong type or
            out of its range.
    """
    _, kind = load_method(name)
    presets = find_method(name).presets
    if preset not in presets:
        raise UsageError(f"Method '{name}' has no preset '{preset}'.{nearest(preset, [*presets])}")
    options = replace(kind(), **presets[preset])
    defaults = {field.name: getattr(options, field.name) for field in fields(options)}
    for key in changes:
        if key not in defaults:
            raise UsageError(
                f"Method '{name}' has no option '{key}'.{nearest(key, list(defaults))}"
            )
    read = {key: read_value(key, value, defaults[key]) for key, value in changes.items()}
    return replace(options, **read)


def unread_options(name: str, values: Settings, settings: Settings = NONE) -> list[str]:
    """Options that the user set, but that the method doesn't read.

    Those of a preset are among them only if the method reads none of what the preset changes.

    Args:
        name: of the method.
        values: all its options.
        settings: what the user set, be it the default.

    Returns:
        One line for each reason, which says what to do.
    """
    _, kind = load_method(name)
    default, by_reason = asdict(kind()), dict[str, list[str]]()
    unread = kind(**values).unread()
    by_preset = {key for key in {*values} - {*settings} if values[key] != default[key]}
    for key, why in unread.items():
        if key in settings or (key in by_preset and by_preset <= {*unread}):
            by_reason.setdefault(why, []).append(f"'{key}'")
    return [
        f"{'Options' if len(keys) > 1 else 'Option'} {', '.join(keys)} "
        f"{'change' if len(keys) > 1 else 'changes'} nothing for {name}: {why}"
        for why, keys in by_reason.items()
    ]


def read_value(key: str, value: Any, like: Any) -> Any:
    """A value given as text (or from TOML) in the type of the default it replaces."""
    if isinstance(like, bool):
        words = {"true": True, "on": True, "yes": True, "1": True}
        words |= {"false": False, "off": False, "no": False, "0": False}
        if str(value).lower() in words:
            return words[str(value).lower()]
        raise UsageError(f"Option '{key}' is on or off, but was given '{value}'.")
    if isinstance(like, str):
        return str(value)
    if value is False:  # a part whose weight is a number is switched off by zero
        value = 0
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise UsageError(f"Option '{key}' takes a number, but was given '{value}'.")
    if isinstance(like, int):
        if number != int(number):
            raise UsageError(f"Option '{key}' takes a whole number, but was given '{value}'.")
        return int(number)
    return number
