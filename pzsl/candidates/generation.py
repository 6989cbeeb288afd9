"""Draw candidate sets: `generate(kind, ...)`; one file per kind, one line per kind below."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pzsl import plugins
from pzsl.candidates.fixed_size import fixed_size
from pzsl.candidates.instance import instance, instance_published
from pzsl.candidates.noise_input import Images, Mask
from pzsl.candidates.noisy import noisy
from pzsl.candidates.ragged import CandidateSets
from pzsl.candidates.randomness import image_keys
from pzsl.candidates.uniform import uniform, uniform_added
from pzsl.candidates.uss import RATE as USS_RATE
from pzsl.candidates.uss import uss
from pzsl.errors import UsageError, UserError, nearest

_BLOCK = 1 << 18
"""Entries (images x seen labels) per block: a few megabytes."""


Similarities = Callable[[int, int], NDArray[np.floating]]
"""(start, stop) -> a model's probabilities of these images, (n, C) or (n, K)."""


class Kind(NamedTuple):
    """A kind of noise: its function, a line about it, and whether it needs similarities.

    `similar`: whether it needs the similarities of images and labels.
    """

    draw: Callable[[Images, float, float], Mask]
    about: str
    similar: bool = False


KINDS: dict[str, Kind] = {
    "uniform": Kind(uniform, "each wrong seen label joins with probability RATE"),
    "uniform:added": Kind(uniform_added, "uniform, and one wrong label where none has joined"),
    "noisy": Kind(noisy, "uniform, then with probability ETA the truth is swapped out"),
    "fixed-size": Kind(fixed_size, "RATE wrong seen labels, drawn without replacement"),
    "uss": Kind(uss, "uniform over all sets that hold the truth (RATE is 0.5)"),
    "instance": Kind(
        instance, "labels similar to the image join more often, RATE on average", True
    ),
    "instance:published": Kind(
        instance_published, "the same, clipped and not rescaled, as published: smaller sets", True
    ),
}
FROM_DATA = ("file", "annotated")
"""Kinds that are not drawn: their candidate sets are stored in the cache."""
NOISES = (*KINDS, *FROM_DATA)
"""All sources of candidate sets."""


def known_noises() -> list[str]:
    """Names of all sources of candidate sets, followed by the installed plugins."""
    return [*dict.fromkeys([*NOISES, *plugins.names("candidates")])]


def find_kind(name: str) -> Kind:
    """Find a kind of noise by name: one of `KINDS`, or a plugin (a function or a class).

    Raises:
        UsageError: unknown name; the message suggests the nearest, including plugins.
        PluginError: the plugin can't be loaded, or can't be called.
    """
    if name in KINDS:
        return KINDS[name]
    plugin = plugins.find("candidates", name)
    if plugin is None:
        raise UsageError(f"Unknown noise '{name}'.{nearest(name, known_noises())}")
    draw = plugin.target() if isinstance(plugin.target, type) else plugin.target
    if not callable(draw):
        raise plugins.PluginError(
            f"Plugin '{name}' is not a kind of noise: it should be a function of (images, rate, "
            "eta), or a class whose objects can be called with these."
        )
    about = (getattr(plugin.target, "__doc__", None) or "a plugin").strip().splitlines()[0]
    return Kind(draw, about, bool(getattr(draw, "similarities", False)))


