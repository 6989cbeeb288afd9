"""Refuse, or warn about, what is allowed in an import, but probably not meant."""

from __future__ import annotations

from math import exp
from pathlib import Path, PurePath
from posixpath import normpath
from unicodedata import normalize

import numpy as np

from pzsl.datasets.base import UNKNOWN
from pzsl.datasets.class_warnings import labels_outside
from pzsl.datasets.names import first_alike
from pzsl.datasets.own import check_once, plain_path
from pzsl.progress import say
from pzsl.store.hdf5 import CacheHeader

LOGARITHM = 10.0
"""Smaller scales look like logarithms: CLIP's scales start at 1 / 0.07 and end at 100."""


def check_doubtful(source: Path, header: CacheHeader) -> None:
    """Warn about suspicious values, and refuse images that are in two splits."""
    images = list(zip(header.paths, header.splits.tolist(), strict=True))
    check_once(str(source), images, {path: _one_form(path) for path in header.paths})
    _check_candidates(source, header)
    if alike := first_alike(header.classes):
        say(f"{source}: the class names '{alike[0]}' and '{alike[1]}' read alike: two classes?")
    _check_attributes(source, header)
    if header.logit_scale < LOGARITHM:
        say(
            f"{source}: logit_scale {header.logit_scale:.4g} looks like the logarithm that CLIP's "
            f"weights hold: cosines are multiplied with exp of it, {exp(header.logit_scale):.4g}; "
            "if that is meant, write it and import again."
        )


def _check_attributes(source: Path, header: CacheHeader) -> None:
    """Warn about classes whose attributes are all zero, or those of another class."""
    if header.attributes is None:
        return
    rows = header.attributes
    zero = [header.classes[row] for row in np.flatnonzero(~rows.any(axis=1))]
    if zero:
        more = f" and of {len(zero) - 1} more" if len(zero) > 1 else ""
        say(f"{source}: the attributes of '{zero[0]}'{more} are all zero: were they left out?")
    first: dict[bytes, str] = {}
    for name, row in zip(header.classes, rows, strict=True):
        other = first.setdefault(row.tobytes(), name)
        if other != name and row.any():
            say(
                f"{source}: '{other}' and '{name}' have the same attributes, which then can't "
                "tell them apart."
            )
            return


def _one_form(path: str) -> PurePath:
    """The path in the form that file systems take for one: composed letters, slashes, no `..`."""
    return PurePath(normpath(plain_path(normalize("NFC", path))))


def _check_candidates(source: Path, header: CacheHeader) -> None:
    """Warn about candidate sets of which none holds its image's label.

    Candidates of test images mean nothing and may well be their labels.
    """
    if header.candidate_offsets is None or header.candidate_labels is None:
        return
    trained = np.where(header.splits == "trainval", header.labels, UNKNOWN)
    doubt = labels_outside(trained, header.candidate_offsets, header.candidate_labels)
    if doubt:
        say(f"{source}: {doubt}")
