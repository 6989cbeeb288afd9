"""Compare the rows of a setting: the best, ties with it, and differences to a baseline."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from pzsl.errors import UsageError, nearest
from pzsl.reports.groups import Row, main_metric, setting_of, version_of
from pzsl.reports.records import Run
from pzsl.reports.statistics import Difference, Values, mean_ranks, paired_difference
from pzsl.reports.wording import setting_text

Pairs = Sequence[tuple[Row, list[Run]]]

COMPARED = ("S", "U", "H", "T1", "AUSUC", "disambiguation")
"""Metrics to compare; higher is better."""
BEST = "best"
CEILING = "oracle"
"""The method trained on the true labels; it is shown, but does not compete with the others."""

_DIFFERENCE = ("difference", "low", "high", "p", "wilcoxon", "pairs")


def compared_metric(metrics: Sequence[str], rows: Sequence[Row]) -> str:
    """The first metric asked for that rows are compared in; without one, their main one.

    Seconds are none: they depend on what else a machine does.
    """
    return next((metric for metric in metrics if metric in COMPARED), None) or main_metric(rows)


def settings_of(pairs: Pairs) -> list[list[tuple[Row, list[Run]]]]:
    """Group the rows that compete with each other: of the same cache, noise and rate."""
    blocks: dict[tuple[Any, ...], list[tuple[Row, list[Run]]]] = defaultdict(list)
    for row, runs in pairs:
        blocks[row["dataset"], row["cache_hash"], *setting_of(row)].append((row, runs))
    return list(blocks.values())


def seed_values(runs: Sequence[Run], metric: str) -> Values:
    """Seed -> value of a metric, for the seeds that have one."""
    return {run.seed: value for run in runs if (value := run.metrics[metric]) is not None}


def add_marks(pairs: Pairs) -> None:
    """Add `<metric>_mark` to each row: '', `best`, `tie` or `fewer`.

    `best` has the highest mean of its setting, rounded to two decimals; `tie` does not differ from
    it significantly in a paired t-test over the seeds (two-sided, 5 %, not corrected for the number
    of rows); `fewer` has values for fewer seeds than most rows, and competes for neither.
    """
    for block in settings_of(pairs):
        for metric in COMPARED:
            _mark(block, metric)


def _mark(block: Pairs, metric: str) -> None:
    values = [seed_values(runs, metric) for _, runs in block]
    rivals = [
        row_values
        for (row, _), row_values in zip(block, values, strict=True)
        if row_values and _rival(row)
    ]
    usual = _usual_number(rivals)
    full = [
        len(row_values) >= usual and _rival(row)
        for (row, _), row_values in zip(block, values, strict=True)
    ]
    means = [round(row[f"{metric}_mean"] or 0.0, 2) for row, _ in block]
    top = max((mean for mean, whole in zip(means, full, strict=True) if whole), default=None)
    leaders = [v for v, m, whole in zip(values, means, full, strict=True) if whole and m == top]
    for (row, _), row_values, mean, whole in zip(block, values, means, full, strict=True):
        mark = ""
        if len(rivals) > 1 and row_values and _rival(row):
            mark = "fewer" if not whole else BEST if mean == top else ""
            if not mark and any(_tied(row_values, leader) for leader in leaders):
                mark = "tie"
        row[f"{metric}_mark"] = mark


def untested_rows(pairs: Pairs) -> list[str]:
    """A warning for each row of several seeds that no test compares with the best of its setting.

    They share fewer than two seeds, so that it is not marked as a tie, however near it is.
    """
    warnings = []
    for block in settings_of(pairs):
        metric = main_metric(row for row, _ in block)
        best = [seed_values(runs, metric) for row, runs in block if row[f"{metric}_mark"] == BEST]
        for row, runs in block:
            values = seed_values(runs, metric)
            shared = max((len(values.keys() & leader.keys()) for leader in best), default=2)
            if row[f"{metric}_mark"] == "" and _rival(row) and shared < 2 <= len(values):
                warnings.append(
                    f"Not tested: {row['dataset']}, {row['label']}, {setting_text(row)}: it shares "
                    "fewer than two seeds with the best row: train both with the same seeds."
                )
    return warnings


def mixed_versions(pairs: Pairs) -> list[str]:
    """A warning for each data set with rows whose numbers are older than those of the others."""
    labels_of: dict[str, dict[int, dict[str, None]]] = defaultdict(lambda: defaultdict(dict))
    for row, runs in pairs:
        with suppress(ValueError):  # in records of others, and in very old ones
            labels_of[row["dataset"]][int(version_of(runs[0]))][row["label"]] = None
    warnings = []
    for dataset, labels_at in labels_of.items():
        older = dict.fromkeys(name for at in sorted(labels_at)[:-1] for name in labels_at[at])
        if older:
            warnings.append(
                f"On {dataset} the numbers of {', '.join(older)} are of an older version of pzsl "
                "than the others: train them again before you compare them."
            )
    return warnings


def _rival(row: Row) -> bool:
    return bool(row["method"] != CEILING)


def _usual_number(rivals: Sequence[Values]) -> int:
    """The most frequent number of seeds among the rows; ties go to the larger number."""
    counts = Counter(map(len, rivals))
    return max(counts, key=lambda number: (counts[number], number)) if counts else 1


def _tied(values: Values, leader: Values) -> bool:
    difference = paired_difference(values, leader)
    return difference is not None and difference.verdict == "tie"


def add_differences(pairs: Pairs, baseline: str) -> list[str]:
    """Add to each row its paired difference to the baseline of its setting, for each metric.

    Adds `baseline` (its label), and `<metric>_difference`, `_low`, `_high` (95 % interval), `_p`
    (paired t-test), `_wilcoxon` and `_pairs` (number of common seeds); all are None if there is
    nothing to compare.

    Args:
        pairs: rows with their runs, with marks.
        baseline: a method or a row's label; `best`: the row with the highest H of each setting (S
            where no class is unseen).

    Returns:
        A warning about settings without the baseline.

    Raises:
        UsageError: no row has that name, or it matches several rows of one setting.
    """
    blocks = settings_of(pairs)
    leads = [_baseline_of(block, baseline) for block in blocks]
    if baseline != BEST and not any(leads):
        names = sorted({name for row, _ in pairs for name in (row["method"], row["label"])})
        raise UsageError(f"--baseline: no row is named '{baseline}'.{nearest(baseline, names)}")
    for block, lead in zip(blocks, leads, strict=True):
        for row, runs in block:
            row["baseline"] = lead[0]["label"] if lead else None
            for metric in COMPARED:
                add_difference(row, runs, lead, metric)
    lacking = sum(lead is None for lead in leads)
    return [f"{lacking} of {len(blocks)} settings have no row of '{baseline}'."] if lacking else []


def _baseline_of(block: Pairs, baseline: str) -> tuple[Row, list[Run]] | None:
    if baseline == BEST:
        mark = f"{main_metric(row for row, _ in block)}_mark"
        return next((pair for pair in block if pair[0][mark] == BEST), None)
    named = [pair for pair in block if pair[0]["label"] == baseline]
    named = named or [pair for pair in block if pair[0]["method"] == baseline]
    if len(named) > 1:
        names = ", ".join(f"'{row['label']}'" for row, _ in named)
        raise UsageError(f"--baseline: '{baseline}' fits several rows; name one: {names}.")
    return named[0] if named else None


def add_difference(
    row: Row, runs: Sequence[Run], lead: tuple[Row, list[Run]] | None, metric: str
) -> None:
    """Add to a row the paired difference of its runs to those of another row `lead`."""
    difference: Difference | None = None
    if lead and lead[0] is not row:
        values = seed_values(runs, metric), seed_values(lead[1], metric)
        difference = paired_difference(*values, signed_ranks=True)
    entries = (
        (difference.mean, *difference[2:], difference.n)
        if difference
        else (None,) * len(_DIFFERENCE)
    )
    row |= {f"{metric}_{name}": value for name, value in zip(_DIFFERENCE, entries, strict=True)}


def standings(pairs: Pairs) -> list[dict[str, Any]]:
    """Rank the systems by H, or S, over all data sets and settings, the lowest mean rank first.

    Returns:
        Dicts with `label`, `settings` (in how many of `of` settings it has all seeds), `rank` (mean
        rank among the systems that have every setting; None for others), and `wins`, `ties`,
        `losses`: paired t-tests at 5 % against every other system in every setting, or only
        against the baseline if there is one. Empty for a single system or a single setting.
    """
    blocks = [
        (metric, [row for row, _ in block if _rival(row) and row[f"{metric}_mean"] is not None])
        for block in settings_of(pairs)
        for metric in [main_metric(row for row, _ in block)]
    ]
    blocks = [(metric, rows) for metric, rows in blocks if len(rows) > 1]
    whole = [{row["label"] for row in b if row[f"{m}_mark"] != "fewer"} for m, b in blocks]
    labels = list(dict.fromkeys(row["label"] for _, rows in blocks for row in rows))
    if len(blocks) < 2:
        return []
    ranked = set.intersection(*whole)
    scores = [
        {row["label"]: round(row[f"{m}_mean"], 2) for row in b if row["label"] in ranked}
        for m, b in blocks
    ]
    ranks = mean_ranks(scores) if len(ranked) > 1 else {}
    counts = _verdicts(settings_of(pairs))
    lines = [
        {
            "label": label,
            "rank": ranks.get(label),
            "settings": sum(label in names for names in whole),
            "of": len(blocks),
            **{name: counts[label, verdict] for name, verdict in _VERDICTS.items()},
        }
        for label in labels
    ]
    return sorted(lines, key=lambda line: (line["rank"] is None, line["rank"], line["label"]))


def mixed_options(pairs: Pairs) -> list[str]:
    """A warning for each label that stands for other options on another data set."""
    runs_of: dict[str, dict[tuple[str, str], Run]] = defaultdict(dict)
    for row, runs in pairs:
        runs_of[row["label"]].setdefault((row["dataset"], row["cache_hash"]), runs[0])
    warnings = []
    for label, places in runs_of.items():
        options_at = [run.settings | _others(run) for run in places.values()]
        names = sorted(set().union(*options_at))
        differing = [name for name in names if _differs(name, options_at)]
        values = "; ".join(
            f"{name}: "
            + ", ".join(
                f"{options.get(name, '-')} on {dataset}"
                for (dataset, _), options in zip(places, options_at, strict=True)
            )
            for name in differing
        )
        if values:
            warnings.append(
                f"'{label}' stands for other options on other data sets ({values}): ranks and "
                "counts over all settings mix them."
            )
    return warnings


def _others(run: Run) -> dict[str, str]:
    """What numbers depend on beside the method's options and the data set."""
    return {
        name: text
        for name, text in run.options.items()
        if name in ("labels", "results") or name.startswith("plugins.")
    }


def _differs(name: str, options_at: Sequence[dict[str, str]]) -> bool:
    """Whether an option has several values; a plugin that is not used everywhere has one."""
    plugin = name.startswith("plugins.")
    return len({options.get(name) for options in options_at if name in options or not plugin}) > 1


_VERDICTS = {"wins": "win", "ties": "tie", "losses": "loss"}


def _verdicts(blocks: Sequence[Pairs]) -> Counter[tuple[str, str | None]]:
    """How often each label wins, ties and loses; the oracle counts only as the baseline."""
    counts: Counter[tuple[str, str | None]] = Counter()
    for block in blocks:
        metric = main_metric(row for row, _ in block)
        values = [(row, seed_values(runs, metric)) for row, runs in block]
        for row, row_values in values:
            for opponent, theirs in values:
                if opponent is row or not (_rival(row) and _against(row, opponent)):
                    continue
                difference = paired_difference(row_values, theirs)
                counts[row["label"], difference.verdict if difference else None] += 1
    return counts


def _against(row: Row, opponent: Row) -> bool:
    """Whether a row is compared with another one: the baseline if there is to be one, else any."""
    if "baseline" in row:  # None in a setting without the baseline
        return bool(row["baseline"] == opponent["label"])
    return _rival(opponent)
