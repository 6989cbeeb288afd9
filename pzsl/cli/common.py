"""What the commands share: options, printing results, errors in one line, lists with commas."""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pzsl.errors import SeveralError, UsageError, UserError, lacks_memory
from pzsl.progress import printable, say, write_text

if TYPE_CHECKING:
    from pzsl.datasets import Annotators

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
RunCache = Annotated[
    Path | None, typer.Option(help="The run's cache, where it has moved. [as recorded]")
]
RunIfAny = Annotated[
    Path | None, typer.Option(help="Folder of a finished run. [a new one, trained on --cache]")
]
CacheToCheck = Annotated[
    Path | None,
    typer.Option(
        help="Without --run, the cache to train on; with it, the run's cache if that has moved."
    ),
]
NewRuns = Annotated[Path, typer.Option(help="Folder for the record of a new run.")]

FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


def complain(error: Exception) -> int:
    """Print an error on stderr, one line per fault; return the exit code."""
    if not isinstance(error, UserError | OSError):
        from pzsl.plugins import blame

        error = blame(error) or error
    if isinstance(error, UserError):
        text = str(error)
    elif lacks_memory(error):
        text = (
            f"There is not enough memory ({str(error)[:120] or 'it is used up'}): close other "
            "programs, raise its limit, or give less work at once (fewer --workers, small batches)."
        )
    elif isinstance(error, OSError):
        text = _system_error_text(error)
    else:
        text = (
            f"Unexpected {type(error).__name__}: {error}. This is a fault in pzsl: run the "
            "command again with --debug and report what it prints."
        )
    first, *details = error.lines if isinstance(error, SeveralError) else (text,)
    say("pzsl: " + " ".join(first.split()))
    for line in details:
        say("  " + " ".join(line.split()))
    return error.exit_code if isinstance(error, UserError) else 1


def _system_error_text(error: OSError) -> str:
    """The operating system's message, with the file if it is known."""
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in FULL:
        return f"The disk is full{where}: free some space and run the same command again."
    if error.errno == errno.EROFS:
        return f"The disk is read-only{where}: choose a place that can be written."
    said = error.strerror or str(error) or type(error).__name__  # some libraries say nothing else
    return f"{said}{where}{_remedy(error)}"


def _remedy(error: OSError) -> str:
    """What to do where a file is in the way of a folder, or where no folder can be made."""
    path = Path(str(error.filename or ""))
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        files = [folder for folder in (path, *path.parents) if folder.is_file()]
    if error.errno in (errno.ENOTDIR, errno.EEXIST) and files:
        return f": {files[0]} is a file; name a folder, or another place."
    if error.errno in (errno.ENOENT, errno.EACCES, errno.EPERM):
        return ": name a place that exists and that you may read or write."
    return ""


def emit(result: dict[str, Any], as_json: bool, text: Callable[[dict[str, Any]], str]) -> None:
    """Print a command's result on stdout: one JSON document, or `text(result)`.

    In the text, control characters of names are replaced. Of line breaks only those remain that
    `text` adds, and those of a ready text: an entry `text` at any depth of the result.
    """
    if as_json:  # default: NumPy's numbers, which JSON does not know
        shown = json.dumps(result, indent=2, default=lambda value: value.tolist())
    else:
        shown = printable(text(_in_one_line(result)), keep="\n\t")
    write_text(shown, sys.stdout)


def _in_one_line(value: Any) -> Any:
    """A value with all its texts, such as names of files, as single lines, but for ready ones."""
    if isinstance(value, str):
        return printable(value, keep="\t")
    if isinstance(value, dict):
        return {
            _in_one_line(name): entry if name == "text" else _in_one_line(entry)
            for name, entry in value.items()
        }
    if isinstance(value, list | tuple):
        return [_in_one_line(entry) for entry in value]
    return value


def words(values: Sequence[str] | None) -> list[str]:
    """Split the values of an option that is repeated or comma-separated: a,b and c -> [a, b, c]."""
    return [word.strip() for value in values or () for word in value.split(",") if word.strip()]


def numbers(values: Sequence[str] | None, option: str) -> list[float]:
    """Like `words`, but for numbers.

    Raises:
        UsageError: a value is not a number.
    """
    try:
        return [float(word) for word in words(values)]
    except ValueError as error:
        raise UsageError(f"{option} takes numbers, comma-separated: {error}.") from None


def weighted(values: Sequence[str] | None) -> list[tuple[str, float]]:
    """Split names with optional weights: `a:0.5,b` -> [(a, 0.5), (b, 1.0)]."""
    pairs = []
    for word in words(values):
        name, colon, weight = word.rpartition(":")
        try:
            pairs.append((name, float(weight)) if colon and name else (word, 1.0))
        except ValueError:  # the colon belongs to the name, such as C:\other.h5
            pairs.append((word, 1.0))
    return pairs


def annotators_of(values: Sequence[str] | None, agree: float | None) -> Annotators | None:
    """The annotators' columns from --annotators and --agree; None without --annotators.

    Raises:
        UsageError: a column is named twice, a weight isn't above 0, or --agree is given alone.
    """
    if not values:
        if agree is not None:
            raise UsageError("--agree needs --annotators: the columns whose weights are summed.")
        return None
    from pzsl.datasets import Annotators

    return Annotators(tuple(weighted(values)), agree)


def table(rows: Sequence[Sequence[Any]], header: Sequence[str]) -> str:
    """A plain text table with aligned columns."""
    cells = [[str(cell) for cell in row] for row in [header, *rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in cells]
    return "\n".join(line.rstrip() for line in lines)
