"""Methods of others, found as plugins: their class and their options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_type_hints

from pzsl import plugins
from pzsl.errors import UsageError, nearest

if TYPE_CHECKING:
    from pzsl.methods.core import Method, Options


def foreign_method(name: str, known: list[str]) -> type[Method]:
    """The class that a plugin's name stands for, seen to be a method; `known` are offered else.

    Raises:
        UsageError: no plugin is called that. PluginError: it can't be loaded, or is no method.
    """
    found = plugins.find("methods", name)
    if found is None:
        raise UsageError(f"Unknown method '{name}'.{nearest(name, known)}")
    from pzsl.methods.core import Method

    if not (isinstance(found.target, type) and issubclass(found.target, Method)):
        raise plugins.PluginError(
            f"Plugin '{name}' is no method: it should be a class that inherits from "
            "pzsl.methods.core.Method."
        )
    kind: type[Method] = found.target
    return kind


def foreign_options(name: str, kind: type[Method]) -> type[Options]:
    """The dataclass of a plugin's options: its attribute `Options`, or what annotates `options`."""
    from pzsl.methods.core import Options

    try:
        found: Any = getattr(kind, "Options", None) or get_type_hints(kind)["options"]
    except Exception as error:
        raise plugins.PluginError(
            f"Plugin '{name}': its options can't be read: {error}."
        ) from error
    if not (isinstance(found, type) and issubclass(found, Options)):
        raise plugins.PluginError(
            f"Plugin '{name}': Options should be a dataclass that inherits from "
            "pzsl.methods.core.Options."
        )
    return found
