"""The tables of a report, from its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any

from pzsl.reports import wording
from pzsl.reports.comparison import compared_metric
from pzsl.reports.groups import Row, main_metric, setting_of
from pzsl.reports.table_parts import Block, Cell, Line, Table, View

LAYOUTS = ("settings", "methods-by-rates", "methods-by-datasets")
STUBS = ("Method", "Noise", "Rate", "n")


def all_tables(
    rows: Sequence[Row],
    standings: Sequence[dict[str, Any]],
    view: View,
    baseline: str | None,
    further: Iterable[tuple[str, Table]] = (),
) -> list[tuple[str, list[Table]]]:
    """All tables of a report, by the title of their data set.

    Args:
        rows: in the order of `rows_of`, with marks, and with differences if there is a baseline.
        standings: from `standings`; may be empty.
        view: how the rows are shown.
        baseline: the baseline of the differences.
        further: tables to add at the end, with their titles.
    """
    parts = dict(_laid_out(rows, view))
    if standings:
        metrics = _main_metrics(rows)
        table = standing_table(standings, baseline or "every other method", metrics)
        parts = {"": [*parts.pop("", []), table], **parts}
    if baseline:
        for title, group in wording.sections(rows):
            if any(row["baseline"] for row in group):
                parts.setdefault(title, []).append(difference_table(title, group, view))
    for title, table in further:
        parts.setdefault(title, []).append(table)
    return list(parts.items())


def _laid_out(rows: Sequence[Row], view: View) -> list[tuple[str, list[Table]]]:
    """The tables of a layout by data set; tables over all data sets have the title ''."""
    parts = wording.sections(rows)
    if view.layout == "settings":
        return [(title, [_by_settings(title, group, view)]) for title, group in parts]
    if view.layout == "methods-by-rates":
        return [
            (title, [_crossed(title, group, wording.setting_text, view)]) for title, group in parts
        ]
    titles = {(row["dataset"], row["cache_hash"]): title for title, group in parts for row in group}

    def title_of(row: Row) -> str:
        return titles[row["dataset"], row["cache_hash"]]

    settings: dict[str, list[Row]] = {}
    for row in rows:
        settings.setdefault(wording.setting_text(row), []).append(row)
    return [("", [_crossed(name, group, title_of, view) for name, group in settings.items()])]


def cell(row: Row | None, metric: str, precision: int = 2) -> Cell:
    """A mean with its standard deviation, without it for one seed, or `-`."""
    mean = row and row[f"{metric}_mean"]
    if row is None or mean is None:
        return Cell("-")
    deviation, mark = row[f"{metric}_std"], str(row.get(f"{metric}_mark", ""))
    note = "" if deviation is None else f"± {deviation:.{precision}f}"
    return Cell(f"{mean:.{precision}f}", note, mark)


def _by_settings(title: str, rows: Sequence[Row], view: View) -> Table:
    metrics = view.metrics or wording.shown_metrics(rows)
    blocks = [
        Block(wording.setting_text(group[0]), _notes(group), _lines(group, metrics, view.precision))
        for group in (list(group) for _, group in groupby(rows, key=setting_of))
    ]
    columns = tuple(map(wording.heading, metrics))
    return Table(title, wording.CAPTION, STUBS, (), columns, tuple(blocks))


def _lines(rows: Iterable[Row], metrics: Sequence[str], precision: int) -> tuple[Line, ...]:
    return tuple(
        Line(
            (row["label"], wording.noise_text(row), wording.rate_text(row["rate"]), str(row["n"])),
            tuple(cell(row, metric, precision) for metric in metrics),
        )
        for row in rows
    )


def _notes(rows: Sequence[Row]) -> tuple[str, ...]:
    """Notes on the candidate sets of a setting: mean size, and how many lack the true label."""
    sizes = [row["mean_candidates_mean"] for row in rows if row["mean_candidates_mean"] is not None]
    outside = [row["truth_outside_mean"] for row in rows if row["truth_outside_mean"]]
    notes = [f"{sum(sizes) / len(sizes):.1f} candidates on average"] if sizes else []
    if outside:
        notes.append(f"truth outside in {sum(outside) / len(outside):.1f} %")
    return tuple(notes)


def _crossed(title: str, rows: Sequence[Row], column_of: Callable[[Row], str], view: View) -> Table:
    """A table with a line per method, and the metrics of each value of `column_of` as columns."""
    metrics = view.metrics or _main_metrics(rows)
    names = list(dict.fromkeys(map(column_of, rows)))
    labels = list(dict.fromkeys(row["label"] for row in rows))
    row_at = {(row["label"], column_of(row)): row for row in rows}
    lines = tuple(
        Line(
            (label,),
            tuple(cell(row_at.get((label, n)), m, view.precision) for n in names for m in metrics),
        )
        for label in labels
    )
    single = len(metrics) == 1
    full_title = f"{wording.heading(metrics[0])} of {title}" if single else title
    caption = f"{_seeds_text(rows)} {wording.CAPTION}"
    if not single:
        groups = tuple((name, len(metrics)) for name in names)
        columns = tuple(wording.heading(metric) for _ in names for metric in metrics)
    elif column_of is wording.setting_text:
        groups, columns = _rates_below_noises(rows)
    else:
        groups, columns = (), tuple(names)
    return Table(full_title, caption, ("Method",), groups, columns, (Block("", (), lines),))


def _main_metrics(rows: Sequence[Row]) -> tuple[str, ...]:
    """What the rows of each data set are compared in: H, S, or both."""
    metrics = [main_metric(group) for _, group in wording.sections(rows)]
    return tuple(dict.fromkeys(sorted(metrics)))


def _rates_below_noises(
    rows: Sequence[Row],
) -> tuple[tuple[tuple[str, int], ...], tuple[str, ...]]:
    """Headings of the settings in two lines: each noise once, and its rates below it."""
    settings = {wording.setting_text(row): row for row in rows}.values()
    groups = [
        (noise, ["-" if row["rate"] is None else f"rate {row['rate']:g}" for row in group])
        for noise, group in groupby(settings, key=wording.noise_text)
    ]
    columns = tuple(rate for _, rates in groups for rate in rates)
    return tuple((noise, len(rates)) for noise, rates in groups), columns


def _seeds_text(rows: Sequence[Row]) -> str:
    counts = sorted({row["n"] for row in rows})
    return f"n = {counts[0]}." if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}."


def standing_table(lines: Sequence[dict[str, Any]], against: str, metrics: Sequence[str]) -> Table:
    """Mean ranks and wins, ties and losses over all settings.

    Args:
        lines: from `standings`.
        against: the opponents of the wins and losses, in words.
        metrics: what settings are ranked in: H, S where no class is unseen, or both.
    """
    verdicts = ("wins", "ties", "losses")
    body = tuple(
        Line(
            (line["label"],),
            (
                Cell("-" if line["rank"] is None else f"{line['rank']:.2f}"),
                Cell(f"{line['settings']} of {line['of']}"),
                *(
                    Cell(str(line[name]) if any(line[verdict] for verdict in verdicts) else "-")
                    for name in verdicts
                ),
            ),
        )
        for line in lines
    )
    metric = metrics[0] if len(metrics) == 1 else "H (S where no class is unseen)"
    caption = (
        f"{metric} over {lines[0]['of']} settings. Mean rank: 1 is the highest, among the methods "
        f"that have every setting in full. Wins, ties and losses against {against}: paired t-tests "
        "over the seeds in each setting (two-sided, 5 %); a dash where none was possible."
    )
    columns = ("Mean rank", "Settings", "Wins", "Ties", "Losses")
    return Table("Over all settings", caption, ("Method",), (), columns, (Block("", (), body),))


def difference_table(title: str, rows: Sequence[Row], view: View) -> Table:
    """The paired difference of each row to its baseline, methods by settings, in one metric."""
    heading = wording.heading(compared_metric(view.metrics, rows))
    baselines = sorted({row["baseline"] for row in rows if row["baseline"]})
    caption = f"{heading} less that of {' or '.join(baselines)} in the same setting"
    return _differences(f"Differences in {heading}: {title}", caption, "table.csv", rows, view)


def compared_tables(
    rows: Sequence[Row], compared: Sequence[Row], verdict: str, view: View
) -> list[tuple[str, Table]]:
    """The paired differences between two sweeps, a table for each data set, with its title.

    Args:
        rows: all of this sweep. compared: of `compare_sweeps`. verdict: a sentence on all of them.
        view: what is shown.
    """
    titled_tables = []
    for title, group in wording.sections(rows):
        names = {(row["dataset"], row["cache_hash"]) for row in group}
        compared_here = [row for row in compared if (row["dataset"], row["cache_hash"]) in names]
        if compared_here:
            heading = wording.heading(compared_metric(view.metrics, compared_here))
            caption = (
                f"{verdict} {heading} there less {heading} here, of the same method and setting"
            )
            name = f"The other sweep in {heading}: {title}"
            titled_tables.append(
                (title, _differences(name, caption, "compare.csv", compared_here, view))
            )
    return titled_tables


def _differences(title: str, subtraction: str, file: str, rows: Sequence[Row], view: View) -> Table:
    """Differences of rows, methods by settings; `subtraction` says what is subtracted from what."""
    names = list(dict.fromkeys(map(wording.setting_text, rows)))
    row_at = {(row["label"], wording.setting_text(row)): row for row in rows}
    metric = compared_metric(view.metrics, rows)
    lines = tuple(
        Line(
            (label,),
            tuple(_difference(row_at.get((label, name)), metric, view.precision) for name in names),
        )
        for label in dict.fromkeys(row["label"] for row in rows)
    )
    caption = (
        f"{subtraction}: mean of the paired differences over the seeds that both have, their "
        "number, and the 95 % interval by Student's t; underlined where the interval holds zero. "
        "p of the paired t-test, and of the Wilcoxon signed-rank test from six seeds on, are in "
        f"{file}."
    )
    groups, columns = _rates_below_noises(rows)
    return Table(title, caption, ("Method",), groups, columns, (Block("", (), lines),))


def _difference(row: Row | None, metric: str, precision: int) -> Cell:
    if row is None or row[f"{metric}_difference"] is None:
        return Cell("-")
    mean, low, high = (row[f"{metric}_{part}"] for part in ("difference", "low", "high"))
    interval = "" if low is None else f"[{low:+.{precision}f}, {high:+.{precision}f}], "
    tie = low is not None and low <= 0 <= high
    note = f"{interval}n = {row[f'{metric}_pairs']}"
    return Cell(f"{mean:+.{precision}f}", note, "tie" if tie else "")
