"""A run interrupted between epochs: its model, label weights and optimiser, without pickle."""

from __future__ import annotations

import json
import time
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from pzsl.files import write_atomic
from pzsl.methods.core import Method
from pzsl.training.optimizer import Optimizer

MODEL, OPTIMIZER = "model.", "optimizer."


def model_bytes(method: Method, about: dict[str, str]) -> bytes:
    """A trained method as a safetensors file: parameters, label weights, all other state."""
    return save(_contiguous(method.state_dict()), metadata=about)


def save_checkpoint(
    path: Path,
    method: Method,
    optimizer: Optimizer | None,
    epoch: int,
    history: list[dict[str, float | None]],
) -> None:
    """Write all that the epochs after `epoch` need; the file is whole or the one before."""
    tensors = {MODEL + name: value for name, value in method.state_dict().items()}
    if optimizer is not None:
        tensors |= {OPTIMIZER + name: value for name, value in optimizer.state_dict().items()}
    metadata = {"epoch": str(epoch), "history": json.dumps(history)}
    write_atomic(path, save(_contiguous(tensors), metadata=metadata))


def load_checkpoint(
    path: Path, method: Method, optimizer: Optimizer | None
) -> tuple[int, list[dict[str, float | None]]]:
    """Restore a method and its optimiser in place.

    Returns:
        The next epoch and the history so far: 0 and nothing where there is no (readable)
        checkpoint; the run then starts anew.
    """
    if not path.exists():
        return 0, []
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError):
        return 0, []
    method.load_state_dict(_below(MODEL, tensors))
    if optimizer is not None:
        optimizer.load_state_dict(_below(OPTIMIZER, tensors))
    return int(about["epoch"]) + 1, json.loads(about["history"])


class Saver:
    """Saves a checkpoint when the last one is old enough to be missed."""

    def __init__(self, path: Path, every: float) -> None:
        self.path, self.every, self.last = path, every, time.monotonic()

    def __call__(
        self,
        method: Method,
        optimizer: Optimizer | None,
        epoch: int,
        history: list[dict[str, float | None]],
    ) -> None:
        """Save after `epoch` if more than `every` seconds have passed."""
        if time.monotonic() - self.last >= self.every:
            save_checkpoint(self.path, method, optimizer, epoch, history)
            self.last = time.monotonic()


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): value for n, value in tensors.items() if n.startswith(prefix)}


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    # Tensors that share memory are refused by safetensors; each is copied on its own.
    return {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
