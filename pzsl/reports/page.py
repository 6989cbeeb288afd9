"""The report as one self-contained HTML page, readable without network and scripts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from pzsl.reports import figures, wording
from pzsl.reports.best_row import BestRow, Captioned
from pzsl.reports.dataset_figures import Pictures
from pzsl.reports.figures import Style
from pzsl.reports.groups import Row
from pzsl.reports.provenance import facts_of, missing_runs
from pzsl.reports.records import Records, Run
from pzsl.reports.table_parts import Table
from pzsl.thumbnails import thumbnail

Pairs = Sequence[tuple[Row, list[Run]]]
SIDE = 96
"""Largest width and height of a thumbnail, in pixels."""


def render(
    pairs: Pairs,
    records: Records,
    parts: Sequence[tuple[str, list[Table]]],
    pictures: Mapping[str, Pictures],
    runs_link: str,
    has_csv: bool,
    images: Path | None = None,
) -> str:
    """Render the page; all text from records is escaped.

    Args:
        pairs: rows with their runs, in order.
        records: all records, for counts and warnings.
        parts: the tables of each data set by its title; those of '' come first.
        pictures: the figures of each data set by its title.
        runs_link: link from the page to the folder of runs.
        has_csv: whether there is a `runs.csv` beside the page.
        images: folder of the training images, for thumbnails of a few of them.
    """
    rows = [row for row, _ in pairs]
    styles = figures.styles({row["label"]: row["method"] for row in rows})
    remaining_pairs, tables = iter(pairs), dict(parts)
    sections = [
        _section(
            f"set-{number}",
            title,
            list(islice(remaining_pairs, len(group))),
            styles,
            pictures[title],
            images,
        )
        | {"tables": tables.get(title, [])}
        for number, (title, group) in enumerate(wording.sections(rows), start=1)
    ]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.lstrip_blocks = True
    source = files("pzsl.reports").joinpath("page.html.j2").read_text(encoding="utf-8")
    return environment.from_string(source).render(
        title=", ".join(section["title"] for section in sections),
        finished=len(records.runs),
        waiting=records.waiting,
        failed=records.failed,
        missing=missing_runs(pairs),
        warnings=by_kind(records.warnings),
        runs_link=runs_link,
        has_csv=has_csv,
        sections=sections,
        common=tables.get("", []),
        meaning=wording.MEANING,
    )


def _section(
    anchor: str,
    title: str,
    pairs: Pairs,
    styles: dict[str, Style],
    pictures: Pictures,
    images: Path | None,
) -> dict[str, Any]:
    """The template's values for one data set."""
    rows = [row for row, _ in pairs]
    labels = list(dict.fromkeys(row["label"] for row in rows))
    options = [set(run.options.items()) for _, group in pairs for run in group]
    shared = dict(sorted(set.intersection(*options)))
    model = [("Model", shared.pop("model"))] if "model" in shared else []
    return {
        "anchor": anchor,
        "title": title,
        "facts": model + _facts(pairs),
        "options": list(shared.items()),
        "legend": [(styles[label].colour, styles[label].glyph, label) for label in labels],
        "curves": _inline(pictures.main, f"{anchor}-h"),
        "more": _inline(pictures.more, f"{anchor}-m"),
        "more_title": _more_title(pictures.more),
        "sources": [_source(row, runs) for row, runs in pairs],
        "epochs": _inline(pictures.epochs, f"{anchor}-e"),
        "trades": _inline(pictures.curves, f"{anchor}-t"),
        "best_row": pictures.best_row and _best_row(anchor, pictures.best_row, images),
    }


def _more_title(more: Captioned) -> str:
    """The heading of the folded figures, which have a gap only where an oracle was run."""
    has_gap = any(caption.startswith("Gap") for caption, _ in more)
    if all(caption.startswith("Gap") for caption, _ in more):  # no class is unseen
        return "The gap to the oracle"
    return "S, U and the gap to the oracle" if has_gap else "S and U"


def _best_row(anchor: str, best_row: BestRow, images: Path | None) -> dict[str, Any]:
    """The template's values for the details of one row, with thumbnails if there are images."""
    named = [(caption, figure) for caption, _, figure in best_row.weights]
    weight_figures = _inline(named, f"{anchor}-w")
    thumbs = [_thumbnail_of(images, path) if images else "" for _, path, _ in best_row.weights]
    return {
        **best_row._asdict(),
        "figures": _inline(best_row.figures, f"{anchor}-c"),
        "weights": [(*figure, thumb) for figure, thumb in zip(weight_figures, thumbs, strict=True)],
    }


def _thumbnail_of(folder: Path, name: str) -> str:
    """A thumbnail of an image as a data URI; '' if it can't be read, or lies outside the folder."""
    from PIL import Image, ImageOps

    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        return ""
    try:
        with Image.open(path) as image:
            return thumbnail(ImageOps.exif_transpose(image), SIDE)
    except Exception:  # a broken image can raise anything in a decoder
        return ""


def _source(row: Row, runs: Sequence[Run]) -> dict[str, Any]:
    """The template's values for the provenance of one row."""
    return {
        "label": row["label"],
        "setting": wording.setting_text(row),
        "facts": facts_of(row, runs),
        "command": row["command"],
        "paths": [(run.seed, run.path, quote(run.path)) for run in runs],
    }


def by_kind(warnings: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Group warnings of the same kind: the first one, and a list of the others.

    The kind of a warning is its first two words: `Left out`, `No curve`, `The runs`.
    """
    kinds: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for warning in warnings:
        kinds[tuple(warning.split()[:2])].append(warning)
    return [(group[0], group[1:]) for group in kinds.values()]


def _facts(pairs: Pairs) -> list[tuple[str, str]]:
    """Facts about the runs of a data set, as pairs of name and value."""
    rows = [row for row, _ in pairs]
    runs = [run for _, group in pairs for run in group]
    seeds = sorted({run.seed for run in runs})
    facts = [
        ("Runs", f"{len(runs)} finished"),
        ("Seeds", ", ".join(map(str, seeds))),
        ("Noise", "; ".join(dict.fromkeys(wording.noise_text(r) for r in rows))),
    ]
    seconds = [run.metrics["seconds"] for run in runs]
    if total := sum(value for value in seconds if value is not None):
        facts.append(("Training time", _duration(total)))
    if rows[0]["cache_hash"]:
        facts.append(("Cache", rows[0]["cache_hash"][:12]))
    return facts


def _inline(drawings: Captioned, anchor: str) -> list[tuple[str, Markup]]:
    """Captions and drawings; the drawings as markup with unique ids."""
    return [
        (caption, Markup(figures.with_prefix(figures.to_page(drawing), f"{anchor}{number}")))
        for number, (caption, drawing) in enumerate(drawings)
    ]


def _duration(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    if hours >= 2:
        return f"{hours:.1f} hours"
    return f"{minutes:.1f} minutes" if minutes >= 2 else f"{seconds:.1f} seconds"
