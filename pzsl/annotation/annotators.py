"""Annotators: caches whose text embeddings classify their images, each with a weight."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pzsl.candidates import CandidateSets, annotate_images
from pzsl.errors import UsageError, UserError, nearest
from pzsl.files import read_lines
from pzsl.progress import shell_word
from pzsl.store import Cache, load_cache


@dataclass(frozen=True, eq=False)
class Annotator:
    """An encoder that proposes candidates for the training images.

    Attributes:
        cache: its embeddings.
        weight: of its vote.
        columns: (t,) which of the cache's templates it uses.
    """

    cache: Cache
    weight: float
    columns: tuple[int, ...]

    def sets(
        self, images: tuple[str, ...], names: Sequence[str], rule: str, k: int
    ) -> CandidateSets:
        """Candidate sets of some images over some classes, numbered as in `names`.

        Args:
            images: (n,) image ids; the cache may hold more, in any order.
            names: (K,) class names; the cache may hold more, in any order.
            rule, k: see `annotate_images`.

        Raises:
            UserError: an image or a class is not in the cache.
        """
        cache = self.cache
        rows = _rows_of_names(images, cache.paths, f"{cache.path}: image")
        classes = _rows_of_names(names, cache.classes, f"{cache.path}: class")
        text = cache.text[classes][:, self.columns]
        columns = np.arange(len(names))
        return annotate_images(cache.images, rows, text, columns, rule, k, cache.logit_scale)

    def record(self) -> dict[str, Any]:
        """Everything that its candidates depend on, as the annotated cache stores it."""
        about = self.cache.provenance
        return {
            "model": about["model"],
            "pretrained": about["pretrained"],
            "weights_hash": about["weights_hash"],
            "templates": [self.cache.templates[column] for column in self.columns],
            "weight": self.weight,
        }


def open_annotator(path: Path, weight: float, templates: str | None = None) -> Annotator:
    """Open a cache as an annotator.

    Args:
        path: of the cache.
        weight: above 0.
        templates: which of its templates to use, see `choose_templates`; None for all.

    Raises:
        UsageError: the weight isn't above 0, or the cache lacks one of the templates.
        UserError: the cache is incomplete, or holds no text embeddings.
    """
    if not (math.isfinite(weight) and weight > 0):
        raise UsageError(f"The weight of {path} should be a number above 0, not {weight:g}.")
    cache = load_cache(path)
    if not cache.templates:
        raise UserError(
            f"{path} holds no text embeddings, so its encoder can't answer: extract it with "
            "templates, or train on attributes with --noise uniform."
        )
    return Annotator(cache, weight, choose_templates(cache, templates))


def label_doubt(cache: Cache, other: Cache) -> str | None:
    """A warning if training images have another label in another cache; None if none has.

    Answers are joined by the images' names, and other images can have the same names, such as the
    numbers that imported features get.
    """
    label_of = {
        path: other.classes[label]
        for path, label in zip(other.paths, other.labels.tolist(), strict=True)
        if label >= 0
    }
    training = np.flatnonzero((cache.splits == "trainval") & (cache.labels >= 0)).tolist()
    both = [(cache.paths[row], cache.classes[cache.labels[row]]) for row in training]
    unlike = [(path, name) for path, name in both if label_of.get(path, name) != name]
    if not unlike:
        return None
    path, name = unlike[0]
    return (
        f"{other.path}: {len(unlike):,} of {len(both):,} training images have another label than "
        f"in {cache.path}, such as '{path}' ('{name}', here '{label_of[path]}'): are they the same "
        "images?"
    )


def choose_templates(cache: Cache, selection: str | None) -> tuple[int, ...]:
    """The columns of a cache's text embeddings that belong to some templates, ascending.

    Args:
        cache: with T templates.
        selection: a file with one template per line, or numbers from 0 to T - 1 such as `0,3-5`;
            None for all.

    Raises:
        UsageError: a template isn't in the cache. UserError: the file can't be read.
    """
    templates = cache.templates
    if selection is None:
        return tuple(range(len(templates)))
    if Path(selection).is_file():
        return _from_file(cache, Path(selection))
    chosen: set[int] = set()
    for word in selection.split(","):
        first, dash, last = word.strip().partition("-")
        ends = (first, last) if dash else (first, first)
        if not all(end.strip().isdecimal() for end in ends):
            raise UsageError(
                f"--templates {selection}: there is no such file, and '{word}' is not a number or "
                f"range: give a file, or numbers of the {len(templates)} templates, such as 0,3-5."
            )
        low, high = int(ends[0]), int(ends[1])
        if not low <= high < len(templates):
            raise UsageError(
                f"--templates {word}: {cache.path} holds {len(templates)} templates, "
                f"0 to {len(templates) - 1}."
            )
        chosen |= set(range(low, high + 1))
    return tuple(sorted(chosen))


def _from_file(cache: Cache, file: Path) -> tuple[int, ...]:
    lines = read_lines(file, "Templates")
    chosen = set()
    for line in filter(None, map(str.strip, lines)):
        if line not in cache.templates:
            raise UsageError(
                f"{cache.path} has no text embeddings of the template '{line}' ({file}): extract "
                f"with --templates {shell_word(file)}, or leave it out."
                f"{nearest(line, list(cache.templates))}"
            )
        chosen.add(cache.templates.index(line))
    if not chosen:
        raise UsageError(f"Templates '{file}' hold no line: give at least one.")
    return tuple(sorted(chosen))


def _rows_of_names(names: Sequence[str], available: Sequence[str], label: str) -> NDArray[np.int64]:
    """(n,) row of each name among those available."""
    row_of = {name: row for row, name in enumerate(available)}
    missing = [name for name in names if name not in row_of]
    if missing:
        raise UserError(
            f"{label} '{missing[0]}' isn't there ({len(missing)} of {len(names)} are missing): "
            "annotators need the same images and class names."
        )
    return np.array([row_of[name] for name in names], dtype=np.int64)
