"""The commands' own help and errors: names from the registries, and what was probably meant."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from pzsl.errors import UsageError, nearest

Function = TypeVar("Function", bound=Callable[..., Any])

_WRONG_USAGE: type[Any] = typer.BadParameter.__mro__[1]  # click's UsageError, wherever typer has it
_HYPHEN = "\u2011"
"""Stands for a hyphen while lines are broken, which else happens within `clip-pzsl`."""
_SHOWN = {
    "<list[str]>": "TEXT...",
    "<list[Path]>": "FILE...",
    "<str>": "TEXT",
    "<path>": "PATH",
    "<int>": "N",
    "<float>": "X",
}
"""What stands behind an option's name in place of typer's names of types."""
_BRACKETS = re.compile(r"\s+\[(?:default: )?([^\[\]]*)\]$")
"""What typer adds to the help of an option: its default, or that it is required."""
_INPUTS = ("--cache", "--run", "--dataset")


def _methods() -> str:
    from pzsl.methods import known_methods

    return ", ".join(known_methods())


def _presets() -> str:
    """Every preset, with the methods that have it: `default; paper (clip-pzsl, pico, co-reg)`."""
    from pzsl.methods import METHODS

    owners: dict[str, list[str]] = {}
    for name, entry in METHODS.items():
        for preset in entry.presets:
            owners.setdefault(preset, []).append(name)
    return "; ".join(
        preset if len(names) == len(METHODS) else f"{preset} ({', '.join(names)})"
        for preset, names in owners.items()
    )


def _noises() -> str:
    from pzsl.candidates import known_noises

    return ", ".join(known_noises())


def _labels() -> str:
    from pzsl.requests import LABELS

    return ", ".join(LABELS)


def _datasets() -> str:
    from pzsl.datasets import known_datasets

    return ", ".join(known_datasets())


NAMES: dict[str, Callable[[], str]] = {
    "{methods}": _methods,
    "{presets}": _presets,
    "{noises}": _noises,
    "{labels}": _labels,
    "{datasets}": _datasets,
}
"""Words in the help of an option that stand for names of a registry; read when help is shown."""


def _filled(text: str) -> str:
    """The help of an option with the names in place of what stands for them."""
    for word, names in NAMES.items():
        if word in text:
            text = text.replace(word, names())
    return text


def _groups(params: Sequence[Any]) -> dict[str, list[Any]]:
    """Options under their headings: arguments first, options that have no heading last."""
    found: dict[str, list[Any]] = {}
    for param in params:
        if param.param_type_name == "argument":
            found.setdefault("Arguments", []).append(param)
        elif not param.hidden:
            found.setdefault(getattr(param, "rich_help_panel", None) or "Options", []).append(param)
    rest = found.pop("Options", [])
    first = {"Arguments": found.pop("Arguments")} if "Arguments" in found else {}
    return first | found | ({"Options": rest} if rest else {})


def _line(param: Any, ctx: Any) -> tuple[str, str]:
    """Flags and help of an option, as the help shows them."""
    told = param.help
    try:
        param.help = _filled(told or "").replace("-", _HYPHEN)
        flags, text = param.get_help_record(ctx)
    finally:
        param.help = told
    for kind, shown in _SHOWN.items():
        flags = flags.replace(kind, shown)
    return flags, _BRACKETS.sub(r" [\1]", text)


def _told_and_shown(text: str | None) -> tuple[str, list[str]]:
    """A command's description, and its examples: the lines that follow a backspace."""
    about, _, examples = inspect.cleandoc(text or "").partition("\b")
    return about.strip(), [line.strip() for line in examples.splitlines() if line.strip()]


class _WithExamples:
    """A help that ends with examples, each in a line of its own."""

    help: str | None

    def format_help_text(self, _ctx: Any, formatter: Any) -> None:
        """Write the description."""
        about, _ = _told_and_shown(self.help)
        if about:
            formatter.write_paragraph()
            with formatter.indentation():
                formatter.write_text(about)

    def format_epilog(self, _ctx: Any, formatter: Any) -> None:
        """Write the examples."""
        _, examples = _told_and_shown(self.help)
        if examples:
            with formatter.section("Examples"):
                formatter.write("".join(f"  {line}\n" for line in examples))


