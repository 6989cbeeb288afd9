"""Time things side by side, so that a busy moment of the machine falls on all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median

REPEATS = 3


def interleaved(
    sides: Mapping[str, Callable[[], object]], repeats: int = REPEATS
) -> dict[str, float]:
    """Median seconds of each side, run turn and turn about: a b c, a b c, a b c.

    Args:
        sides: what to run, by name; warm up before, where the first time is another.
        repeats: turns.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, side in sides.items():
            start = time.perf_counter()
            side()
            seconds[name].append(time.perf_counter() - start)
    return {name: median(times) for name, times in seconds.items()}
