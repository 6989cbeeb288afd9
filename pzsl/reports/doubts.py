"""Warnings against comparing or trusting the rows of a report."""

from __future__ import annotations

from collections.abc import Sequence

from pzsl.progress import gravest
from pzsl.reports.comparison import mixed_options, mixed_versions, untested_rows
from pzsl.reports.groups import Row
from pzsl.reports.records import Run
from pzsl.reports.wording import SCORES, setting_text


def doubts(runs: Sequence[Run], pairs: list[tuple[Row, list[Run]]]) -> list[str]:
    """Warnings against comparing or trusting the rows."""
    return [
        *_cache_warnings(runs),
        *_encoder_warnings(runs),
        *_partly_known(pairs),
        *mixed_options(pairs),
        *mixed_versions(pairs),
        *untested_rows(pairs),
    ]


def _partly_known(pairs: list[tuple[Row, list[Run]]]) -> list[str]:
    """A warning for each mean that is over fewer runs than the row has."""
    warnings = []
    for row, group in pairs:
        for metric in SCORES:
            known = sum(run.metrics[metric] is not None for run in group)
            if 0 < known < len(group):
                where = f"{row['dataset']}, {row['label']}, {setting_text(row)}"
                warnings.append(
                    f"{where}: {metric} is of {known} of {len(group)} runs, as the others have "
                    "none: train those again."
                )
    return warnings


def _encoder_warnings(runs: Sequence[Run]) -> list[str]:
    """Warnings in the runs' records against trusting them: the worst of each kind a data set."""
    recorded = {(run.dataset, str(run.environment.get("encoder_warning", ""))) for run in runs}
    kinds: dict[tuple[str, str], list[str]] = {}
    for name, line in sorted(recorded):
        if line:
            kinds.setdefault((name, line.partition(":")[0]), []).append(line)
    return [f"{name}: {gravest(lines)}" for (name, _), lines in kinds.items()]


def _cache_warnings(runs: Sequence[Run]) -> list[str]:
    """A warning for each data set whose runs come from different caches."""
    caches: dict[str, set[str]] = {}
    for run in runs:
        caches.setdefault(run.dataset, set()).add(run.cache_hash)
    return [
        f"The runs on {name} come from {len(hashes)} different caches "
        f"({', '.join(sorted(short[:8] or 'unknown' for short in hashes))}): "
        "they are shown apart, and their numbers should not be compared."
        for name, hashes in sorted(caches.items())
        if len(hashes) > 1
    ]
