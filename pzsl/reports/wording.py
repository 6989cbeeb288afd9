"""What the tables call things: metrics, noise, rates, data sets, and the notes below a table."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from pzsl.reports.groups import Row

SCORES = {"S": "S", "U": "U", "H": "H", "T1": "T1", "AUSUC": "AUSUC"}
EXTRAS = {"disambiguation": "Disamb.", "seconds": "Seconds"}
"""Columns beside the scores; shown where some row has a value."""

MEANING = {
    "S, U": "per-class top-1 accuracy on test images of seen (S) and unseen (U) classes, "
    "predicted over all classes together",
    "H": "harmonic mean of S and U",
    "T1": "per-class top-1 accuracy on unseen classes when only they are candidates",
    "AUSUC": "area under the curve of S against U as the bias between them varies",
    "Disamb.": "share of training images whose heaviest candidate is the true label",
    "n": "number of runs, one for each seed",
}
CAPTION = (
    "Percentages: mean over n seeds, ± the sample standard deviation. In bold: the highest mean of "
    "each setting, without the oracle; underlined: not told apart from it by a paired t-test over "
    "the seeds (two-sided, 5 %, not corrected for the number of rows). Rows of fewer seeds than "
    "most are marked †, and compete for neither."
)


def heading(metric: str) -> str:
    """The column heading of a metric."""
    return {**SCORES, **EXTRAS}[metric]


def shown_metrics(rows: Sequence[Row]) -> tuple[str, ...]:
    """The metrics worth a column."""
    extras = [key for key in EXTRAS if any(row[f"{key}_mean"] is not None for row in rows)]
    return (*SCORES, *extras)


def rate_text(rate: float | None) -> str:
    """A noise rate as people write it."""
    return "-" if rate is None else f"{rate:g}"


def noise_text(row: Row) -> str:
    """A kind of noise, with its eta and its true labels a class where it has some."""
    name, eta, shots = row["noise"] or "no noise", row["eta"], row["few_shot"]
    parts = [name, f"eta {eta:g}" if eta else "", f"{shots}-shot" if shots else ""]
    return ", ".join(part for part in parts if part)


def setting_text(row: Row) -> str:
    """A setting: its noise and its rate."""
    name = noise_text(row)
    return name if row["rate"] is None else f"{name}, rate {row['rate']:g}"


def sections(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """Rows by data set, with a title; one of several caches is told by its hash."""
    caches: dict[str, set[str]] = {}
    for row in rows:
        caches.setdefault(row["dataset"], set()).add(row["cache_hash"])
    found = []
    for (name, cache), group in groupby(rows, key=lambda row: (row["dataset"], row["cache_hash"])):
        title = f"{name} (cache {cache[:8]})" if len(caches[name]) > 1 else name
        found.append((title, list(group)))
    return found
