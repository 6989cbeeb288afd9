"""Candidate sets of a run: drawn from the true labels, or those that came with the data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pzsl.candidates import (
    FROM_DATA,
    CandidateSets,
    check_size,
    choose_labelled,
    choose_long_tail,
    find_kind,
    generate,
    give_labels,
    validate,
)
from pzsl.errors import UserError
from pzsl.progress import shell_word
from pzsl.store import Cache
from pzsl.training.config import RunConfig

_HOW_TO_GET_SETS = (
    "make some (pzsl annotate --cache {path}), or extract a data set that has some "
    "(pzsl extract --dataset table)"
)
BLOCK = 4096
"""Most images compared with the labels at a time."""
CELLS = 1 << 25
"""Most image-label pairs compared at a time: 128 MiB of similarities."""


def training_rows(cache: Cache, imbalance: float = 1.0, seed: int = 0) -> NDArray[np.int64]:
    """Rows of the split `trainval`; with `imbalance`, those that stay in the long tail.

    Raises:
        UserError: there are none, or a long tail is requested but a true label is unknown.
    """
    rows = np.flatnonzero(cache.splits == "trainval")
    if not len(rows):
        raise UserError(f"{cache.path}: no image is in the split trainval: nothing to train on.")
    if imbalance == 1:
        return rows
    truth = cache.labels[rows]
    unknown = rows[truth < 0]
    if len(unknown):
        raise UserError(
            f"{cache.path}: the true label of {len(unknown)} training images is unknown "
            f"('{cache.paths[unknown[0]]}'), which --imbalance {imbalance:g} needs: leave it out."
        )
    return rows[choose_long_tail(truth, [cache.paths[row] for row in rows], imbalance, seed)]


def check_grid(cache: Cache, configs: Sequence[RunConfig]) -> None:
    """Check a sweep before its first run.

    Raises:
        UserError, UsageError: those of `candidate_sets` and `label_vectors`.
    """
    settings = {(c.noise, c.rate, c.eta, c.few_shot > 0, c.imbalance): c for c in configs}
    for config in settings.values():
        rows = training_rows(cache, config.imbalance, config.seed)
        _check_truth(cache, config, rows)
        check_size(config.noise, config.rate or 0.0, len(rows), int(cache.seen.sum()))
        checked_rows = rows if config.noise in FROM_DATA else rows[:1]
        labelled_by_hand(cache, config, checked_rows, candidate_sets(cache, config, checked_rows))
    if not cache.templates and any(config.labels != "attributes" for config in configs):
        cache.label_embeddings()  # says what to do instead
    if cache.attributes is None and any(config.labels != "text" for config in configs):
        raise UserError(f"{cache.path} holds no attributes: use --labels text.")


def candidate_sets(cache: Cache, config: RunConfig, rows: NDArray[np.int64]) -> CandidateSets:
    """Candidate sets of the training images: drawn from true labels, or read from the cache."""
    if config.noise in FROM_DATA:
        if labels_are_candidates(cache, config.noise):
            return _single_labels(cache, rows)
        if cache.candidate_offsets is None or cache.candidate_labels is None:
            remedy = _HOW_TO_GET_SETS.format(path=shell_word(cache.path))
            if (cache.labels[rows] >= 0).all():
                remedy += ", or use --noise uniform"
            raise UserError(f"{cache.path} holds no candidate sets: {remedy}.")
        _check_origin(cache, config.noise)
        stored_sets = (cache.candidate_offsets, cache.candidate_labels, cache.seen)
        return validate(*stored_sets, where=str(cache.path), rows=rows)
    _check_truth(cache, config, rows)
    probabilities = FrozenProbabilities(cache, rows) if find_kind(config.noise).similar else None
    return generate(
        config.noise,
        truth=cache.labels[rows],
        ids=[cache.paths[row] for row in rows],
        seen=cache.seen,
        rate=config.rate or 0.0,
        eta=config.eta,
        seed=config.seed,
        similarities=probabilities,
    )


def labels_are_candidates(cache: Cache, noise: str) -> bool:
    """Whether each image's single label is its only candidate: noise `file` without stored sets.

    The labels may then be wrong, so that no true label is known.
    """
    return noise == "file" and cache.candidate_offsets is None


def labels_are_as_given(
    cache: Cache, noise: str, labels: NDArray[np.int64], sets: CandidateSets
) -> bool:
    """Whether the labels are what images came with, right or wrong, and so are no true ones.

    With noise `file` they are if each known one is its image's only candidate, as where some
    images have a label and the others every seen class.

    Args:
        cache, noise: of the run.
        labels: (N,) of the training images, -1 where there is none.
        sets: their candidates.
    """
    known = np.flatnonzero(labels >= 0)
    is_single = (np.diff(sets.offsets)[known] == 1).all()
    is_candidate = (sets.labels[sets.offsets[known]] == labels[known]).all()
    return labels_are_candidates(cache, noise) or bool(
        noise == "file" and is_single and is_candidate
    )


def _single_labels(cache: Cache, rows: NDArray[np.int64]) -> CandidateSets:
    """Each training image's label as its only candidate.

    Raises:
        UserError: an image has no label.
    """
    unknown = rows[cache.labels[rows] < 0]
    if len(unknown):
        remedy = _HOW_TO_GET_SETS.format(path=shell_word(cache.path))
        raise UserError(
            f"{cache.path} holds no candidate sets, and {len(unknown)} training images have no "
            f"label either ('{cache.paths[unknown[0]]}'): {remedy}."
        )
    offsets = np.arange(len(rows) + 1, dtype=np.int64)
    return CandidateSets(offsets, cache.labels[rows].astype(np.int32))


def labelled_by_hand(
    cache: Cache, config: RunConfig, rows: NDArray[np.int64], sets: CandidateSets
) -> tuple[CandidateSets, NDArray[np.bool_] | None]:
    """Candidate sets with `few_shot` true labels per class, and which images have one.

    Raises:
        UserError: no true label of a training image is known.
    """
    if not config.few_shot:
        return sets, None
    if labels_are_candidates(cache, config.noise):
        raise UserError(
            f"{cache.path}: with --noise file its labels may be wrong, so --few-shot "
            f"{config.few_shot} has no true one to give: leave the option out."
        )
    truth = np.where(cache.seen[cache.labels[rows]], cache.labels[rows], -1)
    if not (truth >= 0).any():
        raise UserError(
            f"{cache.path}: no training image has a true label that --few-shot {config.few_shot} "
            "could give: label some in the data set's table, or leave the option out."
        )
    ids = [cache.paths[row] for row in rows]
    labelled = choose_labelled(truth, ids, config.few_shot, config.seed)
    return give_labels(sets, truth, labelled), labelled


class FrozenProbabilities:
    """Frozen CLIP's softmax over the seen classes, in blocks; the last block is cached.

    Raises:
        UserError: the cache holds no text embeddings to compare with.
    """

    def __init__(self, cache: Cache, rows: NDArray[np.int64]) -> None:
        _check_templates(cache)
        self.cache, self.rows = cache, rows
        self.text = cache.label_embeddings()[cache.seen].T
        self.size = max(1, min(BLOCK, CELLS // self.text.shape[1]))
        self._last_block: tuple[int, NDArray[np.float32]] | None = None

    def __call__(self, start: int, stop: int) -> NDArray[np.float32]:
        """Probabilities of the images `start` to `stop - 1`, (n, K)."""
        first_block, last_block = start // self.size, (stop - 1) // self.size
        parts = [
            self._block(number)[max(start - number * self.size, 0) : stop - number * self.size]
            for number in range(first_block, last_block + 1)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _block(self, number: int) -> NDArray[np.float32]:
        if self._last_block is None or self._last_block[0] != number:
            rows = self.rows[number * self.size : (number + 1) * self.size]
            logits = self.cache.logit_scale * self.cache.images[rows] @ self.text
            exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
            probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
            self._last_block = number, probabilities.astype(np.float32, copy=False)
        return self._last_block[1]


def _check_templates(cache: Cache) -> None:
    if not cache.templates:
        raise UserError(
            f"{cache.path} holds no text embeddings, which instance-dependent sets are drawn "
            "from: use --noise uniform."
        )


def _check_origin(cache: Cache, noise: str) -> None:
    """Refuse sets of `pzsl annotate` under `file`, and sets of the data under `annotated`."""
    rule = cache.annotation.get("rule")
    if rule and noise != "annotated":
        raise UserError(
            f"{cache.path}: its candidate sets were made by 'pzsl annotate' (rule {rule}): use "
            "--noise annotated."
        )
    if not rule and noise != "file":
        raise UserError(
            f"{cache.path}: its candidate sets came with the data: use --noise file, or replace "
            f"them (pzsl annotate --cache {shell_word(cache.path)} --overwrite)."
        )


def _check_truth(cache: Cache, config: RunConfig, rows: NDArray[np.int64]) -> None:
    unknown = rows[cache.labels[rows] < 0]
    if len(unknown) and config.noise not in FROM_DATA:
        remedy = "use those of the cache (--noise file)."
        if cache.annotation.get("rule"):
            remedy = "use those that CLIP made (--noise annotated)."
        elif cache.candidate_offsets is None:
            remedy = f"{_HOW_TO_GET_SETS.format(path=shell_word(cache.path))}."
        raise UserError(
            f"{cache.path}: the true label of {len(unknown)} training images is unknown "
            f"('{cache.paths[unknown[0]]}'), so {config.noise} sets can't be drawn: {remedy}"
        )
