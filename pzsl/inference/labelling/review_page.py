"""One page of the images most worth a look, to be corrected in a browser."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pzsl.errors import UserError
from pzsl.files import write_atomic
from pzsl.inference.labelling.find_labels import train_default
from pzsl.inference.labelling.label_rows import SURE, LabelRow, by_gain, label_rows
from pzsl.inference.labelling.picture_files import OpenImage, find_pictures, thumbnail
from pzsl.inference.record import read_record
from pzsl.inference.restore import Trained, restore
from pzsl.progress import progress, say
from pzsl.requests import check_counts

PAGE = "index.html"
CHOICES = 9
"""Candidates that get a button, one for each digit key."""
LARGE, SMALL = 448, 128
"""Pixels of the picture in question, and of those that it is compared with."""


def review(
    run: str | Path | None = None,
    out: str | Path = "review",
    *,
    cache: str | Path | None = None,
    images: str | Path | None = None,
    count: int = 200,
    runs: str | Path = "runs",
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write one self-contained page of the images whose labels are most in doubt.

    Args:
        run: folder of a finished run; without one, the default method is trained on `cache`.
        out: folder of the page, or a file that ends in `.html`.
        cache: the run's cache where it has moved, or the one to train on.
        images: folder of the pictures, where they have moved.
        count: how many images the page shows, those first whose correction would gain most.
        runs: folder of run records, where a run is trained here.
        overwrite: replace a page that is there.

    Returns:
        `page, run, images` (on the page), `missing` (of them without a picture).

    Raises:
        UserError: no such run, the page is there already, or none of the pictures is found.
        UsageError: neither run nor cache, or a count below one.
    """
    page = Path(out) if Path(out).suffix.lower() in (".html", ".htm") else Path(out) / PAGE
    check_counts(count=count)
    if page.exists() and not overwrite:
        raise UserError(f"{page} is there already: give another --out, or --overwrite.")
    folder = Path(run) if run is not None else train_default(cache, runs)
    record = read_record(folder, cache)
    trained = restore(record)
    pictures = find_pictures(trained.cache, Path(images) if images is not None else None)
    rows = by_gain(label_rows(trained))
    shown = rows[:count]
    thumbs, missing = _embedded(pictures, shown, _sure_images(trained, rows, shown))
    if len(missing) == len(shown):
        raise UserError(f"No picture is found ({missing[0]}): give their folder as --images.")
    if missing:
        say(f"{len(missing)} of {len(shown)} pictures are not found, such as {missing[0]}")
    write_atomic(page, _page(trained, shown, thumbs))
    return {
        "page": str(page),
        "run": str(record.folder),
        "images": len(shown),
        "missing": len(missing),
    }


def _sure_images(
    trained: Trained, rows: Sequence[LabelRow], shown: Sequence[LabelRow]
) -> list[list[str]]:
    """Of each shown image and each of its choices: the most similar image that surely has it."""
    features = trained.cache.images
    of_class: dict[str, list[int]] = {}
    for row in rows:
        if row.doubt <= 1 - SURE:
            of_class.setdefault(row.label, []).append(row.row)
    paths = trained.cache.paths
    held: dict[str, NDArray[np.float32]] = {}
    found = []
    for row in shown:
        alike = []
        for name in _choices(row):
            sure = of_class.get(name, [])
            if sure and name not in held:
                held[name] = np.asarray(features[np.sort(sure)])
            near = held[name] @ features[row.row] if sure else np.empty(0)
            others = np.where(np.sort(sure) == row.row, -np.inf, near) if sure else near
            best = int(others.argmax()) if sure else -1
            alike.append(paths[np.sort(sure)[best]] if sure and np.isfinite(others[best]) else "")
        found.append(alike)
    return found


def _choices(row: LabelRow) -> dict[str, float]:
    """Weights of the labels that get a button: the heaviest, and the one that was given."""
    weight_of = dict(zip(row.candidates, row.weights, strict=True))
    first = row.candidates[:CHOICES]
    if len(row.given) == 1 and row.given[0] not in first:
        first = [*row.candidates[: CHOICES - 1], row.given[0]]
    return {name: weight_of.get(name, 0.0) for name in first}


def _embedded(
    pictures: OpenImage, shown: Sequence[LabelRow], alike: Sequence[Sequence[str]]
) -> tuple[list[dict[str, Any]], list[str]]:
    """The pictures of each shown image and of those it is compared with; paths of missing ones."""
    small: dict[str, str] = {}
    found, missing = [], []
    with progress(len(shown), "images", label="pictures") as bar:
        for row, others in zip(shown, alike, strict=True):
            for path in others:
                if path and path not in small:
                    small[path] = _picture(pictures, path, SMALL)
            large = _picture(pictures, row.path, LARGE)
            if not large:
                missing.append(row.path)
            found.append({"picture": large, "alike": [small.get(path, "") for path in others]})
            bar.update(1)
    return found, missing


def _picture(pictures: OpenImage, path: str, side: int) -> str:
    """A data URI, or '' where the picture can't be read."""
    try:
        return thumbnail(pictures(path), side)
    except (OSError, ValueError, SyntaxError):
        return ""


def _page(trained: Trained, shown: Sequence[LabelRow], pictures: Sequence[dict[str, Any]]) -> str:
    """The page's HTML: all that comes from the data lies in one JSON block, escaped."""
    items = [
        {
            "path": row.path,
            "given": row.given,
            "label": row.label,
            "why": row.why,
            "candidates": [*_choices(row)],
            "weights": [round(weight, 4) for weight in _choices(row).values()],
            **picture,
        }
        for row, picture in zip(shown, pictures, strict=True)
    ]
    content = {
        "dataset": trained.cache.dataset,
        "classes": sorted(trained.names[: trained.seen]),
        "items": items,
    }
    template = files("pzsl.inference.labelling").joinpath("review.html").read_text(encoding="utf-8")
    return template.replace("{{content}}", _in_script(content))


def _in_script(value: Any) -> str:
    """JSON that can neither end the script element that it stands in nor begin a comment."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text
