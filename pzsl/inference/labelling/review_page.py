"""A page of the images most in need of review, to be corrected in a browser."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ImageOps

from pzsl.device import usual_torch
from pzsl.encoders.preprocessing import eight_bits
from pzsl.errors import UsageError, UserError
from pzsl.files import write_atomic
from pzsl.inference.label_table import SUFFIXES
from pzsl.inference.labelling.find_labels import given_or_trained, say_drawn
from pzsl.inference.labelling.label_rows import SURE, LabelRow, by_gain, label_rows
from pzsl.inference.labelling.picture_files import OpenImage, find_pictures
from pzsl.inference.record import read_record
from pzsl.inference.restore import Trained, restore
from pzsl.progress import progress, say
from pzsl.requests import check_counts, with_paths
from pzsl.thumbnails import thumbnail

PAGE = "index.html"
CHOICES = 9
"""Most candidates with a button, one per digit key."""
LARGE, SMALL = 448, 128
"""Pixels of the picture to review, and of those it is compared with."""


@with_paths
@usual_torch()
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
        cache: the run's cache if it has moved, or the one to train on.
        images: folder of the pictures, if they have moved.
        count: how many images to show, those first whose correction would gain most.
        runs: folder of run records, if a run is trained here.
        overwrite: replace an existing page.

    Returns:
        `page, run, images` (on the page), `missing` (those of them without a picture).

    Raises:
        UserError: no such run, the page exists, or none of the pictures is found.
        UsageError: neither run nor cache, a count below one, or the ending of a table.
    """
    page = Path(out) if Path(out).suffix.lower() in (".html", ".htm") else Path(out) / PAGE
    check_counts(count=count)
    if Path(out).suffix.lower() in SUFFIXES:
        raise UsageError(
            f"--out {out} looks like a table, which --apply corrections.csv writes: for a page, "
            "name a folder or a file that ends in .html."
        )
    if page.exists() and not overwrite:
        raise UserError(f"{page} exists already: give another --out, or --overwrite.")
    folder = given_or_trained(run, cache, runs)
    record = read_record(folder, cache)
    trained = restore(record)
    say_drawn(record.config)
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
    """Per shown image and choice: the most similar other image that surely has this label."""
    features = trained.cache.images
    of_class: dict[str, list[int]] = {}
    for row in rows:
        if row.doubt <= 1 - SURE:
            of_class.setdefault(row.label, []).append(row.row)
    paths = trained.cache.paths
    features_of: dict[str, NDArray[np.float32]] = {}
    similar_images = []
    for row in shown:
        alike = []
        for name in _choices(row):
            sure = of_class.get(name, [])
            if sure and name not in features_of:
                features_of[name] = np.asarray(features[np.sort(sure)])
            cosines = features_of[name] @ features[row.row] if sure else np.empty(0)
            other_cosines = (
                np.where(np.sort(sure) == row.row, -np.inf, cosines) if sure else cosines
            )
            best = int(other_cosines.argmax()) if sure else -1
            alike.append(
                paths[np.sort(sure)[best]] if sure and np.isfinite(other_cosines[best]) else ""
            )
        similar_images.append(alike)
    return similar_images


def _choices(row: LabelRow) -> dict[str, float]:
    """Weights of the labels with a button: those of the largest weights, and the given one."""
    weight_of = dict(zip(row.candidates, row.weights, strict=True))
    shown = row.candidates[:CHOICES]
    if len(row.given) == 1 and row.given[0] not in shown:
        shown = [*row.candidates[: CHOICES - 1], row.given[0]]
    return {name: weight_of.get(name, 0.0) for name in shown}


def _embedded(
    pictures: OpenImage, shown: Sequence[LabelRow], alike: Sequence[Sequence[str]]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Pictures of each shown image and of those it is compared with; paths of missing pictures."""
    small: dict[str, str] = {}
    embedded, missing = [], []
    with progress(len(shown), "images", label="pictures") as bar:
        for row, similar_paths in zip(shown, alike, strict=True):
            for path in similar_paths:
                if path and path not in small:
                    small[path] = _picture(pictures, path, SMALL)
            large = _picture(pictures, row.path, LARGE)
            if not large:
                missing.append(row.path)
            embedded.append(
                {"picture": large, "alike": [small.get(path, "") for path in similar_paths]}
            )
            bar.update(1)
    return embedded, missing


def _picture(pictures: OpenImage, path: str, side: int) -> str:
    """A data URI, or '' if the picture can't be read."""
    try:
        return thumbnail(eight_bits(ImageOps.exif_transpose(pictures(path))), side)
    except Exception:  # a broken image can raise anything in a decoder
        return ""


def _page(trained: Trained, shown: Sequence[LabelRow], pictures: Sequence[dict[str, Any]]) -> str:
    """The page's HTML; everything from the data is in one JSON block, escaped."""
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
    """JSON that can neither end its script element nor begin a comment."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text
