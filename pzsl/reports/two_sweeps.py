"""Compare two sweeps: the rows that both have, paired over their seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pzsl.errors import UserError
from pzsl.reports.comparison import COMPARED, add_difference
from pzsl.reports.groups import Row, rows_of, setting_of
from pzsl.reports.records import Run, read_runs
from pzsl.reports.wording import setting_text

Pairs = Sequence[tuple[Row, list[Run]]]
_SHARED = (
    *("dataset", "cache_hash", "cache", "method", "preset", "variant", "label"),
    *("noise", "rate", "eta", "few_shot", "imbalance"),
)


def compare_sweeps(pairs: Pairs, other_folder: Path) -> tuple[list[Row], list[str]]:
    """The paired differences (other sweep minus this one) of the rows that both sweeps have.

    Two rows match if data set, label and setting are equal. Their caches may differ, as for two
    encoders; that gives a warning.

    Args:
        pairs: rows of this sweep with their runs.
        other_folder: records of the other sweep.

    Returns:
        Rows with names and setting, `<metric>_mean` of this sweep, `<metric>_other` of the other,
        and the differences of `add_difference`; and warnings.

    Raises:
        UserError: the other sweep has no finished run, or no row in common.
    """
    records = read_runs(other_folder)
    own_rows, other_rows = _by_key(pairs), _by_key(rows_of(records.runs))
    rows = [_compared(own_rows[key], other_rows[key]) for key in own_rows if key in other_rows]
    if not rows:
        raise UserError(
            f"--compare: no row of '{other_folder}' has the data set, method and setting of one "
            "here: train the same methods, noise and rates in both."
        )
    warnings = [f"In the other sweep: {warning}" for warning in records.warnings]
    warnings += _alone(own_rows, other_rows, "here only") + _alone(
        other_rows, own_rows, "in the other sweep only"
    )
    warnings += _other_options(
        [(*own_rows[key], other_rows[key][1]) for key in own_rows if key in other_rows]
    )
    moved = sum(row["cache_hash"] != row["other_cache_hash"] for row in rows)
    if moved:
        warnings.append(
            f"{moved} of {len(rows)} compared rows were made from different caches: the same seed "
            "stands for the same candidate sets only where images and classes are the same."
        )
    return rows, warnings


def _by_key(pairs: Pairs) -> dict[tuple[Any, ...], tuple[Row, list[Run]]]:
    """Rows by data set, label and setting, and by cache if a data set has several."""
    keys = [(row["dataset"], row["label"], *setting_of(row)) for row, _ in pairs]
    counts = Counter(keys)
    return {
        (*key, pair[0]["cache_hash"] if counts[key] > 1 else ""): pair
        for key, pair in zip(keys, pairs, strict=True)
    }


def _compared(own_pair: tuple[Row, list[Run]], other_pair: tuple[Row, list[Run]]) -> Row:
    row: Row = {name: own_pair[0][name] for name in _SHARED}
    row |= {"n": own_pair[0]["n"], "other_n": other_pair[0]["n"]}
    row["other_cache_hash"] = other_pair[0]["cache_hash"]
    for metric in COMPARED:
        row[f"{metric}_mean"] = own_pair[0][f"{metric}_mean"]
        row[f"{metric}_other"] = other_pair[0][f"{metric}_mean"]
        add_difference(row, other_pair[1], own_pair, metric)
    return row


def _other_options(compared: Sequence[tuple[Row, list[Run], list[Run]]]) -> list[str]:
    """A warning for each method whose options differ between the sweeps."""
    differing: dict[str, None] = {}
    for row, own_runs, other_runs in compared:
        own, other = own_runs[0].options, other_runs[0].options
        names = sorted(name for name in own.keys() | other if own.get(name) != other.get(name))
        if names:
            values = ", ".join(
                f"{name} {own.get(name, '-')} here and {other.get(name, '-')} there"
                for name in names
            )
            differing[
                f"{row['label']} was run with other options in the other sweep: {values}."
            ] = None
    return [*differing]


def _alone(rows: dict[Any, Any], others: dict[Any, Any], where: str) -> list[str]:
    """A warning for each row that only one of the two sweeps has."""
    return [
        f"Not compared: {row['dataset']}, {row['label']}, {setting_text(row)}, is {where}."
        for key, (row, _) in rows.items()
        if key not in others
    ]


def verdict_text(rows: Sequence[Row], metric: str = "H") -> str:
    """A sentence: how often the other sweep is above, below, or not distinguishable."""
    counts = Counter(_verdict(row[f"{metric}_low"], row[f"{metric}_high"]) for row in rows)
    verdicts = (
        f"{metric} of the other sweep is above in {counts['above']}, below in {counts['below']} "
        f"and not significantly different in {counts['tie']} of {len(rows)} rows"
    )
    single = counts["untested"]
    return f"{verdicts} ({single} with fewer than two common seeds)." if single else f"{verdicts}."


def _verdict(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return "untested"
    return "above" if low > 0 else "below" if high < 0 else "tie"
