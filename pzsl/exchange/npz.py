"""Import and export features as a `.npz` file of arrays: one row per image, one per class."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pzsl.errors import UserError
from pzsl.exchange.import_doubts import check_doubtful
from pzsl.exchange.npz_format import OPTIONAL, Arrays, check_arrays
from pzsl.exchange.vectors import (
    LOGIT_SCALE,
    UNREADABLE,
    check_vectors,
    say_assumed_scale,
    write_vectors,
)
from pzsl.files import check_zip, digest, parse_json, sha256_of
from pzsl.progress import say
from pzsl.store.cache import Cache
from pzsl.store.hdf5 import OPTIONAL_JSON, CacheHeader
from pzsl.store.validation import content_problems
from pzsl.store.whole_numbers import as_whole

TEMPLATE = "(imported)"


def import_npz(source: Path, out: Path, overwrite: bool = False, normalise: bool = False) -> Path:
    """Make a cache from a `.npz` file; nothing in it is executed (no pickle).

    Args:
        source: with the arrays `image_features` (N, D) and `text_features` (C, D), unit vectors;
            `labels` (N,) 0-based rows of `class_names` (C,); `unseen` (C,) bool; `split` (N,),
            one of trainval, test_seen, test_unseen; `model`, `pretrained`; and, if images have
            names, `paths` (N,). The further arrays that `pzsl export` writes are read as well.
        out: the cache to write.
        overwrite: replace an existing cache.
        normalise: divide vectors by their length instead of refusing those that are not unit.

    Returns:
        The path of the cache.

    Raises:
        UserError: it isn't such a file, or an array is missing, unknown or invalid.
    """
    source, out = Path(source), Path(out)
    arrays = _read(source)
    header = _header(source, arrays)
    for problem in content_problems(header):
        raise UserError(f"{source}: {problem}: correct the arrays and import again.")
    check_doubtful(source, header)
    if "logit_scale" not in arrays and header.pretrained != "openai":
        say_assumed_scale(str(source), "Another model's goes into the array 'logit_scale' ().")
    for name in ("image_features", "text_features", "views"):
        if name in arrays:
            check_vectors(f"{source}: '{name}'", arrays[name], normalise)
    text = arrays["text_features"]
    text = text if text.ndim == 3 else text[:, None]
    images, views = arrays["image_features"], arrays.get("views")
    return write_vectors(out, header, images, text, views, overwrite)


def npz_arrays(cache: Cache) -> Arrays:
    """The arrays of a cache, which `import_npz` reads back bit for bit."""
    about = cache.provenance
    arrays: Arrays = {
        "image_features": cache.images,
        "labels": cache.labels,
        "class_names": np.array(cache.classes, dtype=np.str_),
        "text_features": cache.text,
        "unseen": ~cache.seen,
        "split": cache.splits,
        "paths": np.array(cache.paths, dtype=np.str_),
        "templates": np.array(cache.templates, dtype=np.str_),
        "dataset": np.array(cache.dataset),
        "split_hash": np.array(cache.split_hash),
        "split_check": np.array(
            digest(cache.split_hash, _split_digest(cache, list(cache.classes)))
        ),
        "logit_scale": np.array(cache.logit_scale),
    }
    arrays |= {name: np.array(about[name]) for name in _PLAIN}
    arrays |= {name: np.array(json.dumps(about[name])) for name in _JSON}
    optional = {
        "attributes": cache.attributes,
        "views": cache.views,
        "candidate_offsets": cache.candidate_offsets,
        "candidate_labels": cache.candidate_labels,
    }
    metadata = {
        name: np.array(json.dumps(about[name])) for name in OPTIONAL_JSON if about.get(name)
    }
    return (
        arrays | metadata | {name: array for name, array in optional.items() if array is not None}
    )


def _split_digest(data: CacheHeader | Cache, classes: list[str]) -> str:
    """Hash of all images with their splits and labels, and of the classes as a file names them."""
    rows = zip(data.paths, data.splits.tolist(), data.labels.tolist(), strict=True)
    return digest(repr(sorted(rows)), repr(classes), (~data.seen).tobytes())


def _with_split_hash(
    source: Path, header: CacheHeader, classes: list[str], scalars: dict[str, Any]
) -> CacheHeader:
    """The header with the hash that `pzsl export` wrote, unless the arrays were edited since."""
    computed = _split_digest(header, classes)
    stored, check = scalars.get("split_hash", computed), scalars.get("split_check")
    if check not in (None, digest(stored, computed)):
        say(
            f"{source}: images, labels, splits or class names were edited since pzsl exported "
            "them: results don't compare with those before, and get another split hash."
        )
        stored = computed
    return replace(header, split_hash=stored)


_PLAIN = ("model", "pretrained", "weights_hash", "precision")
_JSON = ("preprocessing", "origin")


def _read(source: Path) -> Arrays:
    if not source.is_file():
        raise UserError(f"{source}: no such file.")
    try:
        check_zip(source)
        with np.load(source, allow_pickle=False) as file:
            arrays = {name: np.asarray(file[name]) for name in file.files}
    except UNREADABLE as error:
        text = " ".join(str(error).split())[:120] or type(error).__name__
        raise UserError(
            f"{source}: can't be read as .npz ({text}): copy it again, or write it with "
            "numpy.savez from plain arrays, without pickle."
        ) from error
    check_arrays(source, arrays)
    return arrays


def _header(source: Path, arrays: Arrays) -> CacheHeader:
    count, dim = arrays["image_features"].shape
    labels = as_whole(arrays["labels"], np.int64, f"{source}: 'labels'")
    classes = arrays["class_names"].tolist()
    if count and labels.min() == 1 and labels.max() == len(classes):
        raise UserError(
            f"{source}: 'labels' go from 1 to {len(classes)}, but rows of 'class_names' count "
            "from 0: subtract 1."
        )
    paths = arrays["paths"].tolist() if "paths" in arrays else _numbered(count)
    splits = arrays["split"].astype(np.str_)
    scalars = {
        name: arrays[name].item() for name in OPTIONAL if name in arrays and not OPTIONAL[name]
    }
    origin = {**_json(source, scalars, "origin"), "file": source.name, "sha256": sha256_of(source)}
    header = CacheHeader(
        dataset=scalars.get("dataset", source.stem),
        split_hash="",
        origin=origin,
        classes=_distinct(source, classes),
        seen=~arrays["unseen"],
        templates=tuple(arrays["templates"].tolist()) if "templates" in arrays else (TEMPLATE,),
        paths=tuple(paths),
        labels=labels,
        splits=splits,
        dim=dim,
        model=str(arrays["model"]),
        pretrained=str(arrays["pretrained"]),
        weights_hash=scalars.get("weights_hash", ""),
        preprocessing=_json(source, scalars, "preprocessing"),
        logit_scale=float(scalars.get("logit_scale", LOGIT_SCALE)),
        precision=scalars.get("precision", str(arrays["image_features"].dtype)),
        attributes=_typed(arrays, "attributes", np.float32),
        candidate_offsets=_whole(source, arrays, "candidate_offsets", np.int64),
        candidate_labels=_whole(source, arrays, "candidate_labels", np.int32),
        annotation=_json(source, scalars, "annotation"),
        augmentation=_json(source, scalars, "augmentation"),
    )
    return _with_split_hash(source, header, classes, scalars)


def _whole(source: Path, arrays: Arrays, name: str, dtype: type) -> NDArray[Any] | None:
    return as_whole(arrays[name], dtype, f"{source}: '{name}'") if name in arrays else None


def _json(source: Path, scalars: dict[str, Any], name: str) -> dict[str, Any]:
    try:
        value = parse_json(scalars.get(name, "{}"))
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise UserError(f"{source}: '{name}' should be a JSON object: leave it out.")
    return value


def _typed(arrays: Arrays, name: str, dtype: type) -> NDArray[Any] | None:
    return arrays[name].astype(dtype) if name in arrays else None


def _numbered(count: int) -> list[str]:
    return [f"image/{row:06d}" for row in range(count)]


def _distinct(source: Path, names: list[str]) -> tuple[str, ...]:
    """Number repeated class names; that is harmless, as the file has the text vectors."""
    given_names = set(names)
    distinct: dict[str, None] = {}
    for name in names:
        fresh, number = name, 1
        while fresh in distinct or (number > 1 and fresh in given_names):
            number += 1
            fresh = f"{name} ({number})"
        distinct[fresh] = None
        if number > 1:
            say(f"{source}: class name '{name}' occurs again: kept as '{fresh}'.")
    return tuple(distinct)
