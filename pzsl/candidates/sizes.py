"""How large candidate sets become, before they are drawn."""

from __future__ import annotations

import os

from pzsl.errors import UserError

BYTES = 24
"""Memory of a candidate in training, about: its label, log-mask and weight, and what is drawn."""
GIB = 2**30
FEW = 10
"""Wrong labels of an image that a refusal offers in place of a rate."""


def expected_candidates(kind: str, rate: float, classes: int) -> float | None:
    """Mean size of a candidate set over `classes` seen labels; None where the kind has none known.

    Args:
        kind: a key of `KINDS`. rate: as of `generate`.
    """
    if kind == "fixed-size":
        return 1 + rate
    if kind in ("uniform", "uniform:added", "noisy", "uss", "instance"):
        return 1 + rate * (classes - 1)
    return None


def check_size(kind: str, rate: float, images: int, classes: int) -> None:
    """Refuse candidate sets that this machine can't hold.

    Args:
        kind, rate, classes: as of `expected_candidates`. images: N.

    Raises:
        UserError: they take more than all of its memory.
    """
    mean, memory = expected_candidates(kind, rate, classes), machine_memory()
    if mean is None or memory is None or not images * mean * BYTES > memory:
        return  # also for a rate of NaN, which `generate` refuses
    fitting = int(memory // (BYTES * images)) - 1
    few = f"--noise fixed-size:{min(FEW, fitting)}, or " if fitting > 0 else ""
    raise UserError(
        f"Noise '{kind}' at rate {rate:g} gives each of {images:,} images about {mean:,.0f} "
        f"candidates of {classes:,} classes: some {images * mean * BYTES / GIB:,.0f} GiB, and this "
        f"machine has {memory / GIB:,.0f}: use {few}a rate below "
        f"{max(0.0, fitting / max(classes - 1, 1)):.2g}."
    )


def machine_memory() -> int | None:
    """Bytes of memory that this machine has; None where the system doesn't tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows, and systems without these names
        return None
