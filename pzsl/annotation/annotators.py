"""Who annotates: a cache whose texts answer for its images, with a weight."""

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
from pzsl.files import read_text
from pzsl.store import Cache, load_cache


@dataclass(frozen=True, eq=False)
class Annotator:
    """An encoder's view of the training images.

    Attributes:
        cache: its embeddings.
        weight: of its word among others.
        columns: (t,) which of the cache's templates are asked.
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
        rows = _places(images, cache.paths, f"{cache.path}: image")
        classes = _places(names, cache.classes, f"{cache.path}: class")
        text = cache.text[classes][:, self.columns]
        columns = np.arange(len(names))
        return annotate_images(cache.images, rows, text, columns, rule, k, cache.logit_scale)

    def record(self) -> dict[str, Any]:
        """What decides its answers, for the annotated cache."""
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
        templates: which of its templates, see `choose_templates`; None for all.

    Raises:
        UsageError: a weight that isn't above 0, or templates that the cache doesn't have.
        UserError: the cache isn't whole, or holds no text embeddings.
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


def choose_templates(cache: Cache, wanted: str | None) -> tuple[int, ...]:
    """Columns of a cache's text embeddings, ascending.

    Args:
        cache: with T templates.
        wanted: a file with one template a line, or numbers from 0 to T - 1 such as `0,3-5`; None
            for all.

    Raises:
        UsageError: one of them isn't in the cache.
    """
    known = cache.templates
    if wanted is None:
        return tuple(range(len(known)))
    if Path(wanted).is_file():
        return _from_file(cache, Path(wanted))
    chosen: set[int] = set()
    for word in wanted.split(","):
        first, dash, last = word.strip().partition("-")
        ends = (first, last) if dash else (first, first)
        if not all(end.strip().isdecimal() for end in ends):
            raise UsageError(
                f"--templates {wanted}: there is no such file, and '{word}' is no number or range: "
                f"give a file, or numbers of the {len(known)} templates, such as 0,3-5."
            )
        low, high = int(ends[0]), int(ends[1])
        if not low <= high < len(known):
            raise UsageError(
                f"--templates {word}: {cache.path} holds {len(known)} templates, "
                f"0 to {len(known) - 1}."
            )
        chosen |= set(range(low, high + 1))
    return tuple(sorted(chosen))


def _from_file(cache: Cache, file: Path) -> tuple[int, ...]:
    try:
        lines = read_text(file, "utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise UsageError(f"Templates '{file}' can't be read: {reason}.") from None
    chosen = set()
    for line in filter(None, map(str.strip, lines)):
        if line not in cache.templates:
            raise UsageError(
                f"{cache.path} has no text embeddings of the template '{line}' ({file}): extract "
                f"with --templates {file}, or leave it out."
                f"{nearest(line, list(cache.templates))}"
            )
        chosen.add(cache.templates.index(line))
    if not chosen:
        raise UsageError(f"Templates '{file}' hold no line: give at least one.")
    return tuple(sorted(chosen))


def _places(wanted: Sequence[str], there: Sequence[str], what: str) -> NDArray[np.int64]:
    """(n,) where each of the wanted names stands."""
    place = {name: row for row, name in enumerate(there)}
    missing = [name for name in wanted if name not in place]
    if missing:
        raise UserError(
            f"{what} '{missing[0]}' isn't there ({len(missing)} of {len(wanted)} are missing): "
            "annotators need the same images and class names."
        )
    return np.array([place[name] for name in wanted], dtype=np.int64)
