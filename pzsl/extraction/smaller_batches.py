"""Encode with smaller batches when memory runs out."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

import torch
from torch import Tensor

from pzsl.errors import UserError, lacks_memory
from pzsl.progress import say


class Halving:
    """Encodes batches, and halves their size whenever memory runs out; it never grows again.

    A smaller batch changes only the last bits of the embeddings. Thread-safe.

    Args:
        encode: batch (n, ...) -> (n, D).
        size: of the largest batch.
    """

    def __init__(self, encode: Callable[[Tensor], Tensor], size: int) -> None:
        self.size = size
        self._encode = encode
        self._lock = Lock()

    def __call__(self, batch: Tensor) -> Tensor:
        """Embeddings (n, D) of a batch (n, ...).

        Raises:
            UserError: memory does not even suffice for a single image.
        """
        while True:
            size = min(self.size, len(batch))
            try:
                return torch.cat([self._encode(part) for part in torch.split(batch, size)])
            except (RuntimeError, MemoryError) as error:
                if not lacks_memory(error):
                    raise
            self._shrink(size)

    def _shrink(self, failed_size: int) -> None:
        if failed_size == 1:
            raise UserError(
                "There is not enough memory to encode a single image: use a smaller --model, fewer "
                "--workers, or another --device."
            )
        with self._lock:
            if self.size >= failed_size:  # otherwise another thread has already halved it
                self.size = (failed_size + 1) // 2
                say(f"Out of memory: continuing with batches of {self.size}, not {failed_size}.")
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
