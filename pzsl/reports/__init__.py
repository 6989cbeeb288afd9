"""Reports: `report(...)` reads run records only, and writes tables and a page."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from pzsl.errors import UsageError, nearest
from pzsl.files import write_atomic
from pzsl.reports.comparison import add_differences, add_marks, standings
from pzsl.reports.doubts import doubts
from pzsl.reports.formats import compare_csv, latex, markdown, plain, runs_csv, table_csv
from pzsl.reports.groups import Row, rows_of
from pzsl.reports.provenance import add_commands, missing_runs
from pzsl.reports.records import Records, Run, read_runs
from pzsl.reports.table_parts import View
from pzsl.reports.tables import LAYOUTS, all_tables, compared_tables
from pzsl.reports.two_sweeps import compare_sweeps, verdict_text
from pzsl.reports.wording import EXTRAS, SCORES, sections
from pzsl.requests import as_list, is_whole, say_unused, with_paths

FORMATS = ("html", "md", "latex", "csv", "svg", "png")


class Place(NamedTuple):
    """The link from the page to the runs, and the folder of the training images."""

    link: str
    images: Path | None


@with_paths
def report(
    runs: str | Path = "runs/",
    out: str | Path = "report/",
    formats: str | Sequence[str] = ("html", "md", "csv"),
    baseline: str | None = None,
    *,
    layout: str = "settings",
    metrics: str | Sequence[str] = (),
    precision: int = 2,
    images: str | Path | None = None,
    compare: str | Path | None = None,
) -> dict[str, Any]:
    """Summarise every finished run below a folder.

    Args:
        runs: folder of run records, searched at any depth.
        out: folder for the files; created if missing.
        formats: some of `html`, `md`, `latex`, `csv`, `svg` and `png`.
        baseline: a method or a row's label: every row is compared with the baseline's row of its
            setting, paired over the seeds; `best`: the row with the highest H of each setting.
        layout: `settings` (a line for each method and setting, a column for
            each metric), `methods-by-rates` or `methods-by-datasets` (a line for each method).
        metrics: the columns; by default all in the layout `settings`, in the others H, or S where
            no class is unseen.
        precision: digits after the point, 0 to 6.
        images: folder of the training images; the page then shows a few of them.
        compare: folder of another sweep to compare with this one, row by row.

    Returns:
        `rows`: one dict for each data set, method and setting, with `n`, and for each metric
        `_mean`, `_std` (ddof = 1; None for one seed), `_mark` (see `add_marks`) and, with a
        baseline, the differences of `add_differences`; `standings` over all data sets and
        settings; `compared`: rows of `compare_sweeps`; `text`: the tables for a terminal;
        `files`: the files written; `finished` and `unfinished`: numbers of runs; `waiting`: folders
        of unfinished runs; `failed`: path and reason of each failed run; `missing`: seeds that a
        row lacks but others of its setting have; `warnings`: one line for each record that was
        left out, and other warnings.

    Raises:
        UsageError: an unknown format, layout or metric, a precision out of range, a folder of
            images that is none, or a baseline that matches no row or several rows.
        UserError: there is no finished run, or none in common with the other sweep.
    """
    formats = as_list(formats)
    view = _checked_view(formats, View(layout, tuple(as_list(metrics)), precision))
    _check_images(images, formats)
    records = read_runs(Path(runs))
    pairs = _judged_rows(records, baseline)
    rows, lines = [row for row, _ in pairs], standings(pairs)
    compared, sweep_warnings = compare_sweeps(pairs, Path(compare)) if compare else ([], [])
    records.warnings += sweep_warnings
    comparison_tables = compared_tables(rows, compared, verdict_text(compared, metrics), view)
    parts = all_tables(rows, lines, view, baseline, comparison_tables)
    place = Place(_link(Path(runs), Path(out)), Path(images) if images else None)
    contents = _contents(pairs, records, parts, formats, place)
    if compared and "csv" in formats:
        contents["compare.csv"] = compare_csv(compared)
    for name, content in contents.items():
        write_atomic(Path(out) / name, content)
    return {
        "rows": rows,
        "standings": lines,
        "compared": compared,
        "text": plain(parts),
        "files": [str(Path(out) / name) for name in contents],
        "finished": len(records.runs),
        "unfinished": len(records.waiting),
        "waiting": records.waiting,
        "failed": [{"path": path, "reason": reason} for path, reason in records.failed],
        "missing": missing_runs(pairs),
        "warnings": records.warnings,
    }


def _checked_view(formats: Sequence[str], view: View) -> View:
    """Check names and precision; return the view."""
    choices: list[tuple[str, str, Sequence[str]]] = [(view.layout, "layout", LAYOUTS)]
    choices += [(name, "format", FORMATS) for name in formats]
    choices += [(name, "metric", (*SCORES, *EXTRAS)) for name in view.metrics]
    for name, kind, names in choices:
        if name not in names:
            raise UsageError(f"Unknown {kind} '{name}'.{nearest(name, list(names))}")
    if not (is_whole(view.precision) and 0 <= view.precision <= 6):
        raise UsageError(f"--precision should be 0 to 6, not {view.precision}.")
    return view


def _check_images(images: str | Path | None, formats: Sequence[str]) -> None:
    if images is not None and not Path(images).is_dir():
        raise UsageError(f"--images {images} is not a folder: give that of the training images.")
    if "html" not in formats:
        say_unused("only a page (--format html) shows them", images=images)


def _judged_rows(records: Records, baseline: str | None) -> list[tuple[Row, list[Run]]]:
    """The rows with marks, commands and differences; `records.warnings` gets the doubts."""
    pairs = rows_of(records.runs)
    add_marks(pairs)
    add_commands(pairs)
    records.warnings += doubts(records.runs, pairs)
    records.warnings += add_differences(pairs, baseline) if baseline else []
    return pairs


def _contents(
    pairs: list[tuple[Row, list[Run]]],
    records: Records,
    parts: Any,
    formats: Sequence[str],
    place: Place,
) -> dict[str, str | bytes]:
    """File name -> content, for all formats."""
    contents: dict[str, str | bytes] = {}
    if {"html", "svg", "png"} & {*formats}:
        contents |= _page_and_figures(pairs, records, parts, formats, place)
    if "md" in formats:
        contents["table.md"] = markdown(parts, records.warnings)
    if "latex" in formats:
        contents["table.tex"] = latex(parts)
    if "csv" in formats:
        contents["table.csv"] = table_csv([row for row, _ in pairs])
        contents["runs.csv"] = runs_csv(pairs)
    return contents


def _page_and_figures(
    pairs: list[tuple[Row, list[Run]]],
    records: Records,
    parts: Any,
    formats: Sequence[str],
    place: Place,
) -> dict[str, str | bytes]:
    """The HTML page, and the figures as files; matplotlib is imported only here."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it warns if there is no home folder
    from pzsl.reports.dataset_figures import figure_files, pictures_of
    from pzsl.reports.figures import styles
    from pzsl.reports.page import render

    style_of_label = styles({row["label"]: row["method"] for row, _ in pairs})
    remaining = iter(pairs)
    pictures = {
        title: pictures_of(list(islice(remaining, len(group))), style_of_label, records.warnings)
        for title, group in sections([row for row, _ in pairs])
    }
    contents: dict[str, str | bytes] = {}
    if "html" in formats:
        best_rows = [picture.best_row for picture in pictures.values() if picture.best_row]
        named = [path for best_row in best_rows for _, path, _ in best_row.weights]
        records.warnings += _unseen_pictures(place.images, named)
        contents["index.html"] = render(
            pairs, records, parts, pictures, place.link, "csv" in formats, place.images
        )
    if kinds := [kind for kind in ("svg", "png") if kind in formats]:
        contents |= figure_files(list(pictures.items()), kinds)
    return contents


def _unseen_pictures(folder: Path | None, names: Sequence[str]) -> list[str]:
    """A warning if none of the images to show lies in the folder that was given for them."""
    if folder is None or not names or any((folder / name).is_file() for name in names):
        return []
    missing = folder / names[0]
    return [f"No picture is shown: {missing} is not there; --images takes the folder of the data."]


def _link(runs: Path, out: Path) -> str:
    """The link from the page to the folder of runs, relative if possible."""
    try:
        return quote(Path(os.path.relpath(runs.resolve(), out.resolve())).as_posix())
    except ValueError:  # on another drive of Windows
        return runs.resolve().as_uri()


__all__ = ["FORMATS", "report"]
