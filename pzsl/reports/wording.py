"""The wording of the tables: names of metrics, noise, rates and data sets, and captions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from pzsl.reports.groups import Row

SCORES = {"S": "S", "U": "U", "H": "H", "T1": "T1", "AUSUC": "AUSUC"}
EXTRAS = {"disambiguation": "Disamb.", "seconds": "Seconds"}
"""Columns beside the scores; shown if any row has a value."""

MEANING = {
    "S, U": "per-class top-1 accuracy on test images of seen (S) and unseen (U) classes, "
    "predicted over all classes together",
    "H": "harmonic mean of S and U",
    "T1": "per-class top-1 accuracy on unseen classes when only they can be predicted",
    "AUSUC": "area under the curve of S against U as gamma, the constant subtracted from the "
    "scores of seen classes, varies",
    "Disamb.": "share of training images whose heaviest candidate is the true label",
    "n": "number of runs, one for each seed",
}
CAPTION = (
    "Percentages: mean over n seeds, ± the sample standard deviation. In bold: the highest mean of "
    "each setting, without the oracle; underlined: not significantly different from it by a paired "
    "t-test over the seeds (two-sided, 5 %, not corrected for the number of rows). Rows with fewer "
    "seeds than most are marked †, and take no part in either."
)


def heading(metric: str) -> str:
    """The column heading of a metric."""
    return {**SCORES, **EXTRAS}[metric]


def shown_metrics(rows: Sequence[Row]) -> tuple[str, ...]:
    """The metrics that get a column."""
    extras = [key for key in EXTRAS if any(row[f"{key}_mean"] is not None for row in rows)]
    return (*SCORES, *extras)


def rate_text(rate: float | None) -> str:
    """A noise rate as text."""
    return "-" if rate is None else f"{rate:g}"


def noise_text(row: Row) -> str:
    """A kind of noise, with its eta, true labels per class and imbalance, if any."""
    name, eta, shots = row["noise"] or "no noise", row["eta"], row["few_shot"]
    tail = f"imbalance {row['imbalance']:g}" if row["imbalance"] != 1 else ""
    parts = [name, f"eta {eta:g}" if eta else "", f"{shots}-shot" if shots else "", tail]
    return ", ".join(part for part in parts if part)


def setting_text(row: Row) -> str:
    """A setting as text: its noise and its rate."""
    name = noise_text(row)
    return name if row["rate"] is None else f"{name}, rate {row['rate']:g}"


def sections(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """Group rows by data set, with a title: the name of the cache, or else of the data set.

    Equal titles get the hash of the cache.
    """
    groups = [
        list(group)
        for _, group in groupby(rows, key=lambda row: (row["dataset"], row["cache_hash"]))
    ]
    names = [group[0]["cache"] or group[0]["dataset"] for group in groups]
    titles: list[str] = []
    for name, group in zip(names, groups, strict=True):
        title = f"{name} (cache {group[0]['cache_hash'][:8]})" if names.count(name) > 1 else name
        titles.append(title if title not in titles else f"{title}, {len(titles) + 1}")
    return list(zip(titles, groups, strict=True))
