"""The parts of a run's record know each other: `metrics.json` holds hashes of all the others.

It is written last, and holds one of itself too, so that no part of another run, of another try or
changed since is taken for one of this run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pzsl.errors import UserError
from pzsl.files import digest, sha256_of
from pzsl.progress import printable

SMALL = ("config.json", "history.jsonl", "env.json")
PARTS = (*SMALL, "model.safetensors")
"""The files of a record beside `metrics.json`."""
LATER = ("calibration.json",)
"""Files that records of before don't have."""
SEAL = ("parts", "checksum")


def sealed(metrics: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Metrics with the hashes of the parts that lie in their folder, and of themselves."""
    names = [*PARTS, *(name for name in LATER if (folder / name).is_file())]
    whole = {**metrics, "parts": {name: sha256_of(folder / name) for name in names}}
    return whole | {"checksum": _checksum(whole)}


def check_parts(folder: Path, metrics: Mapping[str, Any], names: Sequence[str] = PARTS) -> None:
    """Hold the parts of a record against the hashes in its metrics.

    Records that were written before there were any are taken as they are.

    Args:
        folder: of the run. metrics: as read from its `metrics.json`.
        names: of the parts that are asked about.

    Raises:
        UserError: a part isn't the one that was written with these metrics.
    """
    if not metrics.keys() & set(SEAL):
        return
    parts = metrics.get("parts")
    if metrics.get("checksum") != _checksum(metrics) or not isinstance(parts, dict):
        raise _strange(folder, "metrics.json was changed after it was written")
    later = [name for name in LATER if name in parts or (folder / name).exists()]
    for name in (*names, *later):
        try:
            found = sha256_of(folder / name)
        except OSError:
            raise _strange(folder, f"{name} is missing") from None
        if parts.get(name) != found:
            raise _strange(folder, f"{name} is of another run, or was changed")


def _strange(folder: Path, what: str) -> UserError:
    return UserError(
        f"{printable(str(folder))}: {what}: put the whole record back, or remove its metrics.json "
        "and train again."
    )


def _checksum(metrics: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in metrics.items() if name != "checksum"}
    return digest(json.dumps(rest, sort_keys=True))
