"""A closer look at single runs: curves, classes, confusions, label embeddings, weights."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from pzsl.reports import drawings, wording
from pzsl.reports.comparison import CEILING
from pzsl.reports.details import Details, WatchedImage, read_curve, read_details
from pzsl.reports.drawings import Trade, Weights
from pzsl.reports.figures import Style
from pzsl.reports.groups import Row
from pzsl.reports.records import Run

Pairs = Sequence[tuple[Row, list[Run]]]
Captioned = list[tuple[str, Figure]]
LISTED, CONFUSED = 10, 15
"""Classes at either end, and confused pairs, that are told by name."""


class ClassResult(NamedTuple):
    """A class, its test images over all seeds, and its accuracy in percent."""

    name: str
    seen: bool
    train: int
    test: int
    accuracy: float


class Confusion(NamedTuple):
    """A true class, the class predicted instead, how often, and the percentage of its images."""

    true: str
    predicted: str
    images: int
    share: float


class Closer(NamedTuple):
    """A data set's best row, looked at closely; lists and figures are empty where unrecorded."""

    label: str
    setting: str
    figures: Captioned
    worst: list[ClassResult]
    best: list[ClassResult]
    confusions: list[Confusion]
    weights: list[tuple[str, str, Figure]]


def seen_unseen_curves(pairs: Pairs, looks: dict[str, Style], warnings: list[str]) -> Captioned:
    """The curve of the first seed of each row, a figure for each setting, with gamma's point."""
    settings: dict[str, list[Trade]] = defaultdict(list)
    for row, runs in pairs:
        curve = read_curve(runs[0], warnings)
        if not curve:
            continue
        u, s = runs[0].metrics["U"], runs[0].metrics["S"]
        chosen = None if u is None or s is None else (u, s)
        settings[wording.setting_text(row)].append(Trade(looks[row["label"]], curve, chosen))
    return [(name, drawings.seen_unseen(trades)) for name, trades in settings.items()]


def closer_look(pairs: Pairs, warnings: list[str]) -> Closer | None:
    """The row of the highest H whose runs recorded details, over all of its seeds; else None."""
    ranked = sorted(
        (pair for pair in pairs if pair[0]["method"] != CEILING and pair[0]["H_mean"] is not None),
        key=lambda pair: -pair[0]["H_mean"],
    )
    for row, runs in ranked:
        found = [one for run in runs if (one := read_details(run, warnings)) is not None]
        same = [one for one in found if one.names == found[0].names]
        if same:
            return _closer(row, same)
    return None


def _closer(row: Row, found: Sequence[Details]) -> Closer:
    first, classes = found[0], class_results(found)
    figures: Captioned = []
    if classes:
        numbers = [one.train + one.test // len(found) for one in classes]
        accuracy, seen = [one.accuracy for one in classes], [one.seen for one in classes]
        drawing = drawings.class_accuracy(numbers, accuracy, seen)
        figures.append(("Accuracy of each class over its number of images", drawing))
    if first.labels is not None:
        drawing = drawings.label_map(first.labels, first.names, first.seen)
        figures.append(("Label embeddings before (hollow) and after (full) training", drawing))
    ordered = sorted(classes, key=lambda one: (one.accuracy, -one.test, one.name))
    half = min(LISTED, len(ordered) // 2)
    return Closer(
        row["label"],
        wording.setting_text(row),
        figures,
        ordered[:half],
        ordered[::-1][:half],
        confusions(found),
        [_sharpened(image, first.names) for image in first.images],
    )


def class_results(found: Sequence[Details]) -> list[ClassResult]:
    """The accuracy of each class that has test images, over the runs together."""
    names, seen, train = found[0].names, found[0].seen, found[0].train
    test = [sum(each) for each in zip(*(one.test for one in found), strict=True)]
    hits = [sum(each) for each in zip(*(one.hits for one in found), strict=True)]
    return [
        ClassResult(names[i], seen[i], train[i], test[i], 100 * hits[i] / test[i])
        for i in range(len(test))
        if test[i]
    ]


def confusions(found: Sequence[Details]) -> list[Confusion]:
    """The pairs most often confused, over the runs together."""
    names, counts = found[0].names, Counter[tuple[int, int]]()
    for one in found:
        counts.update({(true, predicted): n for true, predicted, n in one.confusions})
    tests = [sum(each) for each in zip(*(one.test for one in found), strict=True)]
    return [
        Confusion(names[true], names[predicted], n, 100 * n / max(tests[true], 1))
        for (true, predicted), n in counts.most_common(CONFUSED)
        if tests
    ]


def _sharpened(image: WatchedImage, names: Sequence[str]) -> tuple[str, str, Figure]:
    """Caption, path and drawing of a watched image."""
    lines = [
        Weights(_short(names[label]), [step[at] for step in image.weights], label == image.truth)
        for at, label in enumerate(image.candidates)
    ]
    truth = "unknown" if image.truth is None else names[image.truth]
    return f"{image.path} (true label: {truth})", image.path, drawings.sharpening(lines)


def _short(name: str) -> str:
    return name if len(name) <= 22 else name[:21] + "…"
