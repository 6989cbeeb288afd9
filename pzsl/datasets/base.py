"""The data set: image ids, labels, classes and splits; validated here, trusted everywhere else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pzsl.datasets.names import first_alike
from pzsl.errors import UserError
from pzsl.files import digest, unfit_text
from pzsl.progress import printable

SPLITS = ("trainval", "test_seen", "test_unseen")
UNKNOWN = -1
"""The label of an image whose class is not known (it has candidates only)."""


@dataclass(frozen=True)
class Candidates:
    """Candidate labels that came with the images, ragged.

    Attributes:
        offsets: (N + 1,) int64; image i has `labels[offsets[i]:offsets[i + 1]]`.
        labels: (M,) int32 rows of the class list.
    """

    offsets: NDArray[np.int64]
    labels: NDArray[np.int32]


@dataclass(frozen=True)
class Dataset:
    """Images with labels, classes and a generalised zero-shot split.

    Attributes:
        name: of the data set; also selects its default prompt templates.
        classes: (C,) unique class names, as used in prompts.
        seen: (C,) bool, False for unseen classes: those without a training image, except for seen
            classes of a table's class list that occur in no row.
        paths: (N,) image ids: paths relative to the root, or other names that `reader` understands.
        labels: (N,) int64 rows of `classes`, `UNKNOWN` (-1) if the true class is unknown.
        splits: (N,) one of `SPLITS`.
        reader: opens the image of a path; picklable, so that worker processes can use it.
        attributes: (C, A) float32 class attributes, if any.
        candidates: candidate sets that came with the images, if any.
        origin: where the data came from: root, split file and its hash; stored in the cache.
    """

    name: str
    classes: tuple[str, ...]
    seen: NDArray[np.bool_]
    paths: tuple[str, ...]
    labels: NDArray[np.int64]
    splits: NDArray[np.str_]
    reader: Callable[[str], Image.Image]
    attributes: NDArray[np.float32] | None = None
    candidates: Candidates | None = None
    origin: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        _check_text(self)
        _check_classes(self)
        _check_images(self)

    @property
    def split_hash(self) -> str:
        """Hash of all images with their splits and labels; results with equal hashes compare."""
        rows = zip(self.paths, self.splits.tolist(), self.labels.tolist(), strict=True)
        lines = sorted(f"{path}\t{split}\t{label}" for path, split, label in rows)
        marks = (f"{name}\t{seen}" for name, seen in zip(self.classes, self.seen, strict=True))
        return digest("\n".join(lines), "\n".join(marks))

    def subset(self, rows: NDArray[np.int64]) -> Dataset:
        """The data set with only these rows, in this order; all classes are kept."""
        from dataclasses import replace

        candidates = self.candidates
        if candidates is not None:
            parts = [
                candidates.labels[candidates.offsets[i] : candidates.offsets[i + 1]] for i in rows
            ]
            offsets = np.cumsum([0, *map(len, parts)], dtype=np.int64)
            labels = np.concatenate([np.empty(0, np.int32), *parts])
            candidates = Candidates(offsets, labels.astype(np.int32))
        return replace(
            self,
            paths=tuple(self.paths[i] for i in rows),
            labels=self.labels[rows],
            splits=self.splits[rows],
            candidates=candidates,
        )


def _check_text(data: Dataset) -> None:
    for kind, names in (("class name", data.classes), ("image", data.paths)):
        unfit = unfit_text(names)
        if unfit:
            row, fault = unfit
            name = printable(repr(names[row]))
            raise UserError(f"{data.name}: the {kind} {name} holds {fault}: rename it.")


def _check_classes(data: Dataset) -> None:
    twice = [name for name, count in Counter(data.classes).items() if count > 1]
    if twice:
        raise UserError(
            f"{data.name}: class name '{twice[0]}' occurs {data.classes.count(twice[0])} times "
            f"({len(twice)} names are not unique): rename one, prompts can't tell them apart."
        )
    alike = first_alike(data.classes)
    if alike:
        raise UserError(
            f"{data.name}: the classes '{alike[0]}' and '{alike[1]}' read alike: rename one, "
            "prompts can't tell them apart."
        )
    if any(not name.strip() for name in data.classes):
        raise UserError(f"{data.name}: a class name is empty: give each class a name.")
    if len(data.classes) < 2:
        raise UserError(f"{data.name}: {len(data.classes)} class found; at least 2 are needed.")
    if data.seen.shape != (len(data.classes),) or data.seen.dtype != np.bool_:
        raise UserError(
            f"{data.name}: 'seen' should be ({len(data.classes)},) bool, "
            f"but is {data.seen.shape} {data.seen.dtype}."
        )
    if not data.seen.any():
        raise UserError(f"{data.name}: no class is seen: at least one needs training images.")


def _check_images(data: Dataset) -> None:
    count = len(data.paths)
    if not count:
        raise UserError(f"{data.name}: no image found.")
    for field, values in (("labels", data.labels), ("splits", data.splits)):
        if values.shape != (count,):
            raise UserError(
                f"{data.name}: '{field}' should be ({count},) for {count} images, "
                f"but is {values.shape}."
            )
    twice = [path for path, times in Counter(data.paths).items() if times > 1]
    if twice:
        raise UserError(f"{data.name}: image '{twice[0]}' is listed more than once.")
    wrong = np.flatnonzero((data.labels < UNKNOWN) | (data.labels >= len(data.classes)))
    if len(wrong):
        raise UserError(
            f"{data.name}: image '{data.paths[wrong[0]]}' has label {data.labels[wrong[0]]}, "
            f"outside 0..{len(data.classes) - 1}."
        )
    unknown = np.flatnonzero(~np.isin(data.splits, SPLITS))
    if len(unknown):
        raise UserError(
            f"{data.name}: image '{data.paths[unknown[0]]}' is in split "
            f"'{data.splits[unknown[0]]}'; known: {', '.join(SPLITS)}."
        )
    labelled = data.labels != UNKNOWN
    seen = data.seen[np.where(labelled, data.labels, 0)]
    astray = np.flatnonzero(labelled & (seen == (data.splits == "test_unseen")))
    if len(astray):
        row = astray[0]
        kind = "a seen" if seen[row] else "an unseen"
        raise UserError(
            f"{data.name}: image '{data.paths[row]}' of {kind} class "
            f"'{data.classes[data.labels[row]]}' is in split '{data.splits[row]}'."
        )
