"""Draw candidate sets: `generate(kind, ...)`; one file per kind, one line per kind below."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pzsl.candidates.fixed_size import fixed_size
from pzsl.candidates.images import Images, Mask
from pzsl.candidates.instance import instance
from pzsl.candidates.noisy import noisy
from pzsl.candidates.ragged import CandidateSets
from pzsl.candidates.randomness import image_keys
from pzsl.candidates.uniform import uniform
from pzsl.candidates.uss import RATE as USS_RATE
from pzsl.candidates.uss import uss
from pzsl.errors import UsageError, UserError, nearest

_BLOCK = 1 << 18
"""Entries (images x seen labels) that are drawn at a time: a few megabytes."""


class Kind(NamedTuple):
    """One kind of ambiguity: its function and one line of what it does."""

    draw: Callable[[Images, float, float], Mask]
    about: str


KINDS: dict[str, Kind] = {
    "uniform": Kind(uniform, "each wrong seen label joins with probability RATE"),
    "noisy": Kind(noisy, "uniform, then with probability ETA the truth is swapped out"),
    "fixed-size": Kind(fixed_size, "RATE wrong seen labels, drawn without replacement"),
    "uss": Kind(uss, "uniform over all sets that hold the truth (RATE is 0.5)"),
    "instance": Kind(instance, "labels similar to the image join more often, RATE on average"),
}
FROM_DATA = ("file", "annotated")
"""Kinds that are not drawn: the candidate sets lie in the cache."""
NOISES = (*KINDS, *FROM_DATA)
"""All that candidate sets can come from."""


def generate(
    kind: str,
    *,
    truth: NDArray[np.int64],
    ids: Sequence[str],
    seen: NDArray[np.bool_],
    rate: float,
    eta: float = 0.0,
    seed: int,
    similarities: NDArray[np.floating] | None = None,
) -> CandidateSets:
    """Candidate sets over the seen classes, from (seed, rate, image id) alone.

    Adding, removing or reordering images changes no set of the others.

    Args:
        kind: a key of `KINDS`.
        truth: (N,) true class ids, all of seen classes.
        ids: (N,) image ids, no two alike.
        seen: (C,) which classes are seen; K of them are.
        rate: probability of a wrong label; for `fixed-size` the number of wrong labels.
        eta: for `noisy`, the probability that the truth is swapped out.
        seed: of the draws.
        similarities: for `instance`, (N, C) or (N, K) probabilities by a model.

    Raises:
        UsageError: unknown kind (the nearest is offered), a rate or eta out of range.
        UserError: a true label is unknown or unseen, or shapes don't agree.
    """
    if kind not in KINDS:
        raise UsageError(f"Unknown noise '{kind}'.{nearest(kind, list(NOISES))}")
    labels = np.flatnonzero(seen)
    _check_rate(kind, rate, eta, len(labels))
    _check_truth(truth, ids, seen)
    if kind == "instance":
        similarities = _seen_columns(similarities, len(truth), seen)
    columns = np.searchsorted(labels, truth)
    keys = image_keys(ids, seed)
    step = max(1, _BLOCK // len(labels))

    def masks() -> Iterator[Mask]:
        for start in range(0, len(truth), step):
            block = slice(start, start + step)
            near = None if similarities is None else similarities[block]
            yield KINDS[kind].draw(Images(keys[block], columns[block], labels, near), rate, eta)

    return CandidateSets.from_masks(masks(), labels)


def statistics(sets: CandidateSets, truth: NDArray[np.int64]) -> dict[str, Any]:
    """How ambiguous candidate sets are.

    Args:
        sets: N candidate sets.
        truth: (N,) true class ids, -1 where unknown.

    Returns:
        `mean_candidates`, `smallest` and `largest` set, `truth_outside`: the percentage of sets
        without the truth, among those where it is known. None where there is nothing to count.
    """
    sizes, known = sets.sizes(), truth >= 0
    outside = ~sets.contains(truth)[known]
    return {
        "mean_candidates": float(sizes.mean()) if len(sizes) else None,
        "smallest": int(sizes.min()) if len(sizes) else None,
        "largest": int(sizes.max()) if len(sizes) else None,
        "truth_outside": float(100 * outside.mean()) if known.any() else None,
    }


def _check_rate(kind: str, rate: float, eta: float, classes: int) -> None:
    if kind == "fixed-size":
        if not (0 <= rate <= classes - 1 and float(rate).is_integer()):
            raise UsageError(
                f"Rate {rate:g} of noise 'fixed-size' should be a whole number of wrong labels "
                f"from 0 to {classes - 1} (there are {classes} seen classes)."
            )
    elif not 0 <= rate <= 1:
        raise UsageError(f"Rate {rate:g} of noise '{kind}' should lie in 0..1.")
    elif kind == "uss" and rate != USS_RATE:
        raise UsageError(f"Noise 'uss' has the fixed rate {USS_RATE}, not {rate:g}: use that.")
    if not 0 <= eta < 1:
        raise UsageError(f"Eta {eta:g} should be at least 0 and below 1.")
    if eta and kind != "noisy":
        raise UsageError(f"Noise '{kind}' keeps the truth inside: for eta {eta:g} use 'noisy'.")


def _check_truth(truth: NDArray[np.int64], ids: Sequence[str], seen: NDArray[np.bool_]) -> None:
    if truth.shape != (len(ids),):
        raise UserError(
            f"Candidates: truth should be ({len(ids)},), one for each image id, "
            f"but is {truth.shape}."
        )
    if not seen.any():
        raise UserError("Candidates: no class is seen: candidate sets need at least one.")
    wrong = np.flatnonzero((truth < 0) | (truth >= len(seen)))
    if len(wrong):
        raise UserError(
            f"Candidates: the true label of image '{ids[wrong[0]]}' is unknown "
            f"({truth[wrong[0]]}; {len(wrong)} such images): synthetic noise needs it, "
            "train on the real candidate sets instead (--noise file)."
        )
    unseen = np.flatnonzero(~seen[truth])
    if len(unseen):
        raise UserError(
            f"Candidates: training image '{ids[unseen[0]]}' is of class {truth[unseen[0]]}, "
            "which is not a seen class: correct the split."
        )


def _seen_columns(
    similarities: NDArray[np.floating] | None, count: int, seen: NDArray[np.bool_]
) -> NDArray[np.floating]:
    """The similarities (N, K) of the seen classes."""
    if similarities is None:
        raise UsageError("Noise 'instance' needs the similarities of images and labels.")
    shapes = ((count, len(seen)), (count, int(seen.sum())))
    if similarities.shape not in shapes:
        raise UserError(
            f"Candidates: similarities should be {shapes[0]} or {shapes[1]}, "
            f"but are {similarities.shape}."
        )
    bad = np.flatnonzero(~(np.isfinite(similarities) & (similarities >= 0)).all(axis=1))
    if len(bad):
        raise UserError(
            f"Candidates: row {bad[0]} of the similarities is negative or not finite: "
            "give probabilities."
        )
    return similarities if similarities.shape == shapes[1] else similarities[:, seen]
