"""Checkpoints between epochs: model, label weights and optimiser, without pickle."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from pzsl.files import digest, parse_json, write_atomic
from pzsl.methods.core import Method
from pzsl.progress import say
from pzsl.training.optimizer import Optimizer

History = list[dict[str, Any]]
MODEL, OPTIMIZER = "model.", "optimizer."


SEEN, UNSEEN = "label_embeddings.seen", "label_embeddings.unseen"
"""Names of the frozen label embeddings of seen and unseen classes in a model's file."""


def model_bytes(method: Method, about: dict[str, str]) -> bytes:
    """A trained method as a safetensors file: label embeddings, parameters, all other state."""
    labels = {SEEN: method.problem.seen, UNSEEN: method.problem.unseen}
    return save(_contiguous({**method.state_dict(), **labels}), metadata=about)


def save_checkpoint(
    path: Path,
    method: Method,
    optimizer: Optimizer | None,
    epoch: int,
    history: History,
    run: str = "",
) -> None:
    """Write the state that the epochs after `epoch` need; the old file stays until this is done.

    The file names its run and holds a checksum of its tensors and history.
    """
    tensors = {MODEL + name: value for name, value in method.state_dict().items()}
    if optimizer is not None:
        tensors |= {OPTIMIZER + name: value for name, value in optimizer.state_dict().items()}
    tensors = _contiguous(tensors)
    metadata = {"epoch": str(epoch), "history": json.dumps(history), "run": run}
    metadata["checksum"] = _checksum(tensors, metadata)
    write_atomic(path, save(tensors, metadata=metadata))


def load_checkpoint(
    path: Path, method: Method, optimizer: Optimizer | None, run: str = ""
) -> tuple[int, History]:
    """Restore a method and its optimiser in place.

    Args:
        path: of the checkpoint. method, optimizer: as they were made for the run.
        run: name of the run; a checkpoint of another run is ignored.

    Returns:
        The next epoch and the history so far; 0 and an empty one without a checkpoint. A checkpoint
        that is damaged or of another run is reported, and the run starts again.
    """
    if not path.exists():
        return 0, []
    try:
        epoch, history, tensors = _read(path, method, optimizer, run)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        say(f"{path}: no checkpoint to resume from ({error}): the run starts again.")
        return 0, []
    method.load_state_dict(_below(MODEL, tensors))
    if optimizer is not None:
        optimizer.load_state_dict(_below(OPTIMIZER, tensors))
    return epoch + 1, history


def _read(
    path: Path, method: Method, optimizer: Optimizer | None, run: str
) -> tuple[int, History, dict[str, Tensor]]:
    """Epoch, history and tensors of a checkpoint.

    Raises:
        SafetensorError, OSError, ValueError, KeyError, TypeError: damaged, or of another run.
    """
    content = path.read_bytes()  # once: another process may replace the file meanwhile
    tensors, about = load(content), _metadata(content)
    if about.get("run") != run:
        raise ValueError(f"it belongs to the run {about.get('run')!r}")
    if about.pop("checksum", None) != _checksum(tensors, about):
        raise ValueError("it is damaged: the checksum differs")
    needed = {MODEL + name: value.shape for name, value in method.state_dict().items()}
    if optimizer is not None:
        needed |= {OPTIMIZER + name: v.shape for name, v in optimizer.state_dict().items()}
    if {name: value.shape for name, value in tensors.items()} != needed:
        raise ValueError("it has other tensors than this version of the method")
    return int(about["epoch"]), parse_json(about["history"]), tensors


def _metadata(content: bytes) -> dict[str, str]:
    """The texts in the header of a safetensors file whose tensors could be read."""
    header = parse_json(content[8 : 8 + int.from_bytes(content[:8], "little")])
    metadata = header.get("__metadata__", {})
    if not isinstance(metadata, dict):
        raise ValueError("its metadata are no table")
    return {str(name): str(value) for name, value in metadata.items()}


def _checksum(tensors: dict[str, Tensor], about: dict[str, str]) -> str:
    """A hash of the bytes of all tensors and of the metadata."""
    parts: list[str | bytes] = [json.dumps(about, sort_keys=True)]
    for name in sorted(tensors):
        value = tensors[name]
        parts += [f"{name} {value.dtype} {tuple(value.shape)}", value.numpy().tobytes()]
    return digest(*parts)


class Saver:
    """Saves a checkpoint if the last one is older than `every` seconds."""

    def __init__(self, path: Path, every: float, run: str = "") -> None:
        self.path, self.every, self.last, self.run = path, every, time.monotonic(), run

    def __call__(
        self,
        method: Method,
        optimizer: Optimizer | None,
        epoch: int,
        history: History,
    ) -> None:
        """Save after `epoch` if more than `every` seconds have passed."""
        if time.monotonic() - self.last >= self.every:
            save_checkpoint(self.path, method, optimizer, epoch, history, self.run)
            self.last = time.monotonic()


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): value for n, value in tensors.items() if n.startswith(prefix)}


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    # Tensors that share memory are refused by safetensors; each is copied on its own.
    return {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
