"""A packed folder: what is in it, whether it is whole, and the method that comes out of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pzsl import plugins
from pzsl.errors import UserError
from pzsl.evaluation import Calibration
from pzsl.files import digest, parse_json, read_text, sha256_of
from pzsl.inference.record import check_values, read_calibration
from pzsl.inference.restore import Scorer, adjusted, restore_method
from pzsl.requests import is_number, is_whole
from pzsl.training import RunConfig

FORMAT = 1
"""Raised when a change would keep older versions of pzsl from reading the folder."""
SUMS = "SHA256SUMS"
ABOUT, CALIBRATION, WEIGHTS = "config.json", "calibration.json", "model.safetensors"
CARD, ONNX = "README.md", "scores.onnx"
FILES = (ABOUT, CALIBRATION, WEIGHTS)
"""Required files; the model card is not, and may be edited."""
MEAN = "mean_image"
"""Key of `config.json`; the packed folders of older versions lack it."""
HUB = "hf-hub:"


@dataclass(frozen=True)
class Packed:
    """A packed folder whose files are unchanged.

    Attributes:
        folder: its path.
        about: `config.json`: classes, encoder, templates, the run's configuration.
        config: of the run.
        calibration: of the probabilities.
        identity: a hash of all its files.
    """

    folder: Path
    about: dict[str, Any]
    config: RunConfig
    calibration: Calibration
    identity: str

    @property
    def mean_image(self) -> NDArray[np.float32] | None:
        """(D,) mean of the training images' embeddings; None if an older version packed it."""
        mean = self.about.get(MEAN)
        return None if mean is None else np.array(mean, np.float32)

    def scorer(self, names: tuple[str, ...] = (), text: Tensor | None = None) -> Scorer:
        """Restore the trained method, with names and their label embeddings (n, D) added."""
        scale, file = float(self.about["scale"]), self.folder / WEIGHTS
        method = restore_method(self.config, scale, file, text)
        packed_classes, added = len(self.about["classes"]), 0 if text is None else len(text)
        rows = len(method.problem.seen) + len(method.problem.unseen) - added
        if rows != packed_classes:
            raise UserError(
                f"{self.folder} names {packed_classes} classes, but its weights are of {rows}: "
                "pack the run again."
            )
        named = (*self.about["classes"], *names)
        calibrated = adjusted(float(self.about["gamma"]), self.calibration, added)
        return Scorer(method, *calibrated, named)


def is_packed(folder: Path) -> bool:
    """Whether `pack` wrote a folder."""
    return (folder / SUMS).is_file()


def fetched(run: str | Path) -> Path:
    """The folder of a run; one on the Hugging Face hub is downloaded first.

    Raises:
        UserError: the hub has no such model, or can't be reached.
    """
    if not str(run).startswith(HUB):
        return Path(run)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    name = str(run).removeprefix(HUB)
    try:
        return Path(snapshot_download(name, allow_patterns=[*FILES, ONNX, SUMS]))
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{run} can't be fetched: {reason}") from None


def open_packed(folder: Path) -> Packed:
    """Read a packed folder, after checking each file against its hash.

    Raises:
        UserError: a file is missing or was changed, or a newer version of pzsl wrote it.
    """
    sums = _check(folder)
    try:  # hashes find accidents only: the folder's author wrote them, too
        about = parse_json(read_text(folder / ABOUT))
        if not is_whole(about["format"]):
            raise ValueError("'format' should be a whole number")
        newer = about["format"] > FORMAT
        if not newer:
            config = RunConfig(**{"results": 1, **about["run"]})
            check_values(config, about["gamma"])
            _check_about(about)
            calibration = read_calibration(folder / CALIBRATION)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise UserError(
            f"{folder} is not a packed run ({type(error).__name__}: {error}): pack the run again."
        ) from None
    if newer:
        raise UserError(f"{folder} was packed by a newer version of pzsl: pip install -U pzsl.")
    plugins.enrol(config.plugins, trusted_only=True)
    return Packed(folder, about, config, calibration, digest(sums))


def _check_about(about: dict[str, Any]) -> None:
    """Refuse values that `pack` doesn't write.

    Raises:
        KeyError, TypeError, ValueError: the first of them.
    """
    classes = about["classes"]
    for name, value in (("classes", classes), ("templates", about["templates"])):
        if not (isinstance(value, list) and all(isinstance(text, str) for text in value)):
            raise ValueError(f"'{name}' should be a list of texts")
    if not (is_number(about["scale"]) and about["scale"] > 0):
        raise ValueError("'scale' should be a number above 0")
    if not (is_whole(about["dim"]) and isinstance(about["dataset"], str)):
        raise ValueError("'dim' should be a whole number, and 'dataset' a text")
    mean = about.get(MEAN, [0] * about["dim"])
    if not (isinstance(mean, list) and len(mean) == about["dim"] and all(map(is_number, mean))):
        raise ValueError(f"'{MEAN}' should be a list of {about['dim']} numbers")
    if not isinstance(about["encoder"], dict) or not {"model", "pretrained"} <= {*about["encoder"]}:
        raise ValueError("'encoder' should tell a model and its weights")


def sums_of(folder: Path) -> str:
    """The text of `SHA256SUMS` for the files of a folder."""
    names = [*FILES, *([ONNX] if (folder / ONNX).is_file() else [])]
    return "".join(f"{sha256_of(folder / name)}  {name}\n" for name in names)


def _check(folder: Path) -> str:
    """Compare all files with the hashes written with them; returns the text of the hashes."""
    try:
        text = (folder / SUMS).read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError):
        text = ""
    lines = re.findall(r"^([0-9a-f]{64})  ([\w.]+)\n", text, re.MULTILINE)
    names = [name for _, name in lines]
    if text != "".join(f"{sha}  {name}\n" for sha, name in lines) or names not in (
        [*FILES],
        [*FILES, ONNX],
    ):
        raise _changed(folder, SUMS, "was changed")
    for sha, name in lines:
        try:
            actual = sha256_of(folder / name)
        except OSError as error:
            raise _changed(folder, name, f"can't be read ({error.strerror})") from None
        if actual != sha:
            raise _changed(folder, name, "was changed since it was packed")
    return text


def _changed(folder: Path, name: str, fault: str) -> UserError:
    return UserError(f"{folder / name} {fault}: copy the packed folder again.")
