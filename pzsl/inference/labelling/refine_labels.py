"""`refine`, an older form of `labels` that lists all candidates in every row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pzsl.inference.labelling.find_labels import labels
from pzsl.requests import with_paths


@with_paths
def refine(
    run: str | Path,
    out: str | Path,
    *,
    cache: str | Path | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write the refined label of each training image, with all its candidates.

    Args:
        run: folder of a finished run.
        out: the table, as `labels` writes it; `pzsl extract --dataset table` can read it.
        cache: the run's cache, if it has moved.
        overwrite: replace an existing file.

    Returns:
        What `labels` returns.

    Raises:
        UserError: those of `labels`.
    """
    return labels(run, out, cache=cache, listed=None, overwrite=overwrite)
