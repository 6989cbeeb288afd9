"""The one place that chooses device, precision and batch size."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from pzsl.errors import UsageError

if TYPE_CHECKING:
    import torch

CPU_BATCH, GPU_BATCH = 32, 256
"""Most images per batch: 32 images' activations fit a CPU's caches, 256 keep a GPU busy."""
PER_IMAGE = 64 << 20
"""GPU memory that an encoder needs per image, in bytes: a high estimate for 336 x 336 pixels."""
PRECISIONS = ("fp32", "fp16", "bf16", "int8")


def resolve_device(name: str = "auto") -> torch.device:
    """The device to compute on; `auto` prefers CUDA, then Apple's MPS, then the CPU.

    Raises:
        UsageError: torch doesn't know the device, or this machine doesn't have it.
    """
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            name = "cuda"
        else:
            name = "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        raise UsageError(f"Unknown device '{name}': use auto, cpu, cuda, cuda:N or mps.") from None
    present = {"cpu": True, "cuda": torch.cuda.is_available()}
    present["mps"] = torch.backends.mps.is_available()
    if not present.get(device.type, False):
        raise UsageError(f"This machine has no device '{name}': use --device auto or cpu.")
    count = torch.cuda.device_count() if device.type == "cuda" else 1
    if device.index is not None and device.index >= count:
        indices = ", ".join(f"{device.type}:{index}" for index in range(count))
        raise UsageError(f"This machine has no device '{name}': use --device {indices}.")
    return device


def resolve_precision(name: str | None, device: torch.device) -> tuple[str, torch.dtype]:
    """Name and dtype of the encoder's arithmetic; by default fp32 on the CPU, fp16 elsewhere.

    Raises:
        UsageError: an unknown precision, fp16 or bf16 on the CPU (far slower there), or int8 on
            another device.
    """
    import torch

    name = name or ("fp32" if device.type == "cpu" else "fp16")
    dtypes = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
    dtypes["int8"] = torch.float32  # only the matrix products are int8
    if name not in dtypes:
        raise UsageError(f"Unknown precision '{name}': use one of {', '.join(PRECISIONS)}.")
    if device.type == "cpu" and name in ("fp16", "bf16"):
        raise UsageError(f"Precision {name} is for GPUs: use --precision fp32 or int8 on the CPU.")
    if device.type != "cpu" and name == "int8":
        raise UsageError("Precision int8 is for the CPU: use --precision fp16 on GPUs.")
    if name == "fp32" and device.type == "cuda":  # by default cuDNN rounds mantissas to 10 bits
        torch.backends.cudnn.allow_tf32 = False
    return name, dtypes[name]


def cores() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def usual_torch() -> Iterator[None]:
    """In this block, torch is as it starts: float32 on the CPU, with gradients; then as it was."""
    import torch

    before, place = torch.get_default_dtype(), torch.get_default_device()
    torch.set_default_dtype(torch.float32)
    if place.type != "cpu":  # each call of a torch function costs more where it has been set
        torch.set_default_device(None)
    try:
        with torch.inference_mode(False), torch.enable_grad(), ExitStack() as others:
            for kind in filter(torch.is_autocast_enabled, ("cpu", "cuda")):
                others.enter_context(torch.autocast(kind, enabled=False))
            yield
    finally:
        torch.set_default_dtype(before)
        if place.type != "cpu":
            torch.set_default_device(place)


@contextmanager
def cpu_threads(device: torch.device, threads: int = 1) -> Iterator[None]:
    """In this block, compute on so many CPU threads (on a GPU nothing changes), as `usual_torch`.

    One is the default, because a sweep has a process per core. More change only the order in which
    numbers are summed, hence their last bits.
    """
    import torch

    before = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(threads)
    try:
        with usual_torch():
            yield
    finally:
        torch.set_num_threads(before)


def free_memory(device: torch.device) -> int | None:
    """Free memory of a GPU in bytes; None if it is unknown, and for the CPU."""
    import torch

    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type == "mps" and hasattr(torch.mps, "recommended_max_memory"):
        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    return None


def default_batch(device: torch.device) -> int:
    """Images per batch: a fixed rule, because the last bits of embeddings depend on the size.

    CPU: 32 for each thread. GPU: the largest power of two up to 256 that should need at most a
    quarter of its memory.
    """
    import torch

    if device.type == "cpu":
        return CPU_BATCH
    if device.type != "cuda":
        return GPU_BATCH // 4
    fitting = max(1, torch.cuda.get_device_properties(device).total_memory // 4 // PER_IMAGE)
    return int(min(GPU_BATCH, 1 << (fitting.bit_length() - 1)))
