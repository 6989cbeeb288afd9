"""HTML, Markdown, LaTeX, CSV and the terminal say the same, in every layout."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from records import write_run

from pzsl.errors import UsageError
from pzsl.reports import report

METHODS = ("clip", "oracle", "<script>alert(1)</script>", "100% & _more_", "[x]", "a|b")
VIEWS = [
    {},
    {"baseline": "clip", "precision": 1},
    {"layout": "methods-by-rates"},
    {"layout": "methods-by-rates", "metrics": ("S", "U", "H"), "precision": 1},
    {"layout": "methods-by-datasets", "metrics": ("H", "T1"), "baseline": "best"},
]


class Tables(HTMLParser):
    """The body rows of a page's tables: texts and marks of each row, without setting rows."""

    def __init__(self):
        super().__init__()
        self.rows, self.open, self.body = [], False, False

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "tbody":
            self.body = True
        elif tag == "tr" and self.body:
            self.rows.append([])
        elif tag in ("th", "td") and self.body:
            self.open = True
            self.rows[-1].append(["", attrs.get("class", "")])

    def handle_endtag(self, tag):
        if tag in ("th", "td"):
            self.open = False
        elif tag == "table":
            self.body = False

    def handle_data(self, data):
        if self.open:
            self.rows[-1][-1][0] += data


def of_page(text):
    parser = Tables()
    parser.feed(text)
    return [[(t, m) for t, m in row] for row in parser.rows if len(row) > 1]


def of_markdown(text):
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    cells = [[marked(c.strip(), r"\*\*(.*)\*\*", r"<ins>(.*)</ins>") for c in row] for row in rows]
    plain = [[(html.unescape(re.sub(r"\\(.)", r"\1", t)), m) for t, m in row] for row in cells]
    return [row for row in plain if row[0][0] != "Method"]


def of_latex(text):
    lines = [line[:-3] for line in text.splitlines() if line.endswith(r" \\")]
    rows = [re.split(r"(?<!\\) & ", line) for line in lines]
    rows = [row for row in rows if row[0] not in ("Method", "")]
    marks = r"\\textbf\{(.*)\}", r"\\underline\{(.*)\}"
    return [[(from_latex(t), m) for t, m in (marked(c, *marks) for c in row)] for row in rows]


def from_latex(text):
    words = {r"\textless{}": "<", r"\textgreater{}": ">", r"\textbar{}": "|", r"$\pm$": "±"}
    for word, letter in {**words, r"$\dagger$": "†", "$-$": "-"}.items():
        text = text.replace(word, letter)
    return re.sub(r"\{([-\[\]*])\}", r"\1", re.sub(r"\\([&%$#_{}])", r"\1", text))


def marked(text, bold, underlined):
    for mark, pattern in (("best", bold), ("tie", underlined)):
        if found := re.fullmatch(pattern, text):
            return found[1], mark
    return text, "fewer" if text.endswith(("†", r"$\dagger$")) else ""


@pytest.fixture
def runs(tmp_path):
    """Several methods, settings, data sets and seeds; one method lacks a seed."""
    rng = np.random.default_rng(3)
    for dataset in ("birds_&_100%", "fish"):
        for rate in (0.1, 0.3):
            for index, method in enumerate(METHODS):
                for seed in range(3 - (method == "a|b")):
                    values = {k: float(rng.normal(60 + index // 2, 1)) for k in ("S", "U", "H")}
                    config = {"method": method, "seed": seed, "rate": rate, "dataset": dataset}
                    name = f"{dataset[:4]}-{index}-{rate}-{seed}"
                    write_run(tmp_path / "runs", name, config, {**values, "T1": None})
    return tmp_path / "runs"


@pytest.mark.parametrize("view", VIEWS)
def test_page_markdown_and_latex_hold_the_same_cells_and_marks(runs, tmp_path, view):
    report(runs, tmp_path / "out", ("html", "md", "latex", "csv"), **view)
    files = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "out").iterdir()}
    markdown, latex = of_markdown(files["table.md"]), of_latex(files["table.tex"])
    assert markdown == latex and len(markdown) >= 12
    page = of_page(files["index.html"])
    if view.get("layout", "settings") == "settings":  # the page tells the setting above its rows
        assert page[-1] and sorted(map(tuple, page)) == sorted(
            tuple([row[0], *row[3:]] if len(row) > 9 else row) for row in map(list, markdown)
        )
    else:
        assert page == markdown
    assert {mark for row in markdown for _, mark in row} >= {"best", "tie", "fewer", ""}


def test_the_cells_are_those_of_the_csv_file(runs, tmp_path):
    report(runs, tmp_path / "out", ("md", "csv"))
    table = pd.read_csv(tmp_path / "out" / "table.csv")
    text = (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    markdown = [row for row in of_markdown(text) if len(row) > 9]  # without the ranks
    assert [row[0][0] for row in markdown] == table["label"].tolist()
    for column, metric in ((4, "S"), (5, "U"), (6, "H")):
        expected = [
            f"{mean:.2f} ± {std:.2f}"
            for mean, std in zip(table[f"{metric}_mean"], table[f"{metric}_std"], strict=True)
        ]
        assert [row[column][0].removesuffix(" †") for row in markdown] == expected
        assert [row[column][1] for row in markdown] == table[f"{metric}_mark"].fillna("").tolist()


def test_methods_by_rates_puts_each_mean_into_its_column(runs, tmp_path):
    result = report(runs, tmp_path / "out", ("md",), layout="methods-by-rates")
    markdown = (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    assert "| Method | uniform: rate 0.1 | uniform: rate 0.3 |" in markdown
    means = {(r["dataset"], r["label"], r["rate"]): r["H_mean"] for r in result["rows"]}
    cells = {row[0][0]: row for row in reversed(of_markdown(markdown)) if len(row) == 3}
    for label, row in cells.items():
        for column, rate in ((1, 0.1), (2, 0.3)):
            assert row[column][0].startswith(f"{means['birds_&_100%', label, rate]:.2f} ±")


def test_names_that_are_markup_stay_legible_and_harmless(runs, tmp_path):
    report(runs, tmp_path / "out", ("html", "md", "latex"))
    text = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "<script>alert" not in text and "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    for name, read in (("table.md", of_markdown), ("table.tex", of_latex)):
        rows = read((tmp_path / "out" / name).read_text(encoding="utf-8"))
        assert {row[0][0] for row in rows} == set(METHODS)
    assert "<script" not in (tmp_path / "out" / "table.md").read_text(encoding="utf-8")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex isn't installed")
@pytest.mark.parametrize("view", VIEWS)
def test_latex_compiles(runs, tmp_path, view):
    report(runs, tmp_path / "out", ("latex",), **view)
    paper = "\\documentclass[twocolumn]{article}\\usepackage{booktabs}\\begin{document}\n"
    paper += "\\input{table.tex}\\end{document}\n"
    (tmp_path / "out" / "paper.tex").write_text(paper)
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path / "out", capture_output=True, check=False)
    told = done.stdout.decode(errors="replace")
    assert done.returncode == 0, told[-2000:]
    if view.get("layout") == "methods-by-rates":  # else it depends on how many settings there are
        assert "too wide" not in told


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layout": "methods-by-rate"}, "Did you mean 'methods-by-rates'"),
        ({"metrics": ("h",)}, "Did you mean 'H'"),
        ({"precision": 7}, "--precision should be 0 to 6, not 7"),
    ],
)
def test_an_unknown_view_is_wrong_usage_and_nothing_is_written(runs, tmp_path, options, words):
    with pytest.raises(UsageError, match=words):
        report(runs, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
