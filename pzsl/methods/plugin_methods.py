"""Methods of other authors, found as plugins: their class and their options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_type_hints

from pzsl import plugins
from pzsl.errors import UsageError, nearest

if TYPE_CHECKING:
    from pzsl.methods.core import Method, Options


def plugin_method(name: str, known_names: list[str]) -> type[Method]:
    """The method class of a plugin; for an unknown name the nearest of `known_names` is suggested.

    Raises:
        UsageError: no plugin is called that. PluginError: it can't be loaded, or is not a method.
    """
    plugin = plugins.find("methods", name)
    if plugin is None:
        raise UsageError(f"Unknown method '{name}'.{nearest(name, known_names)}")
    from pzsl.methods.core import Method

    if not (isinstance(plugin.target, type) and issubclass(plugin.target, Method)):
        raise plugins.PluginError(
            f"Plugin '{name}' is not a method: it should be a class that inherits from "
            "pzsl.methods.core.Method."
        )
    kind: type[Method] = plugin.target
    return kind


def plugin_options(name: str, kind: type[Method]) -> type[Options]:
    """The dataclass of a plugin's options: its `Options`, or the type annotation of `options`."""
    from pzsl.methods.core import Options

    try:
        options: Any = getattr(kind, "Options", None) or get_type_hints(kind)["options"]
    except Exception as error:
        raise plugins.PluginError(
            f"Plugin '{name}': its options can't be read: {error}."
        ) from error
    if not (isinstance(options, type) and issubclass(options, Options)):
        raise plugins.PluginError(
            f"Plugin '{name}': Options should be a dataclass that inherits from "
            "pzsl.methods.core.Options."
        )
    return options
