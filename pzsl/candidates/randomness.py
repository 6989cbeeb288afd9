"""Random numbers that depend only on the (image, label) pair, not on other draws.

A counter-based generator (ours, after splitmix64: Steele, Lea and Flood, 'Fast splittable
pseudorandom number generators', 2014): the number of a pair is a hash of the seed, the image id
and the class id. Adding, removing or reordering images changes no other number, nor does adding
classes behind the others.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]

_GOLDEN = 0x9E3779B97F4A7C15
_WORD = 0xFFFFFFFFFFFFFFFF
_CACHED = 1 << 15
"""Numbers hashed at a time by `below`: a quarter of a megabyte, which stays in a core's cache."""


class Stream(IntEnum):
    """The purpose of a random number; different purposes never share numbers."""

    MEMBERSHIP = 1
    SWAP = 2
    REPLACEMENT = 3
    FEW_SHOT = 4
    ADDED = 5
    TAIL_CLASS = 6
    TAIL_IMAGE = 7


def image_keys(ids: Sequence[str], seed: int) -> Keys:
    """One 64-bit key per image.

    Args:
        ids: (N,) image ids.
        seed: any integer (taken modulo 2^64).

    Returns:
        (N,) uint64.
    """
    digests = b"".join(hashlib.blake2b(i.encode("utf-8"), digest_size=8).digest() for i in ids)
    keys = np.frombuffer(digests, dtype="<u8").astype(np.uint64)
    start = np.array([seed & _WORD], dtype=np.uint64)
    return _finalise(keys ^ _finalise(start + np.uint64(_GOLDEN)))


def stream(keys: Keys, purpose: Stream) -> Keys:
    """The keys (n,) for one purpose, independent of those for all others."""
    return _finalise(keys ^ np.uint64(_GOLDEN * int(purpose) & _WORD))


def hashes(keys: Keys, labels: NDArray[np.int64]) -> NDArray[np.uint64]:
    """One 64-bit number per (image, label).

    Args:
        keys: (n,) keys of the images, from `stream`.
        labels: (K,) class ids.

    Returns:
        (n, K) uint64.
    """
    steps = (labels.astype(np.uint64) + np.uint64(1)) * np.uint64(_GOLDEN)
    return _finalise(keys[:, None] + steps)


def uniforms(keys: Keys, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """One number in [0, 1) per (image, label): the upper 53 bits of `hashes`, (n, K)."""
    return (hashes(keys, labels) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def below(keys: Keys, labels: NDArray[np.int64], rate: float) -> NDArray[np.bool_]:
    """`uniforms(keys, labels) < rate`, (n, K), in a third of the time.

    Args:
        keys: (n,) keys of the images, from `stream`.
        labels: (K,) class ids.
        rate: 0 to 1.
    """
    limit, mask = np.uint64(math.ceil(rate * 2.0**53)), np.empty((len(keys), len(labels)), np.bool_)
    step = max(1, _CACHED // max(1, len(labels)))
    for start in range(0, len(keys), step):
        block = slice(start, start + step)
        np.less(hashes(keys[block], labels) >> np.uint64(11), limit, out=mask[block])
    return mask


def _finalise(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64, in place."""
    words ^= words >> np.uint64(30)
    words *= np.uint64(0xBF58476D1CE4E5B9)
    words ^= words >> np.uint64(27)
    words *= np.uint64(0x94D049BB133111EB)
    words ^= words >> np.uint64(31)
    return words
