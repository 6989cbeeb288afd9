"""Details of single runs: curves, classes, confusions, label embeddings, label weights."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from pzsl.reports import run_figures, wording
from pzsl.reports.comparison import CEILING
from pzsl.reports.details import Details, WatchedImage, read_curve, read_details
from pzsl.reports.figures import Style
from pzsl.reports.groups import Row, main_metric
from pzsl.reports.records import Run
from pzsl.reports.run_figures import Trade, Weights

Pairs = Sequence[tuple[Row, list[Run]]]
Captioned = list[tuple[str, Figure]]
LISTED, CONFUSED = 10, 15
"""Best and worst classes to list, and confused pairs to list."""


class ClassResult(NamedTuple):
    """A class, its test images over all seeds, and its accuracy in percent.

    `train` is the mean number of its training images: with imbalance each seed has others.
    """

    name: str
    seen: bool
    train: float
    test: int
    accuracy: float


class Confusion(NamedTuple):
    """A true class, the class predicted instead, how often, and the percentage of its images."""

    true: str
    predicted: str
    images: int
    share: float


class BestRow(NamedTuple):
    """Details of a data set's best row; lists and figures are empty if not recorded.

    `metric` is that in which it is the best.
    """

    metric: str
    label: str
    setting: str
    figures: Captioned
    worst: list[ClassResult]
    best: list[ClassResult]
    confusions: list[Confusion]
    weights: list[tuple[str, str, Figure]]


def seen_unseen_curves(pairs: Pairs, styles: dict[str, Style], warnings: list[str]) -> Captioned:
    """One figure per setting: each row's curve (first seed), and its point at the chosen gamma."""
    settings: dict[str, list[Trade]] = defaultdict(list)
    for row, runs in pairs:
        curve = read_curve(runs[0], warnings)
        if not curve:
            continue
        u, s = runs[0].metrics["U"], runs[0].metrics["S"]
        chosen = None if u is None or s is None else (u, s)
        settings[wording.setting_text(row)].append(Trade(styles[row["label"]], curve, chosen))
    return [(name, run_figures.seen_unseen(trades)) for name, trades in settings.items()]


def best_row(pairs: Pairs, warnings: list[str]) -> BestRow | None:
    """Details of the row with the highest H, or S, that recorded any, over its seeds; else None.

    A row of fewer seeds than most of its setting comes last, as it is no best row in the tables.
    """
    metric = main_metric(row for row, _ in pairs)
    mean, mark = f"{metric}_mean", f"{metric}_mark"
    ranked = sorted(
        (pair for pair in pairs if pair[0]["method"] != CEILING and pair[0][mean] is not None),
        key=lambda pair: (pair[0].get(mark) == "fewer", -pair[0][mean]),
    )
    for row, runs in ranked:
        recorded = [read_details(run, warnings) for run in runs]
        details = [entry for entry in recorded if entry is not None]
        comparable = [entry for entry in details if entry.names == details[0].names]
        if comparable:
            return _best_row(metric, row, comparable)
    return None


def _best_row(metric: str, row: Row, details: Sequence[Details]) -> BestRow:
    first, classes = details[0], class_results(details)
    figures: Captioned = []
    if classes:
        numbers = [result.train + result.test / len(details) for result in classes]
        accuracy, seen = (
            [result.accuracy for result in classes],
            [result.seen for result in classes],
        )
        drawing = run_figures.class_accuracy(numbers, accuracy, seen)
        figures.append(("Accuracy of each class over its number of images", drawing))
    if first.labels is not None:
        drawing = run_figures.label_map(first.labels, first.names, first.seen)
        figures.append(("Label embeddings before (hollow) and after (full) training", drawing))
    ordered = sorted(classes, key=lambda result: (result.accuracy, -result.test, result.name))
    half = min(LISTED, len(ordered) // 2)
    return BestRow(
        metric,
        row["label"],
        wording.setting_text(row),
        figures,
        ordered[:half],
        ordered[::-1][:half],
        confusions(details),
        [_sharpened(image, first.names) for image in first.images],
    )


def class_results(details: Sequence[Details]) -> list[ClassResult]:
    """The accuracy of each class with test images, over all runs."""
    names, seen = details[0].names, details[0].seen
    train = [number / len(details) for number in _sums(run.train for run in details)]
    test, hits = _sums(run.test for run in details), _sums(run.hits for run in details)
    return [
        ClassResult(names[i], seen[i], train[i], test[i], 100 * hits[i] / test[i])
        for i in range(len(test))
        if test[i]
    ]


def _sums(counts: Iterable[Sequence[int]]) -> list[int]:
    """Sum counts of each class over the runs."""
    return [sum(of_class) for of_class in zip(*counts, strict=True)]


def confusions(details: Sequence[Details]) -> list[Confusion]:
    """The most frequently confused pairs of classes, over all runs."""
    names, counts = details[0].names, Counter[tuple[int, int]]()
    for run in details:
        counts.update({(true, predicted): n for true, predicted, n in run.confusions})
    tests = _sums(run.test for run in details)
    return [
        Confusion(names[true], names[predicted], n, 100 * n / max(tests[true], 1))
        for (true, predicted), n in counts.most_common(CONFUSED)
        if tests
    ]


def _sharpened(image: WatchedImage, names: Sequence[str]) -> tuple[str, str, Figure]:
    """Caption, path and figure of the label weights of one training image."""
    lines = [
        Weights(_short(names[label]), [step[at] for step in image.weights], label == image.truth)
        for at, label in enumerate(image.candidates)
    ]
    truth = "unknown" if image.truth is None else names[image.truth]
    return f"{image.path} (true label: {truth})", image.path, run_figures.sharpening(lines)


def _short(name: str) -> str:
    return name if len(name) <= 22 else name[:21] + "…"
