"""Check what the benchmarks on a user's own caches are given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pzsl.errors import UsageError
from pzsl.requests import check_counts

MOST_SEEDS = 1000


def check_bench(
    part: str, caches: Sequence[str | Path], seeds: int | None, workers: int | None
) -> None:
    """Check the options of a part that measures on caches, before it takes its time.

    Raises:
        UsageError: no cache, two of one name, or a number out of range.
    """
    if not caches:
        raise UsageError(f"The bench of {part} needs caches: name some with --cache.")
    names = [Path(cache).stem for cache in caches]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(
            f"--cache names two caches called '{twice}', whose rows could not be told apart: "
            "rename one, or name it once."
        )
    check_counts(seeds=seeds, workers=workers)
    if seeds is not None and seeds > MOST_SEEDS:
        raise UsageError(f"--seeds should be a whole number from 1 to {MOST_SEEDS:,}, not {seeds}.")
