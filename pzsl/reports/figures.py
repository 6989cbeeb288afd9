"""Draw figures, as SVG that inherits its text colour from the page, or as PNG."""

from __future__ import annotations

import hashlib
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

INK = "#010203"
"""Placeholder of the page's text colour until the SVG is written."""

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Colours of Okabe and Ito, which colour-blind people can distinguish, without their yellow."""
_MARKERS = {"o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼", "P": "✚", "X": "✖"}
_BASELINE = "clip"
_KNOWN = (
    *("clip-pzsl", "oracle", "lws", "pico", "proden", "cavl", "cc", "rc", "able", "pop"),
    *("co-reg", "probe", "prototype", "conse", "crdpll", "papi", "records", "prompt-align"),
    *("gda", "tip-adapter", "rla", "zlap", "transclip", "em-dirichlet"),
)
"""Methods with a fixed style; that of any other method follows from its name."""

RC: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "pzsl",
    "text.parse_math": False,
    "font.size": 10.0,
    "font.family": "sans-serif",
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor"), INK),
    **dict.fromkeys(("xtick.color", "ytick.color"), INK),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
}


WIDTH = 4.7
"""Width of a figure, in inches."""


class Style(NamedTuple):
    """Colour, marker and line of a row's label, the same in every figure."""

    colour: str
    marker: str
    line: str
    label: str = ""

    @property
    def glyph(self) -> str:
        """The marker as a letter, for the legend."""
        return _MARKERS[self.marker]


class Series(NamedTuple):
    """One method's values: x, mean, and standard deviation (None for a single seed)."""

    style: Style
    x: list[float]
    mean: list[float]
    deviation: list[float | None]


def styles(methods: Mapping[str, str]) -> dict[str, Style]:
    """Choose a style for each label, the same in every report.

    Colour and marker follow from the method's name; labels of the same method share the colour and
    differ in marker and line. No two look alike while there are markers left. Frozen CLIP, the
    baseline, is grey and dashed.

    Args:
        methods: label -> method.
    """
    style_of_label: dict[str, Style] = {}
    counts: Counter[str] = Counter()
    taken: set[tuple[str, str]] = set()
    for label in sorted(methods, key=lambda label: (label != methods[label], label)):
        method, variant = methods[label], counts[methods[label]]
        counts[method] += 1
        place = _place(method)
        colour = "#7d8894" if method == _BASELINE else _COLOURS[place % len(_COLOURS)]
        markers = [[*_MARKERS][(place + variant + step) % len(_MARKERS)] for step in range(7)]
        marker = next((m for m in markers if (colour, m) not in taken), markers[0])
        taken.add((colour, marker))
        lines = ("--", ":", "-.") if method == _BASELINE else ("-", "-.", ":")
        style_of_label[label] = Style(colour, marker, lines[variant % len(lines)], label)
    return style_of_label


def _place(method: str) -> int:
    """Style number of a method: 42 numbers differ in colour (of 6) or marker (of 7)."""
    if method in _KNOWN:
        return _KNOWN.index(method)
    free_places = len(_COLOURS) * len(_MARKERS) - len(_KNOWN)
    return len(_KNOWN) + int(hashlib.sha256(method.encode()).hexdigest(), 16) % free_places


def rate_curves(series: Sequence[Series], xlabel: str, ylabel: str) -> Figure:
    """A metric over the noise rate with error bars, slightly shifted so that they don't overlap."""
    ticks = sorted({x for curve in series for x in curve.x})
    step = 0.008 * (ticks[-1] - ticks[0])
    with rc_context(RC):
        figure, axes = new_figure()
        for index, curve in enumerate(series):
            shift = step * (index - (len(series) - 1) / 2)
            x = [value + shift for value in curve.x]
            bars = _error_bars(curve.deviation)
            axes.errorbar(x, curve.mean, bars, **look_of(curve.style), capsize=2.5, elinewidth=1.0)
        axes.set_xticks(ticks, [f"{x:g}" for x in ticks])
        return labelled(figure, axes, xlabel, ylabel)