class Command(_WithExamples, TyperCommand):
    """A command whose help names what the registries hold, and whose errors are one line."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options by their groups, with names for what their help stands for.

        No name is cut in two where a line is broken.
        """
        for group, params in _groups(self.get_params(ctx)).items():
            with formatter.section(group):
                formatter.write_dl([_line(param, ctx) for param in params])
        formatter.buffer = [line.replace(_HYPHEN, "-") for line in formatter.buffer]

    def make_context(
        self, info_name: Any, args: list[str], parent: Any = None, **extra: Any
    ) -> Any:
        """Read the command line; what is wrong is said in one line."""
        given = list(args)
        try:
            return super().make_context(info_name, args, parent, **extra)
        except _WRONG_USAGE as error:
            if type(error).__name__ == "NoArgsIsHelpError":
                raise
            raise UsageError(_meant(self, error, given)) from None


class Group(_WithExamples, TyperGroup):
    """A group of commands; an unknown one is answered in one line."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that is named."""
        try:
            return super().resolve_command(ctx, args)
        except _WRONG_USAGE:
            known = nearest(args[0], self.list_commands(ctx))
            raise UsageError(f"No such command '{args[0]}'.{known}") from None


class App(typer.Typer):
    """A typer application of such commands."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"cls": Group, "rich_markup_mode": None, **options})

    def command(self, name: str | None = None, **options: Any) -> Callable[[Function], Function]:
        """Register a command."""
        return super().command(name, **{"cls": Command, **options})


def _meant(command: TyperCommand, error: Any, args: list[str]) -> str:
    """What is wrong with a command line, and what was probably meant."""
    path = error.ctx.command_path if error.ctx else command.name
    message = error.format_message().rstrip(".")
    name = getattr(error, "option_name", None)
    if type(error).__name__ == "NoSuchOption":
        message = f"No such option '{name}'" + _instead(command, str(name), path, args)
    elif "unexpected extra" in message:
        message = _extra(command, message, args)
    elif type(error).__name__ == "MissingParameter" and error.param is not None:
        told = getattr(error.param, "help", None)
        message += f" ({told.rstrip('.')})" if told else ""
        message = _extra(command, message, args)
    end = "" if message.endswith("?") else "."
    return f"{message}{end} See '{path} --help'."


def _options(command: TyperCommand) -> Iterator[tuple[str, Any]]:
    """The options of a command by their long names."""
    for param in command.params:
        for name in param.opts:
            if name.startswith("--"):
                yield name, param


def _instead(command: TyperCommand, name: str, path: str | None, args: list[str]) -> str:
    """What to write in place of an unknown option: a bare argument, or the nearest option."""
    import difflib

    if name.lstrip("-") in {param.name for param in command.params if param.opts[0][0] != "-"}:
        bare = name.lstrip("-").upper()
        given = next((at for at, word in enumerate(args) if word.partition("=")[0] == name), 0)
        value = args[given].partition("=")[2] or (*args[given + 1 :], bare)[0]
        return f": write its value alone, '{path} {value}'"
    known = [known for known, _ in _options(command)]
    close = difflib.get_close_matches(name.replace("_", "-"), known, n=1)
    return f". Did you mean '{close[0]}'?" if close else ""


def _stray(command: TyperCommand, args: list[str]) -> tuple[str, list[str]]:
    """The first word of a command line that no option takes, with all that stands beside it.

    Returns:
        The option before it, empty where that takes no value, and the words from its value on.
    """
    options = dict(_options(command))
    option, values = "", list[str]()
    for word in args:
        if word.startswith("-"):
            if len(values) > bool(option):
                break
            option, equals, value = word.partition("=")
            values = [value] if equals else []
            if option not in options or options[option].is_flag:
                option = ""
        else:
            values.append(word)
    return option, values if len(values) > bool(option) else []


def _extra(command: TyperCommand, message: str, args: list[str]) -> str:
    """What a word may have been meant for that belongs to no option."""
    options = dict(_options(command))
    option, values = _stray(command, args)
    if not values:
        return message
    if option and options[option].multiple:
        joined = ",".join(value.strip(",") for value in values)
        return f"Unexpected '{values[1]}'. Did you mean '{option} {joined}'?"
    free = [name for name in _INPUTS if name in options and name not in args]
    stray = values[1] if option else values[0]
    return f"Unexpected '{stray}'. Did you mean '{free[0]} {stray}'?" if free else message
