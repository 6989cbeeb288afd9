"""This machine's own figures: how fast encoding, loading and training are here, side by side.

What is compared is measured in one run, turn and turn about, and shown as medians and their ratios:
seconds alone say more of the machine than of the program.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NamedTuple

from pzsl.bench.accuracy import bench_accuracy
from pzsl.bench.labels import bench_labels
from pzsl.errors import UsageError, nearest


class Part(NamedTuple):
    """One thing to measure: `module:function` that takes `quick`, and what it is."""

    function: str
    about: str


PARTS: dict[str, Part] = {
    "encode": Part("pzsl.bench.encode:measure_encode", "stage one beside other loops"),
    "load": Part("pzsl.bench.load:measure_load", "a large cache beside a copy in memory"),
    "train": Part("pzsl.bench.train:measure_train", "a sweep beside one run of a paper-style loop"),
    "memory": Part("pzsl.bench.memory:measure_memory", "a run on features larger than memory"),
    "cost": Part("pzsl.bench.cost:measure_cost", "what a large problem costs, by three small ones"),
    "annotate": Part("pzsl.bench.annotate:measure_annotate", "candidate sets by cached features"),
}
"""In the order in which they are measured and printed; one line each."""


def bench(
    parts: Sequence[str] = (), quick: bool = False, **sizes: int | None
) -> dict[str, dict[str, Any]]:
    """Measure this machine.

    Args:
        parts: keys of `PARTS`; none means all.
        quick: few images and short runs: a look, not figures to quote.
        sizes: for the part `memory` alone: `classes` and `images`, see `measure_memory`.

    Returns:
        Of each part a dictionary with `setting` (what was measured, on what), `figures` (medians)
        and, where sides are compared, `ratios`, each a plain dictionary.

    Raises:
        UsageError: no such part, or one that takes no sizes.
    """
    given = {name: value for name, value in sizes.items() if value is not None}
    if given and list(parts) != ["memory"]:
        raise UsageError(f"--{next(iter(given))} is for one part: pzsl bench memory.")
    for part in parts:
        if part not in PARTS:
            raise UsageError(f"Unknown part '{part}'.{nearest(part, list(PARTS))}")
    results = {}
    for name in parts or PARTS:
        module, _, function = PARTS[name].function.partition(":")
        measure: Callable[..., dict[str, Any]] = getattr(import_module(module), function)
        results[name] = measure(quick, **given)
    return results


__all__ = ["PARTS", "Part", "bench", "bench_accuracy", "bench_labels"]
