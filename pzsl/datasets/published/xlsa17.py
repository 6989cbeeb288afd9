"""SUN, CUB, AWA2, aPY and FLO with the proposed splits of Xian et al. (TPAMI 2019).

A data set needs the publisher's image tree (`root`) and the two files `att_splits.mat` and
`res101.mat`, which are looked for in `root/xlsa17/<NAME>/` or in the folder given as `splits`.
'SUN' is the SUN Attribute data set (717 classes, 20 images each), not SUN397. FLO's files have no
class names; they come from `names/flo.txt`. aPY's items are boxes within images: see `apy.py`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from pzsl.datasets.base import Dataset
from pzsl.datasets.published.apy import ObjectReader, assign_boxes, read_boxes
from pzsl.datasets.published.listing import Listing, find_splits, read_listing
from pzsl.datasets.published.matching import Matches, match_files
from pzsl.datasets.reading import FileReader
from pzsl.errors import UsageError, UserError
from pzsl.progress import say

SHOWN = 3
"""Most missing images that a message lists."""


def load_sun(
    root: Path, splits: Path | None = None, names: Path | None = None, on_error: str = "fail"
) -> Dataset:
    """SUN Attribute (Patterson and Hays 2012): 717 kinds of scene, 14,340 images; see `load`."""
    return load("sun", root, splits, names, on_error)


def load_cub(
    root: Path, splits: Path | None = None, names: Path | None = None, on_error: str = "fail"
) -> Dataset:
    """CUB-200-2011 (Wah et al. 2011): 200 kinds of bird, 11,788 images; see `load`."""
    return load("cub", root, splits, names, on_error)


def load_awa2(
    root: Path, splits: Path | None = None, names: Path | None = None, on_error: str = "fail"
) -> Dataset:
    """Animals with Attributes 2 (Xian et al. 2019): 50 animals, 37,322 images; see `load`."""
    return load("awa2", root, splits, names, on_error)


def load_apy(
    root: Path, splits: Path | None = None, names: Path | None = None, on_error: str = "fail"
) -> Dataset:
    """aPascal & aYahoo (Farhadi et al. 2009): 32 classes, 15,339 objects; see `load`, `apy.py`."""
    return load("apy", root, splits, names, on_error)


def load_flo(
    root: Path, splits: Path | None = None, names: Path | None = None, on_error: str = "fail"
) -> Dataset:
    """Oxford Flowers (Nilsback and Zisserman 2008): 102 flowers, 8,189 images; see `load`."""
    return load("flo", root, splits, names, on_error)


def load(
    name: str,
    root: Path,
    splits: Path | None = None,
    names: Path | None = None,
    on_error: str = "fail",
) -> Dataset:
    """Load one of the five data sets.

    Args:
        name: `sun`, `cub`, `awa2`, `apy` or `flo`.
        root: folder that holds the publisher's image tree, at any depth.
        splits: folder of `att_splits.mat` and `res101.mat`, or the folder above it.
        names: file of class names that replace the shipped ones, see `class_names.py`; by default
            `names.tsv` beside the split file, if there is one.
        on_error: missing images: `fail`, or `skip` to leave them out.

    Returns:
        The data set; seen classes are those of trainval, `attributes` are the published ones.

    Raises:
        UsageError: `on_error` is neither `fail` nor `skip`.
        UserError: a file is missing, damaged or of another data set; images are missing.
    """
    if on_error not in ("fail", "skip"):
        raise UsageError(f"Unknown way to treat errors '{on_error}': use fail or skip.")
    root, folder = Path(root), find_splits(name, Path(root), splits)
    listing = read_listing(name, folder, names)
    matches = match_files(root, listing.files)
    reader, regions = _reader(name, root, matches, listing)
    origin = (("root", str(root.resolve())), *listing.data.origin, *regions)
    data = replace(listing.data, reader=reader, origin=origin)
    return _without_missing(data, matches, root, on_error)


def _reader(
    name: str, root: Path, matches: Matches, listing: Listing
) -> tuple[FileReader | ObjectReader, tuple[tuple[str, str], ...]]:
    """The reader of the images, and a note about boxes for the cache's origin."""
    base = _common_base(matches)
    start = f"{base}/" if base else ""
    moved = {
        key: path
        for key, path in zip(matches.ids, matches.found, strict=True)
        if path and path != f"{start}{key}"
    }
    files = FileReader(root.resolve(), base or ".", moved)
    if name != "apy":
        return files, ()
    boxes = read_boxes(root)
    if boxes is None:
        say(
            "apy: attribute_data (apascal_train.txt, ...) is not below the root, so whole images "
            "are encoded, although the data set's items are boxes within them."
        )
    ids = listing.data.paths
    assigned = assign_boxes(ids, [listing.published[i] for i in listing.data.labels], boxes or {})
    note = f"{len(assigned)} boxes, {len(ids) - len(assigned)} whole images"
    return ObjectReader(files, assigned), (("regions", note),)


def _common_base(matches: Matches) -> str:
    """The folder below the root that ids are relative to, by the first matching image; else ''."""
    for key, path in zip(matches.ids, matches.found, strict=True):
        if path and f"/{path}".endswith(f"/{key}"):
            return path.removesuffix(key).rstrip("/")
    return ""


def _without_missing(data: Dataset, matches: Matches, root: Path, on_error: str) -> Dataset:
    """Leave missing images out (`skip`), or raise an error about them (`fail`).

    All classes are kept, and remain seen or unseen as published.
    """
    rows = np.flatnonzero([path is not None for path in matches.found])
    missing = [key for key, path in zip(matches.ids, matches.found, strict=True) if path is None]
    if not missing:
        return data
    text = (
        f"{data.name}: {len(missing)} of {len(data.paths)} images are not below {root} "
        f"({', '.join(missing[:SHOWN])}{', ...' if len(missing) > SHOWN else ''})."
    )
    if matches.other_case:
        expected_name, actual_name = next(iter(matches.other_case.items()))
        text += (
            f" {len(matches.other_case)} of them are there under names with other capitals "
            f"('{actual_name}' should end in '{expected_name}'): rename them."
        )
    if data.name == "sun" and _looks_like_sun397(root, matches):
        text += " This tree looks like SUN397; 'sun' is another one, the SUN Attribute data set."
    if not len(rows):
        raise UserError(f"{text} Give the folder that holds the publisher's tree as --root.")
    if on_error == "fail":
        raise UserError(f"{text} Fetch the rest, or leave them out with --on-error skip.")
    say(f"{text} They are left out.")
    remaining = data.subset(rows)
    return replace(remaining, origin=(*remaining.origin, ("missing", str(len(missing)))))


def _looks_like_sun397(root: Path, matches: Matches) -> bool:
    """SUN397 has 108,754 images and unpacks to a folder of that name."""
    named = "sun397" in str(root.resolve()).lower() or (root / "SUN397").is_dir()
    return named or matches.files > 50_000
