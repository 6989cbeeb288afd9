"""Commands that are imported only when they are called, so that `pzsl --help` stays fast."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, ClassVar, NamedTuple

import typer
from typer.main import get_command, get_group

from pzsl.cli.options.command import App, Group


class Entry(NamedTuple):
    """Where a command lives; it is imported by `load`.

    Attributes:
        place: `module:name` of its function, or of the typer application of a group.
        about: a line for the list of commands.
        no_args_is_help: whether it shows its help when called without arguments.
    """

    place: str
    about: str
    no_args_is_help: bool = False

    def load(self, name: str) -> Any:
        """Import the command."""
        module, _, target = self.place.partition(":")
        command = getattr(import_module(module), target)
        if isinstance(command, typer.Typer):
            group = get_group(command)
            group.name = name
            return group
        alone = App(add_completion=False)
        settings = {"short_help": self.about, "no_args_is_help": self.no_args_is_help}
        alone.command(name, **settings)(command)
        return get_command(alone)


class Loaded(Mapping[str, Any]):
    """Commands by name; each is imported on first access."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self._entries = entries
        self._commands: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._commands:
            self._commands[name] = self._entries[name].load(name)
        return self._commands[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


class LazyGroup(Group):
    """A group whose commands are imported on demand; subclasses set `entries`."""

    entries: ClassVar[Mapping[str, Entry]] = {}

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = Loaded(self.entries)  # type: ignore[assignment]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.about) for name, entry in self.entries.items()])
