"""Plugins: other people's methods, noise models, data sets and encoders.

A name is looked up among the entry points of its group (`pzsl.methods` and so on); otherwise it is
read as `package.module:Name` or `path/to/file.py:Name`. A plugin is imported only when it is named.
"""

from __future__ import annotations

import hashlib
import re
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from pzsl.errors import UsageError, UserError
from pzsl.files import sha256_of
from pzsl.plugin_sources import and_others, naming, own_files, source_hash
from pzsl.progress import say

GROUPS = ("methods", "candidates", "datasets", "encoders")
NEEDED = {
    "methods": "a class that inherits from pzsl.methods.core.Method",
    "candidates": "a function of (images, rate, eta) that draws a mask, or a class of such",
    "datasets": "a function that gives a pzsl.datasets.Dataset",
    "encoders": "a class whose objects have what pzsl.encoders.Encoder has",
}
"""What a name of each group should stand for."""
_REFERENCE = re.compile(r"(?P<place>.+\.py|\w+(\.\w+)*):(?P<name>[A-Za-z_]\w*)", re.DOTALL)
_TRUSTED = Path(".cache") / "pzsl" / "plugins"
"""File in the user's home with the digests of the plugin files that were used on this machine."""


class PluginError(UserError):
    """A plugin failed or is not valid; the message begins with its name."""


class Plugin(NamedTuple):
    """A loaded plugin.

    Attributes:
        name: as records write it: `mine.py:Mine`, `package.module:Mine`, or the entry point.
        target: the class or function.
        at: where to find it again: like `name`, but with the full path of a file.
        source: SHA-256 of its source (`source_hash`); a run's numbers depend on it.
    """

    name: str
    target: Any
    at: str
    source: str

    def record(self) -> dict[str, str]:
        """The entry for a run's record."""
        return {"at": self.at, "source": self.source}


_places: dict[tuple[str, str], tuple[str, str]] = {}
"""(group, name) -> (place, digest) of the plugins that records have named, see `enrol`."""
_files: dict[str, str] = {}
"""Source file of each loaded plugin -> its name."""
_imported: dict[Path, str] = {}
"""File of each module that a plugin imports -> its digest then."""
_STARTED = time.time()


def names(group: str) -> list[str]:
    """Names of a group's installed plugins, without importing them."""
    return sorted(_installed(group))


def say_hidden(group: str, name: str) -> None:
    """Warn where an installed plugin has the name of a built-in one, which is used."""
    if (entry := _installed(group).get(name)) is not None:
        say(f"'{name}' is the built-in one: the installed plugin of this name is {entry.value}.")


def find(group: str, name: str) -> Plugin | None:
    """Load the plugin with this name; None if no plugin has it.

    Args:
        group: one of `GROUPS`.
        name: an entry point, `package.module:Name`, `path/to/file.py:Name`, or a name registered
            by `enrol`.

    Raises:
        PluginError: it can't be loaded, or has changed since the record was made.
    """
    at, recorded_digest = _places.get((group, name), (name, ""))
    entry = _entry(group, at)
    reference = _REFERENCE.fullmatch(at) if entry is None else None
    if entry is None and reference is None:
        if at.endswith(".py") and Path(at).is_file():
            raise UsageError(f"'{at}' is a file: name {NEEDED[group]} in it, as in {at}:NAME.")
        if recorded_digest:
            raise PluginError(
                f"Plugin '{name}' isn't installed here: install the package it is of."
            )
        return None
    where = _source_file(name, entry.module if entry else reference["place"])  # type: ignore[index]
    files = own_files(where)
    source = source_hash(files)
    again = entry is None and reference is not None and reference["place"].endswith(".py")
    _check_imports(name, files[1:] if again else files)  # a file that is named is run again
    if recorded_digest and source != recorded_digest:
        raise PluginError(
            f"Plugin '{name}' has changed since the run was made ({where}{and_others(files)}): "
            f"put back the source with SHA-256 {recorded_digest[:12]}, or train again."
        )
    target = _load(name, where, source, entry, reference, NEEDED[group])
    if again and reference:
        own = reference["name"]
        return Plugin(f"{where.name}:{own}", target, f"{where}:{own}", source)
    return Plugin(name, target, at, source)


