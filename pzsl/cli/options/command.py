"""Help and usage errors of the commands: help lists registered names, errors suggest a fix."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from pzsl.errors import UsageError, nearest
from pzsl.progress import shell_word

Function = TypeVar("Function", bound=Callable[..., Any])

_WRONG_USAGE: type[Any] = typer.BadParameter.__mro__[1]  # click's UsageError, wherever typer has it
_HYPHEN = "\u2011"
"""Replaces hyphens while lines are wrapped, so that `clip-pzsl` is not broken in two."""
_SHOWN = {
    "<list[str]>": "TEXT...",
    "<list[Path]>": "FILE...",
    "<str>": "TEXT",
    "<path>": "PATH",
    "<int>": "N",
    "<float>": "X",
}
"""typer's name of a type -> the word that the help shows after an option's name."""
_BRACKETS = re.compile(r"\s+\[(?:default: )?([^\[\]]*)\]$")
"""What typer adds to the help of an option: its default, or that it is required."""
_TABLES = (".csv", ".tsv", ".parquet", ".jsonl")


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
"""Placeholders in help texts -> function that lists a registry's names; called for --help only."""


def _fill_in_names(text: str) -> str:
    """Replace the placeholders of `NAMES` in an option's help."""
    for word, names in NAMES.items():
        if word in text:
            text = text.replace(word, names())
    return text


def _group_options(params: Sequence[Any]) -> dict[str, list[Any]]:
    """Options by heading: arguments come first, options without a heading last."""
    groups: dict[str, list[Any]] = {}
    for param in params:
        if param.param_type_name == "argument":
            groups.setdefault("Arguments", []).append(param)
        elif not param.hidden:
            groups.setdefault(getattr(param, "rich_help_panel", None) or "Options", []).append(
                param
            )
    ungrouped = groups.pop("Options", [])
    first = {"Arguments": groups.pop("Arguments")} if "Arguments" in groups else {}
    return first | groups | ({"Options": ungrouped} if ungrouped else {})


def _help_row(param: Any, ctx: Any) -> tuple[str, str]:
    """The flags and the help text of an option, as --help shows them."""
    help_text = param.help
    try:
        param.help = _fill_in_names(help_text or "").replace("-", _HYPHEN)
        flags, text = param.get_help_record(ctx)
    finally:
        param.help = help_text
    for kind, shown in _SHOWN.items():
        flags = flags.replace(kind, shown)
    return flags, _BRACKETS.sub(r" [\1]", text)


def _split_examples(text: str | None) -> tuple[str, list[str]]:
    """A command's description, and its examples: the lines that follow a backspace."""
    about, _, examples = inspect.cleandoc(text or "").partition("\b")
    return about.strip(), [line.strip() for line in examples.splitlines() if line.strip()]


class _HelpWithExamples:
    """A help that ends with examples, each in a line of its own, and usage errors in one line."""

    help: str | None

    def format_help_text(self, _ctx: Any, formatter: Any) -> None:
        """Write the description."""
        about, _ = _split_examples(self.help)
        if about:
            formatter.write_paragraph()
            with formatter.indentation():
                formatter.write_text(about)

    def format_epilog(self, _ctx: Any, formatter: Any) -> None:
        """Write the examples."""
        _, examples = _split_examples(self.help)
        if examples:
            with formatter.section("Examples"):
                formatter.write("".join(f"  {line}\n" for line in examples))

    def make_context(
        self, info_name: Any, args: list[str], parent: Any = None, **extra: Any
    ) -> Any:
        """Parse the command line; raise a one-line `UsageError` if it is wrong."""
        words = list(args)
        _check_given(words)
        try:
            return super().make_context(info_name, args, parent, **extra)  # type: ignore[misc]
        except _WRONG_USAGE as error:
            if type(error).__name__ == "NoArgsIsHelpError":
                raise
            raise UsageError(_usage_message(self, error, words)) from None


class Command(_HelpWithExamples, TyperCommand):
    """A command whose help lists the registered names."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options under their headings; names are never broken across lines."""
        for group, params in _group_options(self.get_params(ctx)).items():
            with formatter.section(group):
                formatter.write_dl([_help_row(param, ctx) for param in params])
        formatter.buffer = [line.replace(_HYPHEN, "-") for line in formatter.buffer]


