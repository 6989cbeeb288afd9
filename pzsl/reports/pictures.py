"""Which figures a data set gets: metrics over the rate, the gap to the oracle, disambiguation."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from pzsl.reports import figures, wording
from pzsl.reports.closer import Captioned, Closer, closer_look, seen_unseen_curves
from pzsl.reports.comparison import CEILING
from pzsl.reports.figures import Series, Style
from pzsl.reports.groups import Row, setting_of, spread
from pzsl.reports.records import Run

Pairs = Sequence[tuple[Row, list[Run]]]
Point = tuple[float, float | None]
"""A mean, and its standard deviation where there is one."""


class Pictures(NamedTuple):
    """The figures of one data set: H first, the rest behind a click, single runs at the end."""

    main: Captioned
    more: Captioned
    epochs: Captioned
    curves: Captioned
    closer: Closer | None

    def all_figures(self) -> Captioned:
        """All of them under captions of their own."""
        parts = [("Disambiguation", self.epochs), ("Seen-unseen curve", self.curves)]
        named = [(f"{part}: {name}", figure) for part, group in parts for name, figure in group]
        closer = self.closer.figures if self.closer else []
        weights = self.closer.weights if self.closer else []
        told = [(f"Weights: {caption}", figure) for caption, _, figure in weights]
        return [*self.main, *self.more, *named, *closer, *told]


def pictures_of(pairs: Pairs, looks: dict[str, Style], warnings: list[str]) -> Pictures:
    """All figures of one data set.

    Args:
        pairs: its rows with their runs.
        looks: the style of each row's label.
        warnings: get a line for each run whose details are damaged.
    """
    rows = [row for row, _ in pairs]
    more = [
        picture
        for metric in ("S", "U")
        for picture in _over_rates(rows, looks, metric, partial(_mean, metric))
    ]
    more += _gaps(rows, looks)
    main = _over_rates(rows, looks, "H", partial(_mean, "H"))
    curves = seen_unseen_curves(pairs, looks, warnings)
    return Pictures(main, more, _epochs(pairs, looks), curves, closer_look(pairs, warnings))


def figure_files(parts: Sequence[tuple[str, Pictures]], kinds: Sequence[str]) -> dict[str, bytes]:
    """Every figure as a file of its own, by name.

    Args:
        parts: data sets' titles and their pictures.
        kinds: some of `svg` and `png`.
    """
    files: dict[str, bytes] = {}
    for title, pictures in parts:
        for caption, figure in pictures.all_figures():
            stem = re.sub(r"[^a-z0-9]+", "-", f"{title} {caption}".lower()).strip("-")[:100]
            while f"figures/{stem}.{kinds[0]}" in files:
                stem += "-2"
            files |= {f"figures/{stem}.{kind}": figures.to_file(figure, kind) for kind in kinds}
    return files


def _mean(metric: str, row: Row) -> Point | None:
    mean = row[f"{metric}_mean"]
    return None if mean is None else (mean, row[f"{metric}_std"])


def _over_rates(
    rows: Sequence[Row],
    looks: dict[str, Style],
    name: str,
    point_of: Callable[[Row], Point | None],
) -> Captioned:
    """A value over the noise rate, a figure for each noise; those of one rate only come last."""
    kinds: dict[str, list[tuple[Row, Point]]] = defaultdict(list)
    for row in rows:
        if (point := point_of(row)) is not None:
            kinds[wording.noise_text(row)].append((row, point))
    curves, single = [], []
    for noise, group in kinds.items():
        series = list(_series(group, looks))
        if len({row["rate"] for row, _ in group}) > 1:
            over = (
                "wrong labels per image" if group[0][0]["noise"] == "fixed-size" else "noise rate"
            )
            curve = figures.rate_curves([one for _, one in series], over, f"{name} (%)")
            curves.append((f"{name} over the {over}: {noise}", curve))
        elif len(series) > 1:
            labels = [label for label, _ in series]
            dots = figures.dots(labels, [one for _, one in series], f"{name} (%)")
            single.append((f"{name}: {wording.setting_text(group[0][0])}", dots))
    return curves + single


def _series(
    group: Sequence[tuple[Row, Point]], looks: dict[str, Style]
) -> Iterator[tuple[str, Series]]:
    lines: dict[str, list[tuple[Row, Point]]] = defaultdict(list)
    for row, point in group:
        lines[row["label"]].append((row, point))
    for label, line in lines.items():
        rates = [row["rate"] or 0.0 for row, _ in line]
        means, deviations = [mean for _, (mean, _) in line], [std for _, (_, std) in line]
        yield label, Series(looks[label], rates, means, deviations)


def _gaps(rows: Sequence[Row], looks: dict[str, Style]) -> Captioned:
    """How far H lies below the oracle's of the same setting; nothing without an oracle."""
    ceilings = {
        setting_of(row): row["H_mean"]
        for row in rows
        if row["method"] == CEILING and row["H_mean"] is not None
    }

    def gap(row: Row) -> Point | None:
        top = ceilings.get(setting_of(row))
        if top is None or row["H_mean"] is None or row["method"] == CEILING:
            return None
        return top - row["H_mean"], None

    return _over_rates(rows, looks, "Gap of H to the oracle", gap)


def _epochs(pairs: Pairs, looks: dict[str, Style]) -> Captioned:
    """Disambiguation over the epochs, a figure for each setting.

    The last point, with the mark, is that after training, when some methods weigh the candidates
    once more: it is the table's.
    """
    settings: dict[str, list[Series]] = defaultdict(list)
    for row, runs in pairs:
        points: dict[float, list[float]] = defaultdict(list)
        for epoch in (epoch for run in runs for epoch in run.history):
            number, value = epoch["epoch"], epoch["disambiguation"]
            if number is not None and value is not None:
                points[number].append(value)
        if len(points) > 1:
            finals = [run.metrics["disambiguation"] for run in runs]
            points[max(points) + 1] = [value for value in finals if value is not None]
            known = [(number, spread(values)) for number, values in sorted(points.items())]
            told = [(number, mean, std) for number, (mean, std) in known if mean is not None]
            x, means, deviations = (list(values) for values in zip(*told, strict=True))
            settings[wording.setting_text(row)].append(
                Series(looks[row["label"]], x, means, deviations)
            )
    return [
        (name, figures.epoch_curves(series, "disambiguation (%)"))
        for name, series in settings.items()
    ]
