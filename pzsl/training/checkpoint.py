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


def model_bytes(method: Method, metadata: dict[str, str]) -> bytes:
    """A trained method as a safetensors file: label embeddings, parameters and other state."""
    labels = {SEEN: method.problem.seen, UNSEEN: method.problem.unseen}
    return save(_contiguous({**method.state_dict(), **labels}), metadata=metadata)


def save_checkpoint(
    path: Path,
    method: Method,
    optimizer: Optimizer | None,
    epoch: int,
    history: History,
    run: str = "",
) -> None:
    """Write the state that the epochs after `epoch` need; it replaces the previous file when whole.

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
        path: of the checkpoint.
        method, optimizer: newly made for the run.
        run: name of the run; a checkpoint of another run is ignored.

    Returns:
        The next epoch and the history so far; 0 and an empty history without a checkpoint. If the
        checkpoint is damaged or of another run, this is said, and the run starts again.
    """
    if not path.exists():
        return 0, []
    try:
        epoch, history, tensors = _read(path, method, optimizer, run)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        say(f"{path}: no checkpoint to resume from ({error}): the run starts again.")
        return 0, []
    method.load_state_dict(_with_prefix(MODEL, tensors))
    if optimizer is not None:
        optimizer.load_state_dict(_with_prefix(OPTIMIZER, tensors))
    return epoch + 1, history


def _read(
    path: Path, method: Method, optimizer: Optimizer | None, run: str
) -> tuple[int, History, dict[str, Tensor]]:
    """Epoch, history and tensors of a checkpoint.

    Raises:
        SafetensorError, OSError, ValueError, KeyError, TypeError: damaged, or of another run.
    """
    content = path.read_bytes()  # once: another process may replace the file meanwhile
    tensors, metadata = load(content), _metadata(content)
    if metadata.get("run") != run:
        raise ValueError(f"it belongs to the run {metadata.get('run')!r}")
    if metadata.pop("checksum", None) != _checksum(tensors, metadata):
        raise ValueError("it is damaged: the checksum differs")
    needed = {MODEL + name: value.shape for name, value in method.state_dict().items()}
    if optimizer is not None:
        state = optimizer.state_dict()
        needed |= {OPTIMIZER + name: value.shape for name, value in state.items()}
    if {name: value.shape for name, value in tensors.items()} != needed:
        raise ValueError("it has other tensors than this version of the method")
    return int(metadata["epoch"]), parse_json(metadata["history"]), tensors


def _metadata(content: bytes) -> dict[str, str]:
    """The texts in the header of a safetensors file whose tensors could be read."""
    header = parse_json(content[8 : 8 + int.from_bytes(content[:8], "little")])
    metadata = header.get("__metadata__", {})
    if not isinstance(metadata, dict):
        raise ValueError("its metadata are not a table")
    return {str(name): str(value) for name, value in metadata.items()}


def _checksum(tensors: dict[str, Tensor], metadata: dict[str, str]) -> str:
    """A hash of the bytes of all tensors and of the metadata."""
    parts: list[str | bytes] = [json.dumps(metadata, sort_keys=True)]
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


def _with_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    # safetensors refuses tensors that share memory, so each is copied.
    return {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
