"""Candidate sets from a model's predictions: the seen labels that an encoder finds likely."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pzsl.candidates.noise_input import Mask
from pzsl.candidates.ragged import CandidateSets
from pzsl.errors import UsageError, nearest
from pzsl.progress import progress

Matrix = NDArray[np.float32]

BLOCK = 1 << 22
"""Bytes of scores (images x seen labels) per block, which fit into the CPU's cache."""
SHARE = 0.5
"""`ratio` keeps the labels with at least this share of the largest probability."""


class Rule(NamedTuple):
    """A rule that turns scores into candidates: its function, its default k, a line about it."""

    choose: Callable[[Matrix, Matrix, int, float], Mask]
    k: int | None
    about: str


def union(images: Matrix, text: Matrix, k: int, scale: float) -> Mask:
    """The likeliest label under each template (Co-Reg, arXiv 2406.18550).

    Args:
        images: (n, D) unit image embeddings.
        text: (T, K, D) unit text embeddings of the K seen classes under each template.
        k, scale: not used.

    Returns:
        (n, K) mask; 1 to T candidates each.
    """
    mask = np.zeros((len(images), text.shape[1]), dtype=np.bool_)
    scores = np.empty(mask.shape, np.float32)
    rows = np.arange(len(images))
    for template in text:
        np.matmul(images, template.T, out=scores)
        mask[rows, scores.argmax(axis=1)] = True
    return mask


def topk(images: Matrix, text: Matrix, k: int, scale: float) -> Mask:
    """The k likeliest labels, by label embeddings (1, K, D); arguments as for `union`."""
    scores = images @ text[0].T
    mask = np.zeros(scores.shape, dtype=np.bool_)
    np.put_along_axis(mask, _largest(scores, k), True, axis=1)
    return mask


def ratio(images: Matrix, text: Matrix, k: int, scale: float) -> Mask:
    """The labels among the k likeliest with p >= 0.5 max p; p is the softmax over seen classes.

    Args:
        images, text: as for `topk`.
        k: most labels per image.
        scale: s, the logit scale of the softmax.

    Returns:
        (n, K) mask. Source: Co-Reg, arXiv 2406.18550 (k = 5).
    """
    scores = images @ text[0].T
    columns = _largest(scores, k)
    values = np.take_along_axis(scores, columns, axis=1)
    is_likely = scale * (values - values.max(axis=1, keepdims=True)) >= math.log(SHARE)
    mask = np.zeros(scores.shape, dtype=np.bool_)
    np.put_along_axis(mask, columns, is_likely, axis=1)
    return mask


def _largest(scores: Matrix, k: int) -> NDArray[np.int64]:
    """(n, k) columns of the k largest scores of each row, in no order."""
    start = scores.shape[1] - k
    return np.argpartition(scores, start, axis=1)[:, start:]


RULES: dict[str, Rule] = {
    "union": Rule(union, None, "the likeliest label under each template"),
    "topk": Rule(topk, 3, "the K likeliest labels under the mean of the templates"),
    "ratio": Rule(ratio, 5, "of the K likeliest, those at least half as likely as the first"),
}


def check_rule(rule: str, k: int | None, seen: int) -> int:
    """The k of a rule, for `seen` seen classes; 0 for a rule without k.

    Raises:
        UsageError: unknown rule (the message suggests the nearest), or k out of range.
    """
    if rule not in RULES:
        raise UsageError(f"Unknown rule '{rule}'.{nearest(rule, list(RULES))}")
    usual = RULES[rule].k
    if usual is None:
        if k is not None:
            raise UsageError(f"--k {k} means nothing to the rule '{rule}': leave it out.")
        return 0
    if k is not None and not 1 <= k <= seen:
        raise UsageError(f"--k {k} should lie in 1..{seen}, the number of seen classes.")
    return min(usual, seen) if k is None else k


def annotate_images(
    images: Matrix,
    rows: NDArray[np.int64],
    text: Matrix,
    classes: NDArray[np.int64],
    rule: str,
    k: int,
    scale: float,
) -> CandidateSets:
    """Candidate sets of images from an encoder's predictions, computed in blocks.

    Memory grows only with the number of candidates: neither N x K nor N x T scores are stored.

    Args:
        images: (N, D) unit image embeddings; may be a map into a file.
        rows: (n,) the images to annotate.
        text: (K, T, D) unit text embeddings of the seen classes under each template.
        classes: (K,) their class ids, ascending.
        rule: a key of `RULES`. k: from `check_rule`.
        scale: CLIP's logit scale s.

    Returns:
        n candidate sets; none is empty.
    """
    by_template = np.ascontiguousarray(text.transpose(1, 0, 2))
    if rule != "union":
        mean = by_template.mean(axis=0, keepdims=True)
        by_template = mean / np.linalg.norm(mean, axis=-1, keepdims=True)
    step = max(1, BLOCK // (4 * len(classes)))

    def masks() -> Iterator[Mask]:
        with progress(len(rows), "images", label="annotate") as bar:
            for start in range(0, len(rows), step):
                block = images[rows[start : start + step]]
                yield RULES[rule].choose(block, by_template, k, scale)
                bar.update(len(block))

    return CandidateSets.from_masks(masks(), classes)
