"""Output for the user: progress bars and messages on stderr, results on stdout."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterable
from typing import Any, TextIO

SHARE = re.compile(r"(\d+) %")


def progress(total: int, unit: str, done: int = 0, label: str = "") -> Any:
    """A tqdm bar (a context manager with `update(n)`); silent if stderr is not a terminal."""
    from tqdm import tqdm

    return tqdm(
        total=total,
        initial=done,
        unit=f" {unit}",
        desc=label or None,
        file=sys.stderr,
        disable=sys.stderr is None or not sys.stderr.isatty(),
        dynamic_ncols=True,
    )


def counted(count: int, noun: str, plural: str = "") -> str:
    """A count with its noun: '1 run', '1,200 runs'; `plural` where that is not noun and s."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def gravest(warnings: Iterable[str]) -> str:
    """The worst of some warnings of one kind: of an encoder, or of its estimated noise.

    Each names a share in percent first: of right first guesses, or of candidate sets without the
    truth.
    """

    def gravity(warning: str) -> tuple[float, str]:
        match = SHARE.search(warning)
        share = float(match[1]) if match else 0.0
        return (share if "noise" in warning else -share), warning

    return max(warnings, key=gravity)


def say(message: str) -> None:
    """Print a message, one line, on stderr; stdout is for results.

    Work goes on where stderr is a file on a full disk, or a terminal that was closed.
    """
    try:
        write_text(printable(message, keep="\t"), sys.stderr)
    except BrokenPipeError:  # whoever reads both, such as `head`, has seen enough
        raise
    except OSError:
        pass


def write_text(text: str, stream: TextIO | None) -> None:
    """Write a text and a line break; characters that the stream can't encode become escapes.

    Args:
        text: may hold line breaks.
        stream: stdout or stderr; None if the process has none, as under some daemons.
    """
    if stream is None:
        return
    encoding = stream.encoding or "utf-8"
    shown = text.encode(encoding, "backslashreplace").decode(encoding)
    stream.write(f"{shown}\n")  # at once: print would let another thread's line come between
    stream.flush()


def shell_word(text: object) -> str:
    """A path or a name as one word of a printed command, which works when it is pasted.

    Printed commands often stand between single quotes, so what needs quotes gets double ones,
    unless a shell would read something in them.
    """
    word = shlex.quote(str(text))
    plain = word == str(text) or set('"\\$`!') & set(str(text)) or not str(text)
    return word if plain else f'"{text}"'


def printable(text: str, keep: str = "") -> str:
    """Replace control characters, so that no file name can control the terminal.

    Args:
        text: from a file, a folder or an archive.
        keep: control characters to keep, such as the line breaks of pzsl's own text.
    """
    if text.isprintable():
        return text
    fill = "\N{REPLACEMENT CHARACTER}"
    return "".join(c if c.isprintable() or c in keep else fill for c in text)
