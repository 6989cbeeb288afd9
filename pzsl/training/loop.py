"""The training loop of all methods."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from pzsl.errors import UserError
from pzsl.methods.core import Method, TrainingFeatures
from pzsl.training.features_in_blocks import StoredRows
from pzsl.training.optimizer import OPTIMIZERS, Optimizer

Result = TypeVar("Result")
EpochHook = Callable[[int, float], None]
"""Called after each epoch with its number and mean loss."""


def epoch_generator(seed: int, epoch: int) -> torch.Generator:
    """The generator of one epoch, from (seed, epoch) alone, so that a resumed run has the same."""
    return torch.Generator().manual_seed((seed * 1_000_003 + epoch + 1) % 2**63)


def batches(images: TrainingFeatures, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """All images in random order, in batches of nearly equal size, at most `size`.

    The order of the whole epoch is copied to a GPU at once, because each copy makes it wait.
    """
    if isinstance(images, StoredRows):
        order = images.shuffled(generator)
    else:
        order = torch.randperm(len(images), generator=generator)
    return iter(torch.tensor_split(order.to(images.device), max(1, -(-len(images) // size))))


def learning_rate(base: float, step: int, steps: int) -> float:
    """Cosine from `base` to zero (Loshchilov and Hutter 2017, without restarts)."""
    return base * 0.5 * (1 + math.cos(math.pi * step / steps))


class Fit(NamedTuple):
    """The arguments of a call of `fit`."""

    method: Method
    seed: int
    optimizer: Optimizer | None = None
    start: int = 0
    on_epoch: EpochHook | None = None


def fit(
    method: Method,
    seed: int,
    optimizer: Optimizer | None = None,
    start: int = 0,
    on_epoch: EpochHook | None = None,
) -> Method:
    """Train a method on its problem.

    Args:
        method: newly made, or restored from a checkpoint.
        seed: of the order of the images and of all other random numbers.
        optimizer: restored from a checkpoint; None for a new one.
        start: first epoch to run; earlier ones are in the checkpoint.
        on_epoch: called after each epoch.

    Returns:
        The same method, after training and `finalize`.
    """
    optimizer = optimizer or make_optimizer(method)
    if optimizer is not None:
        for epoch in range(start, method.epochs):
            if method.relabels_before(epoch):
                with torch.no_grad():
                    method.relabel()
            loss = _epoch(method, optimizer, seed, epoch)
            if on_epoch:
                on_epoch(epoch, loss)
    with torch.no_grad():
        method.finalize()
    return method


def fit_all(steps: Generator[Fit, None, Result]) -> Result:
    """Train each method that a generator yields, one after the other; returns its result."""
    try:
        while True:
            fit(*next(steps))
    except StopIteration as stop:
        result: Result = stop.value
        return result


def _epoch(method: Method, optimizer: Optimizer, seed: int, epoch: int) -> float:
    """One pass over the training images; returns the mean loss."""
    options, images = method.options, method.problem.images
    steps = -(-len(images) // options.batch_size)
    generator = epoch_generator(seed, epoch)
    method.begin_epoch(epoch, generator)
    total = torch.zeros((), device=images.device)
    for step, batch in enumerate(batches(images, options.batch_size, generator)):
        rate = learning_rate(options.lr, epoch * steps + step, method.epochs * steps)
        loss = method.loss(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step(rate)
        with torch.no_grad():
            method.after_step(batch)
            total += loss.detach() * len(batch)
    return finite_loss(total.item() / len(images), method, epoch)


def finite_loss(loss: float, method: Method, epoch: int) -> float:
    """The mean loss of an epoch, after checking it and the label weights.

    Raises:
        UserError: the loss or a label weight is not finite: the training diverged.
    """
    if not math.isfinite(loss + method.weights.sum().item()):  # weights are small: no overflow
        raise UserError(
            f"{type(method).__name__}: loss or label weights are not finite after epoch "
            f"{epoch + 1} (loss {loss}): the training diverged; give a lower learning rate "
            f"(--set lr=..., it was {method.options.lr:g})."
        )
    return loss


def make_optimizer(method: Method) -> Optimizer | None:
    """The optimiser of a method's parameters; None if it has none."""
    if not method.trainable:
        return None
    optimizer_class = OPTIMIZERS[method.optimizer]
    return optimizer_class(method.parameters(), method.options.weight_decay)