def dots(labels: Sequence[str], series: Sequence[Series], xlabel: str) -> Figure:
    """A metric of several methods at a single rate, one row for each."""
    with rc_context(RC):
        names = [_short(label) for label in labels]
        figure, axes = new_figure(0.9 + 0.3 * len(labels), left=0.25 + room_for(names))
        for index, point in enumerate(series):
            bars = _error_bars(point.deviation)
            look = {**look_of(point.style), "label": ""}  # the axis names it
            axes.errorbar(point.mean, [-index], xerr=bars, **look, capsize=2.5)
        axes.set_yticks([-index for index in range(len(labels))], names)
        axes.set_ylim(-len(labels) + 0.4, 0.6)
        return labelled(figure, axes, xlabel, "")


def epoch_curves(series: Sequence[Series], ylabel: str) -> Figure:
    """A metric over the epochs, with the standard deviation as a band."""
    with rc_context(RC):
        figure, axes = new_figure()
        for curve in series:
            colour = curve.style.colour
            axes.plot(curve.x, curve.mean, **look_of(curve.style), markevery=[len(curve.x) - 1])
            bands = list(zip(curve.mean, _error_bars(curve.deviation), strict=True))
            low, high = [mean - band for mean, band in bands], [mean + band for mean, band in bands]
            axes.fill_between(curve.x, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        return labelled(figure, axes, "epoch", ylabel)


def _short(label: str) -> str:
    """Shorten a label to leave room for the figure; the table has the full label."""
    return label if len(label) <= 32 else label[:31] + "…"


def _error_bars(deviation: Sequence[float | None]) -> list[float]:
    return [value or 0.0 for value in deviation]


def new_figure(height: float = 3.0, left: float = 0.92, right: float = 0.16) -> tuple[Figure, Axes]:
    """An empty figure with axes; height and margins in inches.

    The margins are fixed, because measuring every text takes as long as drawing the figure.
    """
    figure = Figure(figsize=(WIDTH, height))
    figure.subplots_adjust(left / WIDTH, 0.5 / height, 1 - right / WIDTH, 1 - 0.12 / height)
    return figure, figure.subplots()


def room_for(texts: Sequence[str], size: float = 10.0) -> float:
    """Estimated width of the longest text in inches, at most half a figure."""
    return min(0.0083 * size * max(map(len, texts), default=0), WIDTH / 2)


def look_of(style: Style) -> dict[str, Any]:
    """Keywords of Matplotlib that draw a line in a style, named in a legend."""
    look = {"color": style.colour, "marker": style.marker, "linestyle": style.line}
    return {**look, "markersize": 5.0, "linewidth": 1.6, "label": _short(style.label)}


def labelled(figure: Figure, axes: Axes, xlabel: str, ylabel: str) -> Figure:
    """Label the axes."""
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.grid(color=INK, alpha=0.12, linewidth=0.6)
    axes.set_axisbelow(True)
    return figure


def to_page(figure: Figure) -> str:
    """The figure as an SVG element that inherits text colour and font from the page."""
    return _for_page(to_file(figure, "svg", transparent=True).decode())


def with_legend(figure: Figure) -> Figure:
    """The figure with the names of its lines below it, if nothing in it names them; for a file."""
    (axes,) = figure.axes
    handles, names = axes.get_legend_handles_labels()
    if not names or axes.get_legend():
        return figure
    columns = 2 if max(map(len, names)) <= 20 else 1
    with rc_context(RC):
        place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (0.02, 0.0)}
        figure.legend(handles, names, ncols=columns, frameon=False, **place)
    return figure


def to_file(figure: Figure, kind: str, transparent: bool = False) -> bytes:
    """The figure as the content of an `svg` or `png` file; equal figures give equal bytes."""
    names = ("Date", "Creator", "Format", "Type") if kind == "svg" else ("Software",)
    buffer = io.BytesIO()
    nothing = dict.fromkeys(names)
    with rc_context(RC):
        box = "tight" if figure.legends else None
        figure.savefig(
            buffer, format=kind, transparent=transparent, metadata=nothing, dpi=200, bbox_inches=box
        )
    return buffer.getvalue()


def _for_page(drawing: str) -> str:
    """Turn an SVG file into an element for a page, with the page's font and text colour."""
    drawing = drawing[drawing.index("<svg") :].replace(f": {INK}", ": currentColor")
    drawing = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>\s*", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r"font-family: [^;\"]*; ", "", drawing)
    return re.sub(r'<g id="[^"]*"', "<g", drawing)


def with_prefix(drawing: str, prefix: str) -> str:
    """Prefix all ids of a drawing, so that the ids of a page's figures are unique."""
    return re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{prefix}-", drawing)
