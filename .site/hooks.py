"""Pages that are made, not written: start, commands, Python, the changelog, formulas."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

import pzsl
from pzsl.cli import app

ROOT = Path(__file__).parents[1]
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made of the README, the changelog, the command line and docstrings."""
    pages = {
        "index.md": _from_root("README.md"),
        "changelog.md": _from_root("CHANGELOG.md"),
        "commands.md": commands_page(),
        "python.md": python_page(),
    }
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_content(html: str, **_: Any) -> str:
    """Typeset formulas as MathML, which browsers draw without a script."""
    return FORMULA.sub(_formula, html)


def _formula(match: re.Match[str]) -> str:
    tag, bracket, latex = match.groups()
    display = "block" if bracket == "[" else "inline"
    plain = latex.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    style = ' style="overflow-y: hidden"' if tag == "div" else ""  # the theme lets it scroll
    return f'<{tag} class="arithmatex"{style}>{convert(plain, display=display)}</{tag}>'


def _from_root(name: str) -> str:
    """A document at the top of the project, with links that start from `docs/`."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return text.replace("](docs/", "](")


def commands_page() -> str:
    """What `--help` prints, of every command."""
    told = ["# Commands\n\nEach command prints this page's part by `--help`.\n"]
    for words in [[], *_commands(get_command(app))]:
        name = " ".join(["pzsl", *words])
        shown = CliRunner().invoke(app, [*words, "--help"], prog_name="pzsl", env={"COLUMNS": "80"})
        if shown.exit_code:
            raise RuntimeError(f"{name} --help fails: {shown.output}")
        told.append(f"## {name}\n\n```text\n{shown.output.strip()}\n```\n")
    return "\n".join(told)


def _commands(group: TyperGroup, before: tuple[str, ...] = ()) -> Iterator[list[str]]:
    for name, command in group.commands.items():
        yield [*before, name]
        if hasattr(command, "commands"):
            yield from _commands(command, (*before, name))


def python_page() -> str:
    """The docstrings of what `pzsl` offers."""
    told = ["# Python\n\nAll that `import pzsl` offers. What else a module holds may change.\n"]
    for name in sorted(pzsl.__all__):
        if not name.startswith("__"):
            found = getattr(pzsl, name)
            told.append(f"## pzsl.{name}\n\n::: {found.__module__}.{found.__qualname__}\n")
    return "\n".join(told)
