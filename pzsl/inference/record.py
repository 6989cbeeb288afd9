"""Read the folder of a finished run, and check that its files are of one run."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from pzsl import plugins
from pzsl.candidates import FROM_DATA
from pzsl.errors import UserError
from pzsl.evaluation import AddedClasses, Calibration
from pzsl.progress import printable, say
from pzsl.record_hashes import REMEDY, check_parts, read_object
from pzsl.requests import OWN_IMAGES, is_number, is_whole
from pzsl.results_version import results_of
from pzsl.training import RunConfig
from pzsl.training.run import is_finished


@dataclass(frozen=True)
class Record:
    """The record of a finished run.

    Attributes:
        folder: of the run.
        config: its configuration.
        gamma: of calibrated stacking.
        calibration: of the probabilities.
        cache: the cache file that it was trained on.
        encoder: what `env.json` has of the cache's encoder, as text; older records have less.
    """

    folder: Path
    config: RunConfig
    gamma: float
    calibration: Calibration
    cache: Path
    encoder: dict[str, str]


def read_record(folder: str | Path, cache: str | Path | None = None) -> Record:
    """Read the record of a finished run.

    Args:
        folder: of the run, with its `metrics.json`; or the folder above, if it holds exactly one
            finished run.
        cache: the cache, if it is no longer where the record says.

    Raises:
        UserError: there is no finished run, or its record is damaged.
    """
    folder = _finished(Path(folder))
    config, metrics, environment = (
        read_object(folder / name) for name in ("config.json", "metrics.json", "env.json")
    )
    known_fields = {field.name for field in fields(RunConfig)}
    try:
        known_values = {name: value for name, value in config.items() if name in known_fields}
        run = RunConfig(**{"results": 1, **known_values})  # older records lack this number
        check_values(run, metrics["gamma"])
        calibration = read_calibration(folder / "calibration.json")
        place = Path(cache or environment["cache"])
        encoder = dict(environment.get("encoder", {}))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder}: its record is damaged ({error}): {REMEDY}.") from None
    check_parts(folder, metrics)
    say_version(folder, run)
    plugins.enrol(run.plugins, trusted_only=True)
    return Record(folder, run, float(metrics["gamma"]), calibration, place, encoder)


def say_drawn(run: RunConfig, folder: Path) -> None:
    """Warn of a classifier of one's own images that learnt from sets drawn for an experiment."""
    if run.dataset in OWN_IMAGES and run.noise not in FROM_DATA and (run.rate or run.eta):
        say(
            f"{printable(str(folder))} learnt from wrong labels, too, that were added for an "
            f"experiment (noise {run.noise}, rate {run.rate:g}): for a classifier to use, train "
            "with --noise file."
        )


def say_version(folder: Path, run: RunConfig) -> None:
    """Warn if a run, or what was packed of it, is of a version that gave other numbers."""
    now = results_of(run.method, run.options, run.labels)
    if run.results != now:
        say(
            f"{folder}: trained by another version of pzsl, which gave other numbers "
            f"(results {run.results}, here {now}): what it answers now may differ from its "
            "record; train again to be sure."
        )


def _finished(folder: Path) -> Path:
    """A folder if it is a finished run, else the only finished run inside it.

    Raises:
        UserError: there is none, or several.
    """
    if is_finished(folder):
        return folder
    inside = sorted(folder.glob("*/metrics.json"), key=lambda file: file.stat().st_mtime)
    if len(inside) == 1:
        return inside[0].parent
    if (folder / "SHA256SUMS").is_file():
        raise UserError(f"{folder} is a packed model: give the run that it was made from.")
    if inside:
        raise UserError(
            f"{folder} holds {len(inside)} finished runs: give the folder of one; the last to be "
            f"finished is {inside[-1].parent}."
        )
    raise UserError(
        f"{folder} is not a finished run: give the folder of one (pzsl train --json names it as "
        "'path')."
    )


def check_values(run: RunConfig, gamma: Any) -> None:
    """Refuse values that no run can have.

    Raises:
        ValueError: a value has the wrong type or is out of range.
    """
    texts = run.dataset, run.cache_hash, run.model, run.method, run.preset, run.noise, run.labels
    if not all(isinstance(text, str) for text in texts) or not isinstance(run.options, dict):
        raise ValueError("its names should be texts, and its options a table")
    if not is_whole(run.seed) or run.seed < 0 or not is_whole(run.few_shot) or run.few_shot < 0:
        raise ValueError("'seed' and 'few_shot' should be whole numbers from 0 on")
    if not is_number(run.imbalance) or run.imbalance < 1:
        raise ValueError("'imbalance' should be a number from 1 on")
    if not is_number(run.eta) or not (run.noise in FROM_DATA or is_number(run.rate)):
        raise ValueError("'rate' and 'eta' should be numbers")
    if not is_number(gamma):
        raise ValueError("'gamma' should be a number")


def read_calibration(path: Path) -> Calibration:
    """The calibration of a run's probabilities; the identity for older records without one.

    Raises:
        KeyError, TypeError, ValueError: the file is damaged.
    """
    if not path.is_file():
        return Calibration()
    return _calibration(read_object(path))


def _calibration(values: dict[str, Any]) -> Calibration:
    thresholds, coverage = (tuple(map(float, values[key])) for key in ("thresholds", "coverage"))
    added = values.get("added")  # older records lack it
    if added is not None:
        if not is_number(added["gamma"]):
            raise ValueError("'gamma' in calibration.json should be a number")
        added = AddedClasses(float(added["gamma"]), _calibration(added["probabilities"]))
    calibration = Calibration(
        float(values["temperature"]), thresholds, coverage, int(values["images"]), added
    )
    numbers = (calibration.temperature, *thresholds, *coverage)
    if not np.isfinite(numbers).all() or calibration.temperature <= 0:
        raise ValueError("calibration.json holds something that is not a number")
    return calibration
