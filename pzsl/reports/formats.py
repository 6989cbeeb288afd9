"""The table as plain text cells, Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from pzsl.reports.groups import Row, setting_of
from pzsl.reports.records import METRICS, Run

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


def columns(rows: Sequence[Row]) -> dict[str, str]:
    """The metrics worth a column, with their headings."""
    extras = {k: v for k, v in EXTRAS.items() if any(row[f"{k}_mean"] is not None for row in rows)}
    return {**SCORES, **extras}


def cell(row: Row, metric: str) -> str:
    """A mean with its standard deviation: `65.45 ± 0.12`, without it for one seed, or `-`."""
    mean, deviation = row[f"{metric}_mean"], row[f"{metric}_std"]
    if mean is None:
        return "-"
    fewer = " †" if mark_of(row, metric) == "fewer" else ""
    return f"{mean:.2f}{fewer}" if deviation is None else f"{mean:.2f} ± {deviation:.2f}{fewer}"


def mark_of(row: Row, metric: str) -> str:
    """How a row stands in a metric: '', `best`, `tie` or `fewer`."""
    return str(row.get(f"{metric}_mark", ""))


def rate_text(rate: float | None) -> str:
    """A noise rate as people write it."""
    return "-" if rate is None else f"{rate:g}"


def noise_text(row: Row) -> str:
    """A kind of noise, with its eta and its true labels a class where it has some."""
    name, eta, shots = row["noise"] or "no noise", row["eta"], row["few_shot"]
    parts = [name, f"eta {eta:g}" if eta else "", f"{shots}-shot" if shots else ""]
    return ", ".join(part for part in parts if part)


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


def by_setting(rows: Sequence[Row]) -> Iterable[list[Row]]:
    """The rows of one data set, setting by setting."""
    return (list(group) for _, group in groupby(rows, key=setting_of))


def markdown(rows: Sequence[Row], warnings: Sequence[str]) -> str:
    """The table as GitHub Markdown, one for each data set."""
    lines = ["# Report", ""]
    lines += [f"> {_markdown(warning)}" for warning in warnings] + [""] * bool(warnings)
    for title, group in sections(rows):
        shown = columns(group)
        lines += [f"## {_markdown(title)}", ""]
        lines.append("| " + " | ".join(["Method", "Noise", "Rate", "n", *shown.values()]) + " |")
        lines.append("|---|---|" + "---:|" * (2 + len(shown)))
        for setting in by_setting(group):
            lines += _body(setting, shown, _markdown, "| {} |", " | ", _MARKDOWN_MARKS)
        lines += ["", CAPTION, ""]
    lines += [f"* {name}: {meaning}." for name, meaning in MEANING.items()]
    return "\n".join(lines) + "\n"


def latex(rows: Sequence[Row]) -> str:
    r"""The table as LaTeX (needs \usepackage{booktabs}), one for each data set."""
    blocks = []
    for title, group in sections(rows):
        shown = columns(group)
        heads = ["Method", "Noise", "Rate", "$n$", *shown.values()]
        body = [
            "\n".join(_body(setting, shown, _latex, "{} \\\\", " & ", _LATEX_MARKS))
            for setting in by_setting(group)
        ]
        lines = ["\\begin{table}", "\\centering", f"\\caption{{{_latex(title)}. {CAPTION}}}"]
        lines += [f"\\begin{{tabular}}{{ll{'r' * (2 + len(shown))}}}", "\\toprule"]
        lines += [" & ".join(heads) + " \\\\", "\\midrule", "\n\\midrule\n".join(body)]
        lines += ["\\bottomrule", "\\end{tabular}", "\\end{table}"]
        blocks.append("\n".join(lines).replace("±", "$\\pm$").replace("†", "$\\dagger$"))
    return "% Needs \\usepackage{booktabs}\n" + "\n\n".join(blocks) + "\n"


def table_csv(rows: Sequence[Row]) -> str:
    """Every row with full precision."""
    flat = [{**row, "seeds": " ".join(map(str, row["seeds"]))} for row in rows]
    return _csv(flat)


def runs_csv(pairs: Sequence[tuple[Row, list[Run]]]) -> str:
    """Every single run with full precision: the numbers behind each mean."""
    names = (
        *("dataset", "cache_hash", "method", "preset", "variant"),
        *("noise", "rate", "eta", "few_shot"),
    )
    flat = [
        {
            **{name: row[name] for name in names},
            "seed": run.seed,
            **{metric: run.metrics[metric] for metric in METRICS},
            "path": run.path,
        }
        for row, group in pairs
        for run in group
    ]
    return _csv(flat)


def _body(
    setting: Sequence[Row], shown: dict[str, str], escape: Any, line: str, join: str, marks: Any
) -> list[str]:
    """The lines of one setting, the best of each score in bold, ties underlined."""
    lines = []
    for row in setting:
        noise = noise_text(row)
        cells = [escape(row["label"]), escape(noise), rate_text(row["rate"]), str(row["n"])]
        for metric in shown:
            text = cell(row, metric)
            cells.append(marks.get(mark_of(row, metric), "{}").format(text))
        lines.append(line.format(join.join(cells)))
    return lines


_MARKDOWN_MARKS = {"best": "**{}**", "tie": "<ins>{}</ins>"}
_LATEX_MARKS = {"best": "\\textbf{{{}}}", "tie": "\\underline{{{}}}"}


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _no_formula(value) for key, value in row.items()} for row in rows)
    return buffer.getvalue()


def _no_formula(value: Any) -> Any:
    """A text that a spreadsheet would run as a formula gets a quote before it."""
    return (
        f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@")) else value
    )


def _markdown(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([\\`*_~$\[\]|])", r"\\\1", html.escape(text, quote=False))


def _latex(text: str) -> str:
    """Text that LaTeX prints as it is."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}
    special |= {letter: f"\\{letter}" for letter in "&%$#_{}"}
    return "".join(special.get(letter, letter) for letter in text)
