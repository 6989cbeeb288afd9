"""The figures of a data set: metrics over the rate, gap to the oracle, disambiguation."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from pzsl.reports import figures, wording
from pzsl.reports.best_row import BestRow, Captioned, best_row, seen_unseen_curves
from pzsl.reports.comparison import CEILING, seed_values
from pzsl.reports.figures import Series, Style
from pzsl.reports.groups import Row, main_metric, setting_of, spread
from pzsl.reports.records import Run
from pzsl.reports.statistics import paired_difference

Pairs = Sequence[tuple[Row, list[Run]]]
Point = tuple[float, float | None]
"""A mean, and its standard deviation or None."""


class Pictures(NamedTuple):
    """The figures of a data set: H or S first, the others folded, those of single runs last."""

    main: Captioned
    more: Captioned
    epochs: Captioned
    curves: Captioned
    best_row: BestRow | None

    def all_figures(self) -> Captioned:
        """All figures with unique captions."""
        parts = [("Disambiguation", self.epochs), ("Seen-unseen curve", self.curves)]
        named = [(f"{part}: {name}", figure) for part, group in parts for name, figure in group]
        details = self.best_row.figures if self.best_row else []
        weights = self.best_row.weights if self.best_row else []
        weight_figures = [(f"Weights: {caption}", figure) for caption, _, figure in weights]
        return [*self.main, *self.more, *named, *details, *weight_figures]


def pictures_of(pairs: Pairs, styles: dict[str, Style], warnings: list[str]) -> Pictures:
    """All figures of one data set.

    Args:
        pairs: its rows with their runs.
        styles: the style of each row's label.
        warnings: collects a line for each run whose details are damaged.
    """
    rows = [row for row, _ in pairs]
    main_name = main_metric(rows)
    other_figures = [
        picture
        for metric in ("S", "U")
        if metric != main_name
        for picture in _over_rates(rows, styles, metric, partial(_mean, metric))
    ]
    other_figures += _gaps(pairs, styles, main_name)
    main = _over_rates(rows, styles, main_name, partial(_mean, main_name))
    curves = seen_unseen_curves(pairs, styles, warnings)
    return Pictures(main, other_figures, _epochs(pairs, styles), curves, best_row(pairs, warnings))


def figure_files(parts: Sequence[tuple[str, Pictures]], kinds: Sequence[str]) -> dict[str, bytes]:
    """File name -> content of every figure.

    Args:
        parts: title and pictures of each data set.
        kinds: some of `svg` and `png`.
    """
    files: dict[str, bytes] = {}
    for title, pictures in parts:
        for caption, figure in pictures.all_figures():
            stem = re.sub(r"[^a-z0-9]+", "-", f"{title} {caption}".lower()).strip("-")[:100]
            while f"figures/{stem}.{kinds[0]}" in files:
                stem += "-2"
            named = figures.with_legend(figure)
            files |= {f"figures/{stem}.{kind}": figures.to_file(named, kind) for kind in kinds}
    return files


def _mean(metric: str, row: Row) -> Point | None:
    mean = row[f"{metric}_mean"]
    return None if mean is None else (mean, row[f"{metric}_std"])


def _over_rates(
    rows: Sequence[Row],
    styles: dict[str, Style],
    name: str,
    point_of: Callable[[Row], Point | None],
) -> Captioned:
    """A value over the noise rate, one figure per noise; noises with a single rate come last."""
    kinds: dict[str, list[tuple[Row, Point]]] = defaultdict(list)
    for row in rows:
        if (point := point_of(row)) is not None:
            kinds[wording.noise_text(row)].append((row, point))
    curves, single = [], []
    for noise, group in kinds.items():
        series = list(_series(group, styles))
        if len({row["rate"] for row, _ in group}) > 1:
            over = (
                "wrong labels per image" if group[0][0]["noise"] == "fixed-size" else "noise rate"
            )
            curve = figures.rate_curves([line for _, line in series], over, f"{name} (%)")
            curves.append((f"{name} over the {over}: {noise}", curve))
        elif len(series) > 1:
            labels = [label for label, _ in series]
            dots = figures.dots(labels, [line for _, line in series], f"{name} (%)")
            single.append((f"{name}: {wording.setting_text(group[0][0])}", dots))
    return curves + single


def _series(
    group: Sequence[tuple[Row, Point]], styles: dict[str, Style]
) -> Iterator[tuple[str, Series]]:
    lines: dict[str, list[tuple[Row, Point]]] = defaultdict(list)
    for row, point in group:
        lines[row["label"]].append((row, point))
    for label, line in lines.items():
        rates = [row["rate"] or 0.0 for row, _ in line]
        means, deviations = [mean for _, (mean, _) in line], [std for _, (_, std) in line]
        yield label, Series(styles[label], rates, means, deviations)


def _gaps(pairs: Pairs, styles: dict[str, Style], metric: str) -> Captioned:
    """The gap of H, or S, to the oracle's in the same setting, over the seeds that both have.

    Of several oracles, with other options, it is that with the highest mean. Oracles of other label
    embeddings don't count, and without an oracle there is nothing.
    """
    oracles = [pair for pair in pairs if pair[0]["method"] == CEILING]
    ceilings = {
        _task(*pair): seed_values(pair[1], metric)
        for pair in sorted(oracles, key=lambda pair: pair[0][f"{metric}_mean"] or 0.0)
    }
    points: dict[int, Point] = {}
    for row, runs in pairs:
        values = {} if row["method"] == CEILING else seed_values(runs, metric)
        if difference := paired_difference(ceilings.get(_task(row, runs), {}), values):
            points[id(row)] = difference.mean, None
    rows = [row for row, _ in pairs]
    name = f"Gap of {metric} to the oracle"
    return _over_rates(rows, styles, name, lambda row: points.get(id(row)))


def _task(row: Row, runs: Sequence[Run]) -> tuple[Any, ...]:
    """The setting of a row, and what its label embeddings are made of."""
    return *setting_of(row), runs[0].options.get("labels", "text")


def _epochs(pairs: Pairs, styles: dict[str, Style]) -> Captioned:
    """Disambiguation over the epochs, one figure per setting.

    The last, marked point is the value after training, which the table shows; some methods compute
    the label weights once more at the end.
    """
    settings: dict[str, list[Series]] = defaultdict(list)
    for row, runs in pairs:
        points: dict[float, list[float]] = defaultdict(list)
        for epoch in (epoch for run in runs for epoch in run.history):
            number, value = epoch["epoch"], epoch["disambiguation"]
            if number is not None and value is not None:
                points[number + 1].append(value)  # records count from 0, pages from 1
        if len(points) > 1:
            finals = [run.metrics["disambiguation"] for run in runs]
            points[max(points) + 1] = [value for value in finals if value is not None]
            means_at = [(number, spread(values)) for number, values in sorted(points.items())]
            points_known = [
                (number, mean, std) for number, (mean, std) in means_at if mean is not None
            ]
            x, means, deviations = (list(values) for values in zip(*points_known, strict=True))
            settings[wording.setting_text(row)].append(
                Series(styles[row["label"]], x, means, deviations)
            )
    return [
        (name, figures.epoch_curves(series, "disambiguation (%)"))
        for name, series in settings.items()
    ]