def enrol(plugins: Mapping[str, Mapping[str, str]], trusted_only: bool = False) -> None:
    """Register the plugins of a run's record, so that `find` finds them by the record's names.

    Args:
        plugins: group and name (`methods mine.py:Mine`) -> `Plugin.record()`.
        trusted_only: refuse files that were never used on this machine, because a record may come
            from anybody.

    Raises:
        PluginError: a file isn't trusted, or the record is damaged.
    """
    for key, record in plugins.items():
        group, _, name = key.partition(" ")
        at, source = record.get("at"), record.get("source")
        if group not in GROUPS or not isinstance(at, str) or not isinstance(source, str):
            raise PluginError(f"The run's record names a plugin '{key}' that is damaged.")
        if trusted_only and at not in _installed(group) and source not in _trusted():
            raise PluginError(
                f"Plugin '{name}' of this run is code in {at.rpartition(':')[0]} that was never "
                f"used on this machine: read it, then name it once, as in '{naming(group, at)}'."
            )
        _places[group, name] = at, source


def trust(plugin: Plugin) -> None:
    """Remember that the user chose this source file, so that records may load it, too."""
    if plugin.source in _trusted():
        return
    try:
        file = Path.home() / _TRUSTED
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="ascii") as lines:
            lines.write(f"{plugin.source}\n")
    except (OSError, RuntimeError):
        return  # without a home folder nothing is remembered, and records ask again


def blame(error: BaseException, suspect: str | None = None) -> PluginError | None:
    """An error that names the plugin in which another one was raised; None if in no plugin.

    Args:
        error: with its traceback.
        suspect: the plugin in use, blamed if the traceback doesn't pass through one.
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
    return PluginError(f"Plugin '{suspect}' made pzsl fail: {_describe_error(error)}")


def _trusted() -> set[str]:
    try:
        return set((Path.home() / _TRUSTED).read_text(encoding="ascii").split())
    except (OSError, RuntimeError, ValueError):
        return set()


def _installed(group: str) -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=f"pzsl.{group}")}


def _entry(group: str, name: str) -> EntryPoint | None:
    """The entry point of this name, if there is one.

    Raises:
        PluginError: two packages have one.
    """
    entries = {entry.value: entry for entry in entry_points(group=f"pzsl.{group}", name=name)}
    if len(entries) > 1:
        raise PluginError(
            f"Several plugins are called '{name}': name one of {', '.join(sorted(entries))}."
        )
    return next(iter(entries.values()), None)


def _source_file(name: str, place: str) -> Path:
    """Find the source file of a plugin without running its code."""
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
        raise PluginError(f"Plugin '{name}' can't be loaded: {_describe_error(error)}") from error
    if spec is not None and spec.origin == "built-in":
        raise UsageError(
            f"Plugin '{name}': module '{place}' is part of Python itself and has no source: name "
            "the module or file that defines what you mean."
        )
    frozen = getattr(spec.loader_state, "filename", None) if spec else None  # os and its like
    file = Path(frozen or (spec and spec.origin) or "")
    if not file.is_file():
        raise UsageError(
            f"Plugin '{name}': module '{place}' can't be imported: install its package, or name "
            "its file (path/to/file.py:Name)."
        )
    return file


def _check_imports(name: str, files: Sequence[Path]) -> None:
    """Check that Python doesn't hold an older state of a module than its file has.

    Raises:
        PluginError: a file has changed since pzsl imported its module.
    """
    imported_files = {getattr(module, "__file__", None) for module in [*sys.modules.values()]}
    for file in files:
        source = sha256_of(file)
        known = _imported.get(file, "") if str(file) in imported_files else source
        if known and known != source:
            raise PluginError(
                f"Plugin '{name}': {file} has changed since Python imported it: restart Python."
            )
        if not known and file.stat().st_mtime > _STARTED:
            say(
                f"Plugin '{name}': {file} was changed after this process had started: if its "
                "module was imported before that, restart Python."
            )
        _imported[file] = source


def _load(
    name: str,
    where: Path,
    source: str,
    entry: EntryPoint | None,
    reference: re.Match[str] | None,
    needed: str,
) -> Any:
    """Import a plugin's module and return the class or function."""
    _files[str(where)] = name
    try:
        if entry is not None:
            return entry.load()
        assert reference is not None
        in_file = reference["place"].endswith(".py")
        module = _module(str(where), source) if in_file else import_module(reference["place"])
    except (Exception, SystemExit) as error:
        raise PluginError(f"Plugin '{name}' can't be loaded: {_describe_error(error)}") from error
    if not hasattr(module, reference["name"]):
        raise UsageError(
            f"Plugin '{name}': {where} has no '{reference['name']}': name {needed} that it defines."
        )
    return getattr(module, reference["name"])


@cache
def _module(file: str, source: str) -> ModuleType:
    """Import a source file as a module; after a change of the file it is another module."""
    name = f"pzsl_plugin_{hashlib.sha256(file.encode()).hexdigest()[:8]}_{source[:8]}"
    spec = spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look up their module by name
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _describe_error(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    at = f" (line {frames[-1].lineno} of {frames[-1].filename})" if frames else ""
    return f"{type(error).__name__}: {error}{at}."
