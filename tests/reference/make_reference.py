"""Write down the numbers of every method and preset, for `test_reference_numbers.py` to hold.

    python tests/reference/make_reference.py [--missing] [CASE ...]

makes the named cases again, or all of them, and writes `numbers.json` beside this file; with
`--missing`, only what it lacks. The other cases stay as they are; `caltech` is left out where its
features are not found: at `$PZSL_TEST_DATA/clip_features/caltech69.npz`, or in `../shared/data`
next to the checkout.

`--missing` is for a new method or preset. Without it, run this only where a change of the numbers
is meant, and raise the constant RESULTS with it: the number that goes into a run's name, so that
records of the old kind don't pass for new ones.

Only the public side of the package is used, so that the numbers outlive changes inside of it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import pzsl
from pzsl.methods import METHODS

FILE = Path(__file__).with_name("numbers.json")
DIGITS = 8
METRICS = (
    *("S", "U", "H", "T1", "AUSUC", "gamma", "disambiguation", "entropy"),
    *("mean_candidates", "truth_outside", "parameters", "estimated_eta", "partial_set"),
    "trained_share",
)
"""What is kept of a record, where the record has it."""

Numbers = dict[str, float | None]
System = tuple[str, str]
"""A method and one of its presets."""


class Case(NamedTuple):
    """A problem: `made` or `caltech` features, how ambiguous the labels are, options for all."""

    features: str
    noise: str
    rate: float = 0.3
    eta: float = 0.0
    settings: Mapping[str, Any] | None = None


QUICK = {"epochs": 3, "min_steps": 12}
THOROUGH = {"epochs": 3, "min_steps": 24}
"""Enough steps, of an epoch each, for every part of every method to set in."""
CASES = {
    "made, uniform": Case("made", "uniform", settings=THOROUGH),
    "made, noisy": Case("made", "noisy", eta=0.2, settings=QUICK),
    "made, instance": Case("made", "instance", settings=QUICK),
    "caltech": Case("caltech", "uniform"),
}


def systems() -> list[System]:
    """Every method with every one of its presets."""
    return [(method, preset) for method, entry in METHODS.items() for preset in entry.presets]


def key(system: System) -> str:
    """How the reference names a method and its preset."""
    return ", ".join(system)


def caltech_file() -> Path | None:
    """The Caltech-101 features, which are no part of the project; None where there are none."""
    given = os.environ.get("PZSL_TEST_DATA")
    folder = Path(given) if given else Path(__file__).parents[3] / "shared" / "data"
    file = folder / "clip_features" / "caltech69.npz"
    return file if file.is_file() else None


def make_cache(features: str, folder: Path) -> Path:
    """The cache of a case's features, made in `folder` unless it is there."""
    out = folder / f"{features}.h5"
    if out.is_file():
        return out
    source = folder / "made.npz"
    if features == "made":
        np.savez(source, **made_arrays())
    else:
        found = caltech_file()
        if found is None:
            raise FileNotFoundError("caltech69.npz: set PZSL_TEST_DATA")
        source = found
    words = [sys.executable, "-m", "pzsl", "import", str(source), "--out", str(out)]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return out


def made_arrays(
    seen: int = 12, unseen: int = 5, each: int = 20, dim: int = 32, spread: float = 0.3
) -> dict[str, np.ndarray]:
    """Images around the vectors of their classes, with views; class texts are near those.

    Two thirds of each seen class are to train on.
    """
    rng = np.random.default_rng(101)
    classes = seen + unseen
    centres = unit(rng.standard_normal((classes, dim)))
    labels = np.repeat(np.arange(classes), each)
    images = unit(centres[labels] + spread * rng.standard_normal((len(labels), dim)))
    kinds = ("weak", "weak", "strong", "strong")
    noise = np.array([0.08, 0.08, 0.16, 0.16])[:, None]
    views = images[:, None] + noise * rng.standard_normal((len(labels), len(kinds), dim))
    trained = np.tile(np.arange(each), classes) % 3 < 2
    of_seen = np.where(trained, "trainval", "test_seen")
    return {
        "image_features": images,
        "views": unit(views),
        "augmentation": np.array(json.dumps({"kinds": kinds, "seed": 0})),
        "text_features": unit(centres + 0.15 * rng.standard_normal(centres.shape)),
        "labels": labels,
        "class_names": np.array([f"class {number}" for number in range(classes)]),
        "unseen": np.arange(classes) >= seen,
        "split": np.where(labels < seen, of_seen, "test_unseen"),
        "logit_scale": np.array(20.0),
        "model": np.array("made"),
        "pretrained": np.array(""),
    }


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors divided by their lengths."""
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def measure(case: Case, system: System, cache: Path, runs: Path) -> Numbers:
    """Train one method on a case with seed 0, and read the numbers of its record."""
    method, preset = system
    done = pzsl.train(
        cache,
        method=[method],
        preset=[preset],
        noise=[case.noise],
        rate=[case.rate],
        eta=[case.eta],
        seeds=1,
        first_seed=0,
        settings=case.settings,
        runs=runs,
        device="cpu",
        workers=1,
    )
    (run,) = done["runs"]
    metrics = json.loads((Path(run["path"]) / "metrics.json").read_text(encoding="utf-8"))
    return {name: rounded(metrics[name]) for name in METRICS if name in metrics}


def rounded(value: float | None) -> float | None:
    """A number as the reference keeps it."""
    return value if value is None else round(value, DIGITS)


def read_reference() -> dict[str, Any]:
    """`made_with`, and the numbers of each case, method and preset."""
    if not FILE.is_file():
        return {"made_with": {}, "numbers": {}}
    return json.loads(FILE.read_text(encoding="utf-8"))


def made_with() -> dict[str, str]:
    """What the numbers may depend on besides the code: told where they differ."""
    packages = {name: version(name) for name in ("torch", "numpy")}
    return {**packages, "machine": platform.machine()}


def write_reference(names: Iterable[str], missing: bool = False) -> None:
    """Make the named cases again, or what they lack; each is written as soon as it is whole."""
    reference = read_reference()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in names:
            case = CASES[name]
            if case.features == "caltech" and caltech_file() is None:
                print(f"{name}: no features found, left as it is: set PZSL_TEST_DATA")
                continue
            cache = make_cache(case.features, folder)
            known = reference["numbers"].get(name, {}) if missing else {}
            found = {key(system): known.get(key(system)) for system in systems()}
            for system in [system for system in systems() if found[key(system)] is None]:
                started = time.perf_counter()
                found[key(system)] = measure(case, system, cache, folder / "runs")
                print(f"{name}: {key(system)}: {time.perf_counter() - started:.1f} s", flush=True)
            reference["numbers"][name] = found
            if not known:
                reference["made_with"] = made_with()
            text = json.dumps(reference, indent=1, sort_keys=True)
            FILE.write_text(text + "\n", encoding="utf-8")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case", nargs="*", metavar="CASE", help=f"of: {'; '.join(CASES)} [all]")
    parser.add_argument("--missing", action="store_true", help="keep the numbers that are there")
    given = parser.parse_args()
    names = given.case or list(CASES)
    for name in names:
        if name not in CASES:
            parser.error(f"no case '{name}', only: {'; '.join(CASES)}")
    write_reference(names, given.missing)


if __name__ == "__main__":
    main()
