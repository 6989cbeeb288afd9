"""Figures of single runs: seen-unseen curve, accuracy by class, label embeddings, weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib import rc_context
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pzsl.reports.details import LabelMap, Points
from pzsl.reports.figures import RC, Style, labelled, look_of, new_figure, room_for

SEEN, UNSEEN = "#0072b2", "#d55e00"
"""Colours of Okabe and Ito; the markers differ as well."""
_LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7d8894", "#333f48")
_MARKS = "so^DvPX*"
NAMED = 30
"""Classes are named in the map if there are at most this many."""


class Trade(NamedTuple):
    """A seen-unseen curve, (U, S) in percent, and the point at the chosen gamma."""

    style: Style
    curve: Points
    chosen: tuple[float, float] | None


class Weights(NamedTuple):
    """The weight of one candidate after each epoch; the last one is the final weight."""

    name: str
    values: Sequence[float]
    is_truth: bool


def seen_unseen(trades: Sequence[Trade]) -> Figure:
    """S against U as gamma varies."""
    with rc_context(RC):
        figure, axes = new_figure()
        for trade in trades:
            u, s = zip(*trade.curve, strict=True)
            look = {**look_of(trade.style), "linewidth": 1.3, "markersize": 6}
            axes.plot(u, s, **look, markevery=[])
            if trade.chosen:
                axes.plot(*trade.chosen, **{**look, "label": ""})
        return labelled(figure, axes, "U (%)", "S (%)")


def class_accuracy(
    images: Sequence[float], accuracy: Sequence[float], seen: Sequence[bool]
) -> Figure:
    """Accuracy of each seen and unseen class against its number of images."""
    with rc_context(RC):
        figure, axes = new_figure()
        for kind, colour, mark in ((True, SEEN, "o"), (False, UNSEEN, "^")):
            x = [n for n, k in zip(images, seen, strict=True) if k == kind]
            y = [a for a, k in zip(accuracy, seen, strict=True) if k == kind]
            name = "seen" if kind else "unseen"
            axes.plot(x, y, mark, color=colour, markersize=4, alpha=0.7, label=name, linestyle="")
        if max(images) > 20 * max(min(images), 1):
            axes.set_xscale("log")
        else:
            axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axes.legend(frameon=False, loc="lower right")
        return labelled(figure, axes, "images of the class", "accuracy (%)")


def label_map(embeddings: LabelMap, names: Sequence[str], seen: Sequence[bool]) -> Figure:
    """Label embeddings before (hollow) and after training (filled), joined by lines."""
    with rc_context(RC):
        figure, axes = new_figure(height=3.8)
        for kind, colour, mark in ((True, SEEN, "o"), (False, UNSEEN, "^")):
            at = [i for i, name in enumerate(embeddings.ids) if seen[name] == kind]
            ways = [(embeddings.before[i], embeddings.after[i]) for i in at]
            axes.add_collection(LineCollection(ways, colors=colour, linewidths=0.7, alpha=0.5))
            line_style: dict[str, Any] = {"color": colour, "marker": mark, "linestyle": ""}
            for points, fill in ((embeddings.before, "none"), (embeddings.after, "full")):
                x, y = [points[i][0] for i in at], [points[i][1] for i in at]
                label = "" if fill == "none" else "seen" if kind else "unseen"
                axes.plot(x, y, **line_style, markersize=4, fillstyle=fill, label=label)
        axes.margins(0.15)  # for the names
        for name, place in zip(embeddings.ids, embeddings.after, strict=True):
            if len(embeddings.ids) <= NAMED:
                axes.annotate(names[name], place, (4, 3), textcoords="offset points", fontsize=7)
        axes.legend(frameon=False)
        return labelled(figure, axes, "first principal component", "second")


def sharpening(candidates: Sequence[Weights]) -> Figure:
    """The weights of an image's candidates over the epochs; the true label is a thick line."""
    with rc_context(RC):
        names = [
            f"{candidate.name} (true)" if candidate.is_truth else candidate.name
            for candidate in candidates
        ]
        figure, axes = new_figure(height=2.6, right=0.55 + room_for(names, 7))
        for index, candidate in enumerate(candidates):
            x = range(1, len(candidate.values) + 1)
            line_style: dict[str, Any] = {
                "color": _LINES[index % len(_LINES)],
                "marker": _MARKS[index % len(_MARKS)],
            }
            width = 2.4 if candidate.is_truth else 1.2
            last = [len(candidate.values) - 1]
            axes.plot(
                x,
                candidate.values,
                **line_style,
                linewidth=width,
                label=names[index],
                markevery=last,
            )
        axes.set_ylim(-0.03, 1.03)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axes.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
        return labelled(figure, axes, "epoch", "weight")


__all__ = ["Trade", "Weights", "class_accuracy", "label_map", "seen_unseen", "sharpening"]
