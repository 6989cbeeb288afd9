"""The code blocks of README and docs: what each is, and which are marked as not to be run.

A mark is a comment of Markdown on the line before a block, which readers don't see:

    <!-- not run: REASON -->    nothing runs it; the reasons are a closed list
    <!-- file: NAME -->         what the block shows is the content of this file
    <!-- layout -->             shows where things are or what something looks like

All other blocks are run by tests/test_docs.py: command lines, Python, and files that name
themselves in their first line (`# sharpen.py`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
REASONS = {
    "installs": "what it installs comes from a network",
    "needs the network": "it fetches or sends",
    "needs real data": "it measures on data that isn't part of the project",
    "needs a cluster": "several GPUs, SLURM or Ray",
    "measures": "it takes minutes, and its answer is this machine's own",
}
MARK = re.compile(r"<!-- (not run|file|layout)(?:: (.+))? -->")
NAMED = re.compile(r"# (\w+\.py)\n")


@dataclass(frozen=True)
class Block:
    """A block of code as a document shows it."""

    file: str
    line: int
    text: str
    kind: str
    """`shell`, `python`, `file`, `layout`, `not run`, or `unknown`."""
    mark: str = ""
    """The reason why it isn't run, or the name of the file."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def documents() -> list[Path]:
    """README and all documents, examples included."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks_of(path: Path) -> list[Block]:
    """All blocks of a document, fenced and indented ones, in order."""
    lines = path.read_text(encoding="utf-8").splitlines()
    found, number, last = [], 0, ""
    while number < len(lines):
        fenced = lines[number].startswith("```")
        if fenced or (lines[number].startswith("    ") and not last.startswith(("*", "  "))):
            end = _end(lines, number, fenced)
            inside = lines[number + 1 : end - 1] if fenced else lines[number:end]
            text = "\n".join(line if fenced else line[4:] for line in inside).rstrip() + "\n"
            found.append(_block(path.name, number + 1, text, last, lines[number][3:].strip()))
            number, last = end, ""
            continue
        last = lines[number] or last
        number += 1
    return found


def _end(lines: list[str], start: int, fenced: bool) -> int:
    if fenced:
        return next(n for n in range(start + 1, len(lines)) if lines[n].startswith("```")) + 1
    end = start
    while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
        end += 1
    return end


def _block(file: str, line: int, text: str, before: str, language: str) -> Block:
    mark = MARK.fullmatch(before.strip())
    if mark:
        return Block(file, line, text, mark[1], mark[2] or "")
    name = NAMED.match(text)
    if name and language == "python":
        return Block(file, line, text, "file", name[1])
    first = text.split(maxsplit=1)[0]
    if first == "pzsl":
        return Block(file, line, text, "shell")
    python = language == "python" or first in ("import", "from") or re.match(r"\w+ = pzsl", text)
    return Block(file, line, text, "python" if python else "unknown")
