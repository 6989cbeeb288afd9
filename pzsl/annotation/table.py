"""Candidate sets as a table that `pzsl extract --dataset table` and `pzsl import` read."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pzsl.candidates import CandidateSets
from pzsl.cells import SEPARATOR, refuse_misread
from pzsl.errors import UserError
from pzsl.files import replacing
from pzsl.progress import say
from pzsl.store import Cache

HEADER = ("path", "label", "candidates", "split")


def write_table(out: Path, cache: Cache, sets: CandidateSets, rows: NDArray[np.int64]) -> None:
    """Write a CSV of all images: training images get candidates and no label.

    Args:
        out: the file; an existing one is replaced.
        cache: of the images. Test images keep their label; those without a label are left out.
        sets: of the n training images. rows: (n,) of these in the cache, ascending.

    Raises:
        UserError: a class name can't be written into a list, or the file can't be written.
    """
    refuse_misread(cache.classes, out, "annotate into a cache instead (--out FILE.h5)")
    number = {int(row): place for place, row in enumerate(rows)}
    left_out = 0
    try:
        with replacing(out) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            lines = csv.writer(file, lineterminator="\n")
            lines.writerow(HEADER)
            for row, (path, split) in enumerate(zip(cache.paths, cache.splits, strict=True)):
                if row in number:
                    names = (cache.classes[label] for label in sets.row(number[row]))
                    lines.writerow((path, "", SEPARATOR.join(names), split))
                elif cache.labels[row] >= 0:
                    lines.writerow((path, cache.classes[cache.labels[row]], "", split))
                else:
                    left_out += 1
    except OSError as error:
        raise UserError(f"{out} can't be written: {error.strerror or error}.") from None
    if left_out:
        say(f"{out}: {left_out} test images without a label are left out.")
