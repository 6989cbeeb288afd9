"""Compare two sweeps: the rows that both have, paired over their seeds."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from pzsl.errors import UserError
from pzsl.reports.comparison import COMPARED, add_difference, compared_metric
from pzsl.reports.groups import Row, noise_source, rows_of, setting_of
from pzsl.reports.records import Run, read_runs
from pzsl.reports.wording import heading, setting_text

Pair = tuple[Row, list[Run]]
Pairs = Sequence[Pair]
_SHARED = (
    *("dataset", "cache_hash", "cache", "method", "preset", "variant", "label"),
    *("noise", "rate", "eta", "few_shot", "imbalance"),
)


def compare_sweeps(pairs: Pairs, other_folder: Path) -> tuple[list[Row], list[str]]:
    """The paired differences (other sweep minus this one) of the rows that both sweeps have.

    Two rows match if data set, setting, method, preset and options are equal, or else if data set,
    setting and label are. Their caches may differ, as for two encoders; that gives a warning.

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
    matches, alone, others_alone = _matched(pairs, rows_of(records.runs))
    rows = [_compared(*match) for match in matches]
    if not rows:
        raise UserError(
            f"--compare: no row of '{other_folder}' has the data set, method and setting of one "
            "here: train the same methods, noise and rates in both."
        )
    warnings = [f"In the other sweep: {warning}" for warning in records.warnings]
    warnings += _alone(alone, "here only") + _alone(others_alone, "in the other sweep only")
    warnings += _other_options([(*own, other[1]) for own, other in matches])
    moved = sum(row["cache_hash"] != row["other_cache_hash"] for row in rows)
    if moved:
        warnings.append(
            f"{moved} of {len(rows)} compared rows were made from different caches: the same seed "
            "stands for the same candidate sets only where images and classes are the same."
        )
    return rows, warnings


def _matched(own: Pairs, others: Pairs) -> tuple[list[tuple[Pair, Pair]], Pairs, Pairs]:
    """The rows that both sweeps have, in the order of the first, and those that only one has.

    A label depends on what else a sweep has: 'clip' is 'clip (default)' beside 'clip (calibrated)'.
    So rows of equal options come first, and rows of the same cache before those of another one.
    """
    order = {id(pair): place for place, pair in enumerate(own)}
    matches: list[tuple[Pair, Pair]] = []
    for same_cache, key_of in product((True, False), (_configuration, _label)):
        ours, theirs = _unique(own, key_of, same_cache), _unique(others, key_of, same_cache)
        matches += [(ours[key], theirs[key]) for key in ours if key in theirs]
        matched = {id(pair) for match in matches for pair in match}
        own, others = ([pair for pair in p if id(pair) not in matched] for p in (own, others))
    return sorted(matches, key=lambda match: order[id(match[0])]), own, others


def _configuration(pair: Pair) -> tuple[Any, ...]:
    row, runs = pair
    settings = tuple(sorted(runs[0].settings.items()))
    labels, source = runs[0].options.get("labels", "text"), noise_source(runs[0])
    return row["method"], row["preset"], settings, labels, source


def _label(pair: Pair) -> tuple[Any, ...]:
    return (pair[0]["label"],)


def _unique(
    pairs: Pairs, key_of: Callable[[Pair], tuple[Any, ...]], same_cache: bool
) -> dict[tuple[Any, ...], Pair]:
    """Rows by data set, setting and key, and by cache if it is to be the same; no two alike."""
    pairs_of: dict[tuple[Any, ...], list[Pair]] = defaultdict(list)
    for pair in pairs:
        row, runs = pair
        setting = runs[0].noise, *setting_of(row)[1:]  # a row's own name of it may have a hash
        cache = row["cache_hash"] if same_cache else ""
        pairs_of[row["dataset"], cache, *setting, *key_of(pair)].append(pair)
    return {key: alike[0] for key, alike in pairs_of.items() if len(alike) == 1}


def _compared(own_pair: Pair, other_pair: Pair) -> Row:
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


def _alone(pairs: Pairs, where: str) -> list[str]:
    """A warning for each row that only one of the two sweeps has."""
    return [
        f"Not compared: {row['dataset']}, {row['label']}, {setting_text(row)}, is {where}."
        for row, _ in pairs
    ]


def verdict_text(rows: Sequence[Row], metrics: Sequence[str] = ()) -> str:
    """A sentence for each metric that rows are compared in, H or S unless `metrics` say another.

    It says how often the other sweep is above, below, or not distinguishable.
    """
    rows_in: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        rows_in[compared_metric(metrics, [row])].append(row)
    return " ".join(_verdict_text(metric, group) for metric, group in rows_in.items())


def _verdict_text(metric: str, rows: Sequence[Row]) -> str:
    counts = Counter(_verdict(row[f"{metric}_low"], row[f"{metric}_high"]) for row in rows)
    verdicts = (
        f"{heading(metric)} of the other sweep is above in {counts['above']}, below in "
        f"{counts['below']} and not significantly different in {counts['tie']} of {len(rows)} rows"
    )
    single = counts["untested"]
    return f"{verdicts} ({single} with fewer than two common seeds)." if single else f"{verdicts}."


def _verdict(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return "untested"
    return "above" if low > 0 else "below" if high < 0 else "tie"
