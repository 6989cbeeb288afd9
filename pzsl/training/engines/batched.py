"""Train many runs together, for GPUs; the records are those of one run after the other."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from contextlib import suppress

import torch
from torch import Tensor

from pzsl.training.engines.job import Job, begin
from pzsl.training.engines.stacked import Stack
from pzsl.training.features_in_blocks import StoredRows
from pzsl.training.loop import Fit, batches, epoch_generator, finite_loss, fit, learning_rate
from pzsl.training.optimizer import AdamW
from pzsl.training.run import Attempt


def run_together(jobs: Sequence[Job]) -> Iterator[None]:
    """Do runs side by side, and train those with equal networks together.

    Advance every run to its next fit, then train equal ones stacked and the rest one by one.

    Args:
        jobs: the runs; all of them share the memory of the device.

    Yields:
        None for each run that has been recorded.
    """
    attempts = [begin(job, sharing=len(jobs)) for job in jobs]
    while attempts:
        waiting: list[tuple[Attempt, Fit]] = []
        for attempt in attempts:
            with suppress(StopIteration):
                waiting.append((attempt, next(attempt)))
        fit_groups([fitting for _, fitting in waiting])
        for _ in range(len(attempts) - len(waiting)):
            yield
        attempts = [attempt for attempt, _ in waiting]


def fit_groups(fits: Sequence[Fit]) -> None:
    """Train methods; those with equal networks are trained together."""
    groups: dict[Hashable, list[Fit]] = {}
    for number, fitting in enumerate(fits):
        groups.setdefault(_stacking_key(fitting, number), []).append(fitting)
    for group in groups.values():
        if len(group) == 1:
            fit(*group[0])
        else:
            fit_together(group)


def _stacking_key(fitting: Fit, number: int) -> Hashable:
    """A key that methods share if they can be trained together; else the method's own number."""
    method, problem = fitting.method, fitting.method.problem
    if not method.stackable or isinstance(problem.images, StoredRows):
        return number
    steps = -(-len(problem.images) // method.options.batch_size)
    sizes = len(problem.seen), len(problem.unseen), problem.images.shape[1], steps
    return type(method), method.options, sizes, fitting.start


def fit_together(fits: Sequence[Fit]) -> None:
    """Train methods with one stacking key together, with the rows and hooks that `fit` uses."""
    first_method = fits[0].method
    stack = Stack([fitting.method for fitting in fits])
    optimizer = AdamW(stack.values, first_method.options.weight_decay)
    _load_moments(fits, optimizer)
    for epoch in range(fits[0].start, first_method.epochs):
        if first_method.relabels_before(epoch):
            stack.relabel()
        losses = _epoch(stack, fits, optimizer, epoch)
        if any(fitting.on_epoch for fitting in fits):
            stack.write_back()
            _store_moments(fits, optimizer)
        for fitting, loss in zip(fits, losses.tolist(), strict=True):
            finite_loss(loss, fitting.method, epoch)
            if fitting.on_epoch:
                fitting.on_epoch(epoch, loss)
    stack.write_back()
    stack.release()
    with torch.no_grad():
        for fitting in fits:
            fitting.method.finalize()


def _epoch(stack: Stack, fits: Sequence[Fit], optimizer: AdamW, epoch: int) -> Tensor:
    """One pass of each run over its images, in its own order; returns the mean losses (R,)."""
    first_method, images = fits[0].method, [fitting.method.problem.images for fitting in fits]
    options, device = first_method.options, images[0].device
    generators = [epoch_generator(fitting.seed, epoch) for fitting in fits]
    stack.front.begin_epoch(epoch, generators[0])
    orders = [
        batches(run_images, options.batch_size, generator)
        for run_images, generator in zip(images, generators, strict=True)
    ]
    steps, total = -(-len(images[0]) // options.batch_size), torch.zeros_like(stack.run_losses)
    for step, rows in enumerate(zip(*orders, strict=True)):
        rate = learning_rate(options.lr, epoch * steps + step, first_method.epochs * steps)
        batch = stack.step_rows(rows)
        stack.front.loss(batch).backward()  # type: ignore[no-untyped-call]
        optimizer.step(rate)
        with torch.no_grad():
            stack.front.after_step(batch)
            total += stack.run_losses * stack.mask.sum(1)
    return total / torch.tensor([len(run_images) for run_images in images], device=device)


def _load_moments(fits: Sequence[Fit], optimizer: AdamW) -> None:
    """Load the optimiser moments of each run into the stacked optimiser."""
    for moment, stacked in _moments(fits, optimizer):
        stacked.copy_(moment)
    if isinstance(fits[0].optimizer, AdamW):
        optimizer.steps = list(fits[0].optimizer.steps)


def _store_moments(fits: Sequence[Fit], optimizer: AdamW) -> None:
    """Copy the moments back to each run's optimiser, for its checkpoint."""
    for moment, stacked in _moments(fits, optimizer):
        moment.copy_(stacked)
    for fitting in fits:
        if isinstance(fitting.optimizer, AdamW):
            fitting.optimizer.steps = list(optimizer.steps)


def _moments(fits: Sequence[Fit], optimizer: AdamW) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs of moments: one of each run's own optimiser, if it has one, and its stacked copy."""
    for run, fitting in enumerate(fits):
        if isinstance(fitting.optimizer, AdamW):
            run_moments = [*fitting.optimizer.first, *fitting.optimizer.second]
            for moment, stacked in zip(
                run_moments, [*optimizer.first, *optimizer.second], strict=True
            ):
                yield moment, stacked[run]
