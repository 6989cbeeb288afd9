"""Check a cache's contents; each problem is one line with row and name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pzsl.errors import UserError
from pzsl.files import unfit_text
from pzsl.progress import counted, printable
from pzsl.requests import DTYPES
from pzsl.store.hdf5 import SPLITS, UNKNOWN
from pzsl.store.unit_length import lengths, not_unit

if TYPE_CHECKING:
    from pzsl.store.cache import Cache
    from pzsl.store.hdf5 import CacheHeader


DECIMALS = 4
"""Of text vectors that are compared: equal texts in other batches differ by far less."""


def fault_of(vectors: NDArray[Any]) -> str:
    """What is wrong with a row of embeddings, (D,) or (K, D), in words."""
    vectors = np.asarray(vectors, dtype=np.float32)
    if not np.isfinite(vectors).all():
        return "holds NaN or an infinite number"
    norms = lengths(vectors).ravel()
    worst = float(norms[np.abs(norms - 1).argmax()])
    return "is all zero" if worst == 0 else f"has length {worst:.4g} instead of 1"


def feature_problems(name: str, features: NDArray[Any], rows: tuple[str, ...]) -> Iterator[str]:
    """Report embeddings that are not finite or not of length one.

    Args:
        name: of the array, for the message.
        features: (N, D) or (N, K, D).
        rows: (N,) names of the rows.
    """
    wrong = not_unit(features)
    if len(wrong):
        first = wrong[0]
        others = f" (and {len(wrong) - 1:,} more rows)" if len(wrong) > 1 else ""
        yield f"{name}, row {first} ('{rows[first]}') {fault_of(features[first])}{others}"


def content_problems(cache: CacheHeader | Cache) -> Iterator[str]:
    """Report problems with classes, images, splits and candidates of a header or a cache."""
    yield from text_problems("class", "class name", cache.classes)
    yield from text_problems("row", "image", cache.paths)
    yield from text_problems("template", "prompt template", cache.templates)
    yield from _class_problems(cache)
    yield from _image_problems(cache)
    if (cache.candidate_offsets is None) != (cache.candidate_labels is None):
        yield "candidate offsets and candidate labels have to be given together"
    elif cache.candidate_offsets is not None and cache.candidate_labels is not None:
        yield from _candidate_problems(cache, cache.candidate_offsets, cache.candidate_labels)


def check_header(header: CacheHeader, dtype: str, views: int, path: Path) -> None:
    """Refuse a header from which no cache can be made.

    Raises:
        UserError: it is invalid, the type of embeddings is unknown, or the views don't match.
    """
    if dtype not in DTYPES:
        raise UserError(f"{path}: can't store {dtype}: use {' or '.join(DTYPES)}.")
    kinds = header.augmentation.get("kinds", [""] * views)
    if len(kinds) != views:
        raise UserError(f"{path}: {views} views of each image, but kinds of {len(kinds)}.")
    for problem in content_problems(header):
        where = header.origin.get("table") or header.origin.get("root") or header.dataset
        raise UserError(f"{where}: {problem}: correct the data set.")


def text_problems(place: str, kind: str, names: Sequence[str]) -> Iterator[str]:
    """Report the first name that can't be stored as zero-terminated UTF-8.

    Args:
        place: what the position counts, such as `row`.
        kind: what the names stand for, such as `image`.
        names: (n,).
    """
    unfit = unfit_text(names)
    if unfit:
        row, fault = unfit
        name = printable(repr(names[row]))
        yield f"{place} {row}: the {kind} {name} holds {fault}: rename it"


def alike_in_text(text: NDArray[Any], classes: Sequence[str]) -> str | None:
    """A warning about classes with equal text vectors, which no method can separate; else None.

    Args:
        text: (C, T, D) text embeddings.
        classes: (C,) their names.
    """
    first_rows: dict[bytes, int] = {}
    pairs = []
    for row, vectors in enumerate(text):
        first_row = first_rows.setdefault((np.round(vectors, DECIMALS) + 0.0).tobytes(), row)
        if first_row != row:
            pairs.append((classes[first_row], classes[row]))
    if not pairs or not text.shape[1]:
        return None
    return (
        f"The text vectors of '{pairs[0][0]}' and '{pairs[0][1]}' are equal "
        f"({counted(len(pairs), 'such pair')}): no method can tell these classes apart by "
        "name; rename one, or correct the rows."
    )


def _duplicate(names: tuple[str, ...]) -> str | None:
    if len(set(names)) == len(names):
        return None
    return Counter(names).most_common(1)[0][0]


def _class_problems(cache: CacheHeader | Cache) -> Iterator[str]:
    count = len(cache.classes)
    if count < 2:
        yield f"{count} class; at least 2 are needed"
        return
    blank = next((row for row, name in enumerate(cache.classes) if not name.strip()), None)
    if blank is not None:
        yield f"class {blank} has no name"
    if (name := _duplicate(cache.classes)) is not None:
        rows = [row for row, class_name in enumerate(cache.classes) if class_name == name]
        yield f"class name '{name}' occurs more than once (classes {rows[0]} and {rows[1]})"
    if cache.seen.shape != (count,):
        yield f"'seen' should be ({count},) for {count} classes, but is {cache.seen.shape}"
    elif not cache.seen.any():
        yield "no class is seen: at least one needs training images"
    if not cache.templates and cache.attributes is None and not cache.part:
        yield "no prompt template and no attributes: classes need one or the other"
    if cache.attributes is not None:
        if cache.attributes.ndim != 2 or len(cache.attributes) != count:
            yield f"attributes should be ({count}, A), but are {cache.attributes.shape}"
        elif not np.isfinite(cache.attributes).all():
            row = int(np.flatnonzero(~np.isfinite(cache.attributes).all(axis=1))[0])
            yield f"attributes, row {row} ('{cache.classes[row]}') hold NaN or an infinite number"
    if not (np.isfinite(cache.logit_scale) and cache.logit_scale > 0):
        yield f"logit_scale is {cache.logit_scale}; it has to be above 0"


def _image_problems(cache: CacheHeader | Cache) -> Iterator[str]:
    count, classes = len(cache.paths), len(cache.classes)
    if not count:
        if not cache.part:  # all images of a part can be unreadable
            yield "no image"
        return
    for field, values in (("labels", cache.labels), ("splits", cache.splits)):
        if values.shape != (count,):
            yield f"'{field}' should be ({count},) for {count} images, but is {values.shape}"
            return
    if (name := _duplicate(cache.paths)) is not None:
        rows = [row for row, path in enumerate(cache.paths) if path == name]
        yield f"image '{name}' occurs more than once (rows {rows[0]} and {rows[1]})"
    unknown = np.flatnonzero(~np.isin(cache.splits, SPLITS))
    if len(unknown):
        row, allowed = unknown[0], ", ".join(SPLITS)
        split = cache.splits[row]
        yield f"row {row} ('{cache.paths[row]}') is in split '{split}'; known: {allowed}"
    wrong = np.flatnonzero((cache.labels < UNKNOWN) | (cache.labels >= classes))
    if len(wrong):
        row = wrong[0]
        yield (
            f"row {row} ('{cache.paths[row]}') has label {cache.labels[row]}, outside "
            f"0..{classes - 1} (labels are 0-based, -1 where unknown)"
        )
    elif not len(unknown) and cache.seen.shape == (classes,):
        yield from _split_problems(cache)


def _split_problems(cache: CacheHeader | Cache) -> Iterator[str]:
    """Images of unseen classes belong to `test_unseen`, those of seen ones to the other splits."""
    labelled = cache.labels != UNKNOWN
    seen = cache.seen[np.where(labelled, cache.labels, 0)]
    misplaced = np.flatnonzero(labelled & (seen == (cache.splits == "test_unseen")))
    if len(misplaced):
        row = misplaced[0]
        kind = "seen" if seen[row] else "unseen"
        yield (
            f"row {row} ('{cache.paths[row]}') of the {kind} class "
            f"'{cache.classes[cache.labels[row]]}' is in split '{cache.splits[row]}'"
        )


def _candidate_problems(
    cache: CacheHeader | Cache, offsets: NDArray[np.int64], labels: NDArray[np.int32]
) -> Iterator[str]:
    count, classes = len(cache.paths), len(cache.classes)
    sizes = np.diff(offsets)
    ends_fit = offsets.shape == (count + 1,) and offsets[0] == 0 and offsets[-1] == len(labels)
    if not ends_fit or (sizes < 0).any():
        yield (
            f"candidate offsets should be {count + 1} ascending numbers from 0 to "
            f"{len(labels)}, one more than images"
        )
        return
    image = np.repeat(np.arange(count), sizes)
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        row = image[wrong[0]]
        yield (
            f"row {row} ('{cache.paths[row]}') has candidate {labels[wrong[0]]}, outside "
            f"0..{classes - 1}"
        )
        return
    if cache.seen.shape != (classes,) or cache.splits.shape != (count,):
        return
    seen_candidates = np.bincount(image, weights=cache.seen[labels], minlength=count)
    empty = np.flatnonzero((seen_candidates == 0) & (cache.splits == "trainval"))
    if len(empty):
        row = empty[0]
        yield (
            f"row {row} ('{cache.paths[row]}') has no seen class among its {sizes[row]} "
            "candidates: a training image needs at least one"
        )
        return
    yield from _training_candidate_problems(cache, image, labels)


def _training_candidate_problems(
    cache: CacheHeader | Cache, image: NDArray[np.int64], labels: NDArray[np.int32]
) -> Iterator[str]:
    """Candidates of training images are seen classes, each once.

    Args:
        image: (M,) row of each candidate.
        labels: (M,) the candidates.
    """
    training = cache.splits[image] == "trainval"
    unseen = np.flatnonzero(training & ~cache.seen[labels])
    if len(unseen):
        row, name = image[unseen[0]], cache.classes[labels[unseen[0]]]
        yield (
            f"row {row} ('{cache.paths[row]}') has the unseen class '{name}' among its "
            "candidates: those of training images are seen classes"
        )
    if ((labels[1:] > labels[:-1]) | (image[1:] != image[:-1])).all():
        return  # ascending in each row, so each is there once
    order = np.lexsort((labels, image))
    again = (np.diff(labels[order]) == 0) & (np.diff(image[order]) == 0)
    twice = order[1:][again & training[order[1:]]]
    if len(twice):
        row, name = image[twice[0]], cache.classes[labels[twice[0]]]
        yield f"row {row} ('{cache.paths[row]}') has '{name}' twice among its candidates"