class Group(_HelpWithExamples, TyperGroup):
    """A group of commands; an unknown command gets a one-line error."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find a command by its name."""
        try:
            return super().resolve_command(ctx, args)
        except _WRONG_USAGE:
            suggestion = nearest(args[0], self.list_commands(ctx))
            raise UsageError(f"No such command '{args[0]}'.{suggestion}") from None


class App(typer.Typer):
    """A typer application of such commands."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"cls": Group, "rich_markup_mode": None, **options})

    def command(self, name: str | None = None, **options: Any) -> Callable[[Function], Function]:
        """Register a command."""
        return super().command(name, **{"cls": Command, **options})


def _check_given(args: Sequence[str]) -> None:
    """Refuse empty words, such as that of a shell variable without a value.

    As a path, such a word would be the current folder; as a list, it would hold nothing.

    Raises:
        UsageError: a word is blank, or an option ends with `=`.
    """
    for place, word in enumerate(args):
        name, equals, value = word.partition("=")
        if word.startswith("--") and equals and not value.strip():
            raise UsageError(f"{name} is empty: give it a value, or leave it out.")
        if not word.strip():
            before = args[place - 1] if place else ""
            if before.startswith("--"):
                raise UsageError(f"{before} is empty: give it a value, or leave it out.")
            raise UsageError("An argument is empty: give it a value, or leave it out.")


def _usage_message(command: Any, error: Any, args: list[str]) -> str:
    """The message that says what is wrong with a command line, and suggests a correction."""
    path = error.ctx.command_path if error.ctx else command.name
    message = error.format_message().rstrip(".")
    name = getattr(error, "option_name", None)
    if type(error).__name__ == "NoSuchOption":
        message = f"No such option '{name}'" + _instead(command, str(name), path, args)
    elif "unexpected extra" in message:
        message = _unexpected_word(command, message, args)
    elif type(error).__name__ == "MissingParameter" and error.param is not None:
        help_text = getattr(error.param, "help", None)
        message += f" ({help_text.rstrip('.')})" if help_text else ""
        if all(param.param_type_name == "option" for param in command.params):
            message = _unexpected_word(command, message, args)
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
        place = next((at for at, word in enumerate(args) if word.partition("=")[0] == name), 0)
        value = args[place].partition("=")[2] or (*args[place + 1 :], bare)[0]
        return f": write its value alone, '{path} {shell_word(value)}'"
    names = [option for option, _ in _options(command)]
    close = difflib.get_close_matches(name.replace("_", "-"), names, n=1)
    return f". Did you mean '{close[0]}'?" if close else ""


def _stray(command: TyperCommand, args: list[str]) -> tuple[str, list[str]]:
    """Find the first word that belongs to no option.

    Returns:
        The option before it ('' if that option takes no value), and all words after that option:
        its value, then the stray ones. No words where none is stray.
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


def _unexpected_word(command: TyperCommand, message: str, args: list[str]) -> str:
    """The message about a word that belongs to no option, with the option it may belong to."""
    options = dict(_options(command))
    option, values = _stray(command, args)
    if not values:
        return message
    if option and options[option].multiple:
        joined = shell_word(",".join(value.strip(",") for value in values))
        return f"Unexpected '{values[1]}'. Did you mean '{option} {joined}'?"
    stray = values[1] if option else values[0]
    free = [name for name in _inputs(stray) if name.split()[-1] in {*options} - {*args}]
    if "--dataset" in args:
        free = [name.removeprefix("--dataset folder ") for name in free]
    meant = [f"{name} {shell_word(stray)}" for name in free]
    return f"Unexpected '{stray}'. Did you mean '{meant[0]}'?" if meant else message


def _inputs(word: str) -> tuple[str, ...]:
    """Options that a word may be the value of, the likeliest first."""
    if Path(word).is_dir():
        return ("--run", "--dataset folder --root")
    if Path(word).suffix.lower() in _TABLES:
        return ("--table", "--apply")
    return ("--cache", "--run", "--dataset")
