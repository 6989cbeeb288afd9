"""What each part of the default is worth: paired differences in H when one is changed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from pzsl.bench.methods import score
from pzsl.training import train

PARTS: dict[str, tuple[str, dict[str, Any]]] = {
    "--off calibrate": ("default", {"calibrate": False}),
    "--off fade": ("default", {"fade": False}),
    "--off prototypes": ("default", {"prototypes": False}),
    "--set unseen_strength=0": ("default", {"unseen_strength": 0}),
    "--off whiten": ("default", {"whiten": False}),
    "--set hubness=0": ("default", {"hubness": 0}),
    "--off left_out": ("default", {"left_out": False}),
    "--off balance": ("default", {"balance": False}),
    "--off weigh_names": ("default", {"weigh_names": False}),
    "--off noise_model": ("default", {"noise_model": False}),
    "--off label_adapter": ("default", {"label_adapter": False}),
    "--off image_adapter": ("default", {"image_adapter": False}),
    "--off image_adapter,label_adapter": (
        "default",
        {"image_adapter": False, "label_adapter": False},
    ),
    "--set alignment=0": ("default", {"alignment": 0}),
    "--set label_updates=0": ("default", {"label_updates": 0}),
    "--set progressive=on": ("default", {"progressive": True}),
    "--preset paper --set calibrate=on": ("paper", {"calibrate": True}),
    "--preset paper": ("paper", {}),
}
"""What is changed, as `pzsl train` takes it, in the preset that it is changed in."""
NOISES = ("uniform:0.3", "noisy:0.3")
SEEDS = 3


def part_rows(
    caches: Sequence[str | Path],
    folder: Path,
    seeds: int | None = None,
    noises: Sequence[str] = (),
    workers: int | None = None,
) -> list[dict[str, Any]]:
    """Train the default and each change of it, on the same candidate sets.

    Args:
        caches: of features and true labels. folder: of the records. seeds: 3 when None.
        noises: kinds with their rates; uniform and noisy sets at 0.3 when none is named.
        workers: processes; one per core when None.

    Returns:
        A row for each cache, noise and change, with the mean and the standard error (None with one
        seed) of the difference in H, and H itself.
    """
    rows = []
    for cache in caches:
        for noise in noises or NOISES:
            options: dict[str, Any] = {"noise": noise, "seeds": seeds or SEEDS, "workers": workers}
            options["runs"] = folder
            default = _scores(train(cache, **options))
            for part, (preset, settings) in PARTS.items():
                changed = _scores(train(cache, preset=preset, settings=settings, **options))
                rows.append({"cache": Path(cache).stem, "noise": noise, "change": part})
                rows[-1] |= _compared(changed, default)
    return rows


def _scores(result: dict[str, Any]) -> list[float]:
    return [score(run) for run in result["runs"]]


def _compared(changed: Sequence[float], default: Sequence[float]) -> dict[str, Any]:
    """H of a change and of the default over the same seeds, and their mean paired difference."""
    gains = [one - other for one, other in zip(changed, default, strict=True)]
    error = stdev(gains) / len(gains) ** 0.5 if len(gains) > 1 else None
    worth = {"difference": mean(gains), "error": error}
    return {"runs": len(gains), "H": mean(changed), "default": mean(default)} | worth


def parts_summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of each change the mean difference over all caches and kinds of noise."""
    return {
        part: mean(row["difference"] for row in rows if row["change"] == part)
        for part in dict.fromkeys(row["change"] for row in rows)
    }
