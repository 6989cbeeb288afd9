"""Check that the files of a run's record belong together: `metrics.json` holds their hashes.

`metrics.json` is written last and also holds a checksum of itself. So a file that was changed, or
that comes from another run or an earlier attempt, is noticed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pzsl.errors import UserError
from pzsl.files import digest, parse_json, read_text, sha256_of
from pzsl.progress import printable

SMALL = ("config.json", "history.jsonl", "env.json")
PARTS = (*SMALL, "model.safetensors")
"""The files of a record beside `metrics.json`."""
LATER = ("calibration.json",)
"""Files that records of older versions lack."""
SEAL = ("parts", "checksum")
REMEDY = "remove the run's metrics.json and train again"
"""With its metrics a run counts as finished, and is not done again."""


def sealed(metrics: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Add to metrics the hashes of the other files in their folder, and a checksum of themselves.

    Args:
        metrics: of the run. folder: that holds the other files.
    """
    names = [*PARTS, *(name for name in LATER if (folder / name).is_file())]
    whole = {**metrics, "parts": {name: sha256_of(folder / name) for name in names}}
    return whole | {"checksum": _checksum(whole)}


def check_parts(folder: Path, metrics: Mapping[str, Any], names: Sequence[str] = PARTS) -> None:
    """Compare the files of a record with the hashes in its metrics.

    Records of versions that stored no hashes are accepted.

    Args:
        folder: of the run. metrics: as read from its `metrics.json`.
        names: of the files to check.

    Raises:
        UserError: a file is missing, or isn't the one that was written with these metrics.
    """
    if not metrics.keys() & set(SEAL):
        return
    parts = metrics.get("parts")
    if metrics.get("checksum") != _checksum(metrics) or not isinstance(parts, dict):
        raise _damaged_record(folder, "metrics.json was changed after it was written")
    later = [name for name in LATER if name in parts or (folder / name).exists()]
    for name in (*names, *later):
        try:
            current = sha256_of(folder / name)
        except OSError:
            raise _damaged_record(folder, f"{name} is missing") from None
        if parts.get(name) != current:
            raise _damaged_record(folder, f"{name} is of another run, or was changed")


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file of a record.

    Raises:
        UserError: it can't be read, or holds something else.
    """
    name = printable(str(path))
    try:
        value = parse_json(read_text(path))
    except OSError as error:
        raise UserError(f"{name} can't be read ({error.strerror}): {REMEDY}.") from None
    except ValueError as error:
        raise UserError(f"{name} is not valid JSON ({error}): {REMEDY}.") from None
    if not isinstance(value, dict):
        raise UserError(f"{name} should hold a JSON object, not {type(value)}: {REMEDY}.")
    return value


def _damaged_record(folder: Path, problem: str) -> UserError:
    return UserError(
        f"{printable(str(folder))}: {problem}: put the whole record back, or {REMEDY}."
    )


def _checksum(metrics: Mapping[str, Any]) -> str:
    covered = {name: value for name, value in metrics.items() if name != "checksum"}
    return digest(json.dumps(covered, sort_keys=True))
