"""Two sweeps against each other: the rows that both have, paired over their seeds."""

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


def compare_sweeps(pairs: Pairs, other: Path) -> tuple[list[Row], list[str]]:
    """The paired differences of two sweeps, the other less this one, for each row of both.

    Rows are the same where data set, label and setting are; caches may be different ones, as for
    two encoders, which is warned of.

    Args:
        pairs: rows of the one sweep with their runs.
        other: folder of the other's records.

    Returns:
        Rows with names and setting, `<metric>_mean` here, `<metric>_other` there, and what
        `add_difference` tells; and warnings.

    Raises:
        UserError: no finished run there, or no row that both have.
    """
    records = read_runs(other)
    here, there = _by_key(pairs), _by_key(rows_of(records.runs))
    rows = [_compared(here[key], there[key]) for key in here if key in there]
    if not rows:
        raise UserError(
            f"--compare: no row of '{other}' has the data set, method and setting of one here: "
            "train the same methods, noise and rates in both."
        )
    warnings = [f"In the other sweep: {warning}" for warning in records.warnings]
    warnings += _alone(here, there, "here only") + _alone(there, here, "in the other sweep only")
    moved = sum(row["cache_hash"] != row["other_cache_hash"] for row in rows)
    if moved:
        warnings.append(
            f"{moved} of {len(rows)} compared rows were made from different caches: the same seed "
            "stands for the same candidate sets only where images and classes are the same."
        )
    return rows, warnings


def _by_key(pairs: Pairs) -> dict[tuple[Any, ...], tuple[Row, list[Run]]]:
    """Rows by data set, label and setting; by the cache, too, where a data set has several."""
    keys = [(row["dataset"], row["label"], *setting_of(row)) for row, _ in pairs]
    counts = Counter(keys)
    return {
        (*key, pair[0]["cache_hash"] if counts[key] > 1 else ""): pair
        for key, pair in zip(keys, pairs, strict=True)
    }


def _compared(here: tuple[Row, list[Run]], there: tuple[Row, list[Run]]) -> Row:
    row: Row = {name: here[0][name] for name in _SHARED}
    row |= {"n": here[0]["n"], "other_n": there[0]["n"]}
    row["other_cache_hash"] = there[0]["cache_hash"]
    for metric in COMPARED:
        row[f"{metric}_mean"] = here[0][f"{metric}_mean"]
        row[f"{metric}_other"] = there[0][f"{metric}_mean"]
        add_difference(row, there[1], here, metric)
    return row


def _alone(rows: dict[Any, Any], others: dict[Any, Any], where: str) -> list[str]:
    """A line for each row that one of the two sweeps alone has."""
    return [
        f"Not compared: {row['dataset']}, {row['label']}, {setting_text(row)}, is {where}."
        for key, (row, _) in rows.items()
        if key not in others
    ]


def verdict_text(rows: Sequence[Row], metric: str = "H") -> str:
    """How often the other sweep is above, below, or not told apart from this one."""
    counts = Counter(_verdict(row[f"{metric}_low"], row[f"{metric}_high"]) for row in rows)
    told = (
        f"{metric} of the other sweep is above in {counts['above']}, below in {counts['below']} "
        f"and not told apart in {counts['tie']} of {len(rows)} rows"
    )
    single = counts["untested"]
    return f"{told} ({single} with fewer than two common seeds)." if single else f"{told}."


def _verdict(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return "untested"
    return "above" if low > 0 else "below" if high < 0 else "tie"
