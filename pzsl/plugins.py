"""Methods, noise, data sets and encoders of others: by entry point, by module, or by file.

A name is looked for in the entry points of its group (`pzsl.methods` and so on), then read as
`package.module:Name` or `path/to/file.py:Name`. Nothing is imported until it is asked for by name.
"""

from __future__ import annotations

import hashlib
import re
import sys
import traceback
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from pzsl.errors import UsageError, UserError

GROUPS = ("methods", "candidates", "datasets", "encoders")
_REFERENCE = re.compile(r"(?P<place>.+\.py|\w+(\.\w+)*):(?P<name>[A-Za-z_]\w*)", re.DOTALL)
_TRUSTED = Path(".cache") / "pzsl" / "plugins"
"""Below the user's home: digests of the source files that were named on this machine."""


class PluginError(UserError):
    """A plugin failed, or isn't what it should be; the message begins with its name."""


class Plugin(NamedTuple):
    """What a name stands for.

    Attributes:
        name: how records call it: `mine.py:Mine`, `package.module:Mine`, or the entry point.
        target: the class or function.
        at: where it is found again: as `name`, with the whole path of a file.
        source: SHA-256 of its source file; part of what a run's numbers depend on.
    """

    name: str
    target: Any
    at: str
    source: str

    def record(self) -> dict[str, str]:
        """What a run's record tells of it."""
        return {"at": self.at, "source": self.source}


_places: dict[tuple[str, str], tuple[str, str]] = {}
"""Where the plugins of the records at hand are, and their digests, by group and name."""
_files: dict[str, str] = {}
"""Source file of each plugin that was loaded -> its name."""


def names(group: str) -> list[str]:
    """Names of the installed plugins of a group; imports none of them."""
    return sorted(_installed(group))


def find(group: str, name: str) -> Plugin | None:
    """The plugin that a name stands for; None where it is no plugin's name.

    Args:
        group: one of `GROUPS`.
        name: an entry point, `package.module:Name`, `path/to/file.py:Name`, or a name that
            `enrol` was told.

    Raises:
        PluginError: it can't be loaded, or isn't the one that a record was made with.
    """
    at, wanted = _places.get((group, name), (name, ""))
    entry = _installed(group).get(at)
    found = _REFERENCE.fullmatch(at) if entry is None else None
    if entry is None and found is None:
        if wanted:
            raise PluginError(
                f"Plugin '{name}' isn't installed here: install the package it is of."
            )
        return None
    where = _source(name, entry.module if entry else found["place"])  # type: ignore[index]
    source = hashlib.sha256(where.read_bytes()).hexdigest()
    if wanted and source != wanted:
        raise PluginError(
            f"Plugin '{name}' has changed since the run was made ({where}): put back the source "
            f"with SHA-256 {wanted[:12]}, or train again."
        )
    target = _load(name, where, source, entry, found)
    if found and found["place"].endswith(".py"):
        return Plugin(f"{where.name}:{found['name']}", target, f"{where}:{found['name']}", source)
    return Plugin(name, target, at, source)


def enrol(plugins: Mapping[str, Mapping[str, str]], trusted_only: bool = False) -> None:
    """Let `find` know the plugins that a run's record names.

    Args:
        plugins: group and name, `methods mine.py:Mine`, -> `Plugin.record`.
        trusted_only: refuse the code of files that were never named on this machine, as a record
            may come from anybody.

    Raises:
        PluginError: such code, or a record that is damaged.
    """
    for key, record in plugins.items():
        group, _, name = key.partition(" ")
        at, source = record.get("at"), record.get("source")
        if group not in GROUPS or not isinstance(at, str) or not isinstance(source, str):
            raise PluginError(f"The run's record names a plugin '{key}' that is damaged.")
        if trusted_only and at not in _installed(group) and source not in _trusted():
            raise PluginError(
                f"Plugin '{name}' of this run is code in {at.rpartition(':')[0]} that was never "
                "used on this machine: read it, then name it once, as in 'pzsl train --method "
                f"{at}'."
            )
        _places[group, name] = at, source


def trust(plugin: Plugin) -> None:
    """Remember that the user named this source file, so that records may name it."""
    if plugin.source in _trusted():
        return
    try:
        file = Path.home() / _TRUSTED
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="ascii") as lines:
            lines.write(f"{plugin.source}\n")
    except (OSError, RuntimeError):
        return  # without a home nothing is remembered; records then ask for the name again


def blame(error: BaseException, suspect: str | None = None) -> PluginError | None:
    """The line that says which plugin an unexpected error came from; None where from none.

    Args:
        error: with its traceback.
        suspect: the plugin that was at work, where the traceback doesn't name one.
    """
    frames = traceback.extract_tb(error.__traceback__)
    for frame in reversed(frames):
        if frame.filename in _files:
            return PluginError(
                f"Plugin '{_files[frame.filename]}' failed: {type(error).__name__}: {error} "
                f"(line {frame.lineno} of {frame.filename})."
            )
    if suspect is None:
        return None
    return PluginError(f"Plugin '{suspect}' made pzsl fail: {_told(error)}")


def _trusted() -> set[str]:
    try:
        return set((Path.home() / _TRUSTED).read_text(encoding="ascii").split())
    except (OSError, RuntimeError, ValueError):
        return set()


def _installed(group: str) -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=f"pzsl.{group}")}


def _source(name: str, place: str) -> Path:
    """The source file of a plugin, before any of its code runs."""
    if place.endswith(".py"):
        file = Path(place).expanduser().absolute()
        if not file.is_file():
            raise UsageError(f"Plugin '{name}': there is no file {file}.")
        return file
    try:
        spec = find_spec(place)
    except (ImportError, ValueError, AttributeError):
        spec = None
    except Exception as error:
        raise PluginError(f"Plugin '{name}' can't be loaded: {_told(error)}") from error
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        raise UsageError(
            f"Plugin '{name}': module '{place}' can't be imported: install its package, or name "
            "its file (path/to/file.py:Name)."
        )
    return Path(spec.origin)


def _load(
    name: str, where: Path, source: str, entry: EntryPoint | None, found: re.Match[str] | None
) -> Any:
    """Import a plugin's module and take the class or function out of it."""
    _files[str(where)] = name
    try:
        if entry is not None:
            return entry.load()
        assert found is not None
        in_file = found["place"].endswith(".py")
        module = _module(str(where), source) if in_file else import_module(found["place"])
    except (Exception, SystemExit) as error:
        raise PluginError(f"Plugin '{name}' can't be loaded: {_told(error)}") from error
    if not hasattr(module, found["name"]):
        raise UsageError(f"Plugin '{name}': {where} has no '{found['name']}'.")
    return getattr(module, found["name"])


@cache
def _module(file: str, source: str) -> ModuleType:
    """A source file as a module of its own; another state of the file is another module."""
    name = f"pzsl_plugin_{hashlib.sha256(file.encode()).hexdigest()[:8]}_{source[:8]}"
    spec = spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _told(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    at = f" (line {frames[-1].lineno} of {frames[-1].filename})" if frames else ""
    return f"{type(error).__name__}: {error}{at}."