def generate(
    kind: str,
    *,
    truth: NDArray[np.int64],
    ids: Sequence[str],
    seen: NDArray[np.bool_],
    rate: float,
    eta: float = 0.0,
    seed: int,
    similarities: NDArray[np.floating] | Similarities | None = None,
) -> CandidateSets:
    """Draw candidate sets over the seen classes, from (seed, rate, image id) alone.

    Adding, removing or reordering images doesn't change the sets of the others.

    Args:
        kind: a key of `KINDS`, or a plugin.
        truth: (N,) true class ids, all of seen classes.
        ids: (N,) unique image ids.
        seen: (C,) which classes are seen; K of them are.
        rate: probability of a wrong label; for `fixed-size` the number of wrong labels.
        eta: for `noisy`, the probability that the true label is replaced.
        seed: of the draws.
        similarities: for `instance`, (N, C) or (N, K) probabilities by a model, or a
            function of (start, stop) that returns those of some images, to save memory.

    Raises:
        UsageError: unknown kind (the message suggests the nearest), a rate or eta out of range.
        UserError: a true label is unknown or unseen, or shapes don't agree.
    """
    noise_kind = find_kind(kind)
    labels = np.flatnonzero(seen)
    _check_rate(kind, rate, eta, len(labels))
    _check_truth(truth, ids, seen)
    if noise_kind.similar and similarities is None:
        raise UsageError(f"Noise '{kind}' needs the similarities of images and labels.")
    if isinstance(similarities, np.ndarray):
        whole = _seen_columns(similarities, len(truth), seen)
        similarities = lambda start, stop: whole[start:stop]  # noqa: E731
    columns = np.searchsorted(labels, truth)
    keys = image_keys(ids, seed)
    step = max(1, _BLOCK // len(labels))

    def masks() -> Iterator[Mask]:
        for start in range(0, len(truth), step):
            block = slice(start, start + step)
            block_similarities = None
            if noise_kind.similar and similarities is not None:
                count = len(keys[block])
                block_similarities = _seen_columns(similarities(start, start + count), count, seen)
            mask = noise_kind.draw(
                Images(keys[block], columns[block], labels, block_similarities), rate, eta
            )
            yield (
                mask
                if kind in KINDS
                else _checked_mask(mask, (len(keys[block]), len(labels)), kind)
            )

    return CandidateSets.from_masks(masks(), labels)


def statistics(sets: CandidateSets, truth: NDArray[np.int64]) -> dict[str, Any]:
    """Statistics of candidate sets.

    Args:
        sets: N candidate sets.
        truth: (N,) true class ids, -1 if unknown.

    Returns:
        `mean_candidates`, `smallest` and `largest` set, and `truth_outside`: the percentage of sets
        without the true label, among those with a known one. None if there is nothing to count.
    """
    sizes, has_truth = sets.sizes(), truth >= 0
    outside = ~sets.contains(truth)[has_truth]
    return {
        "mean_candidates": float(sizes.mean()) if len(sizes) else None,
        "smallest": int(sizes.min()) if len(sizes) else None,
        "largest": int(sizes.max()) if len(sizes) else None,
        "truth_outside": float(100 * outside.mean()) if has_truth.any() else None,
    }


def _checked_mask(mask: Any, shape: tuple[int, int], kind: str) -> Mask:
    """Check the mask that a plugin drew: its type, its shape, and no empty set."""
    if not isinstance(mask, np.ndarray) or mask.shape != shape or mask.dtype != np.bool_:
        actual = f"{mask.dtype} {mask.shape}" if isinstance(mask, np.ndarray) else type(mask)
        raise plugins.PluginError(
            f"Plugin '{kind}' should draw a bool array {shape}, images by labels, but drew "
            f"{actual}."
        )
    empty = np.flatnonzero(~mask.any(axis=1))
    if len(empty):
        raise plugins.PluginError(
            f"Plugin '{kind}' drew an empty candidate set for {len(empty)} images: mark at least "
            "one label of each (images.mark_truth(mask) marks the true one)."
        )
    return mask


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
    if eta and kind in KINDS and kind != "noisy":
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
    similarities: NDArray[np.floating], count: int, seen: NDArray[np.bool_]
) -> NDArray[np.floating]:
    """The similarities (N, K) of the seen classes, checked."""
    shapes = ((count, len(seen)), (count, int(seen.sum())))
    if similarities.shape not in shapes:
        raise UserError(
            f"Candidates: similarities should be {shapes[0]} or {shapes[1]}, "
            f"but are {similarities.shape}."
        )
    invalid = np.flatnonzero(~(np.isfinite(similarities) & (similarities >= 0)).all(axis=1))
    if len(invalid):
        raise UserError(
            f"Candidates: row {invalid[0]} of the similarities is negative or not finite: "
            "give probabilities."
        )
    return similarities if similarities.shape == shapes[1] else similarities[:, seen]
