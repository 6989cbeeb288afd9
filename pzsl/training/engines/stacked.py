"""Train many runs of one method together, with a leading axis of runs and shared features.

Adapters are stacked. The images of all runs form one long list with one list of candidates, on
which the method's own loss and label weights work unchanged. This is for GPUs, where a small step
takes as long as a large one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from pzsl.methods.core import AdaptedMethod, CandidateEntries, JointPass, Method
from pzsl.models.adapted_cosines import Matrices, adapt, matrices


class Stack(nn.Module):
    """R methods of one kind, with equal options and numbers of classes and steps, trained together.

    Args:
        methods: untrained, or at the same epoch; `write_back` copies the trained state to them.
    """

    def __init__(self, methods: Sequence[Method]) -> None:
        super().__init__()
        self.methods = cast("list[AdaptedMethod]", list(methods))
        self.names = [name for name, _ in methods[0].named_parameters()]
        columns = zip(*(method.parameters() for method in methods), strict=True)
        self.values = nn.ParameterList(
            torch.stack([parameter.detach() for parameter in parameters]) for parameters in columns
        )
        counts = [len(method.candidates) for method in methods]
        self.starts = torch.tensor([0, *counts]).cumsum(0).to(self.values[0].device)
        self.labels = torch.stack([method.frozen_labels for method in self.methods])
        self.front = self._front()
        self.mask = self.labels.new_ones(0)
        self.run_losses = self.labels.new_zeros(len(methods))

    def _front(self) -> AdaptedMethod:
        """A method with the images of all runs, and one more image without entries, for padding."""
        first_method = self.methods[0]
        problem = replace(first_method.problem, candidates=self._candidates(None))
        front = type(first_method)(problem, first_method.options, torch.Generator())
        front.joint = JointPass(self._seen_logits, self._total)
        for name in front.run_state:
            getattr(front, name).copy_(getattr(first_method, name))
        for name in front.entry_state:
            setattr(front, name, self._of_entries(name))
        for name in front.image_state:
            setattr(front, name, self._of_images(name))
        front.candidates = self._candidates(getattr(front, "log_mask", None))
        return front

    def _of_entries(self, name: str) -> Tensor:
        return torch.cat([getattr(method, name) for method in self.methods])

    def _of_images(self, name: str) -> Tensor | None:
        """A state per image of all runs, 1 for the image for padding; None if no run has it."""
        states = [getattr(method, name) for method in self.methods]
        if all(state is None for state in states):
            return None
        ones = self.labels.new_ones
        present_states = [
            ones(len(method.candidates)) if state is None else state
            for method, state in zip(self.methods, states, strict=True)
        ]
        return torch.cat([*present_states, ones(1)])

    def _candidates(self, log_mask: Tensor | None) -> CandidateEntries:
        """The candidates of all runs in one list; the image for padding comes last."""
        all_candidates, offsets, end = [method.candidates for method in self.methods], [], 0
        for candidates in all_candidates:
            offsets.append(candidates.offsets[:-1] + end)
            end += len(candidates.labels)
        ends = torch.full((2,), end, device=self.starts.device)
        if log_mask is None:
            log_mask = torch.cat([candidates.log_mask for candidates in all_candidates])
        labels = torch.cat([candidates.labels for candidates in all_candidates])
        return CandidateEntries(torch.cat([*offsets, ends]), labels, log_mask)

    def step_rows(self, rows: Sequence[Tensor]) -> Tensor:
        """Rows of one batch of each run, in the long list; shorter batches are padded."""
        self.rows = torch.nn.utils.rnn.pad_sequence([*rows], batch_first=True, padding_value=-1)
        self.mask = (self.rows >= 0).to(self.labels.dtype)
        long_rows = self.starts[:-1, None] + self.rows
        return torch.where(self.rows >= 0, long_rows, self.starts[-1]).flatten()

    def _images(self) -> Tensor:
        """Images (R, B, D) of the batch of `step_rows`."""
        rows = self.rows.clamp_min(0)
        shared = self.methods[0].problem.images
        if all(method.problem.images is shared for method in self.methods):
            return shared[rows.flatten()].view(*rows.shape, -1)
        pairs = zip(self.methods, rows, strict=True)
        return torch.stack([method.problem.images[run_rows] for method, run_rows in pairs])

    def _matrices(self, side: str) -> Matrices:
        """Matrices of all runs, (R, r, D) and (R, D, r), of one side's adapters."""
        parameters = dict(zip(self.names, self.values, strict=True))
        if f"{side}.up" in parameters:
            return Matrices(parameters[f"{side}.down"], parameters[f"{side}.up"])
        down, up = matrices(nn.Identity(), self.labels[0])
        runs = len(self.methods)
        return Matrices(down.expand(runs, -1, -1), up.expand(runs, -1, -1))

    def _seen_logits(self, _: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (R B, K) of the batch of `step_rows`, and the alignment loss of each run (R,)."""
        first_method, images = self.methods[0], self._images()
        seen, scale = len(first_method.problem.seen), first_method.problem.scale
        image_matrices, label_matrices = map(self._matrices, ("image_adapter", "label_adapter"))
        x, t = (
            adapt(images, image_matrices, label_matrices.up),
            adapt(self.labels, label_matrices, image_matrices.up),
        )
        u = torch.cat(
            [x.crossed + x.hidden @ (image_matrices.up.mT @ label_matrices.up), x.hidden], dim=2
        )
        v = torch.cat([t.hidden, t.crossed], dim=2)[:, :seen]
        cosines = images @ self.labels[:, :seen].mT + u @ v.mT
        logits = scale * cosines * x.inverse[:, :, None] * t.inverse[:, None, :seen]
        image_cosine = (x.lean * x.inverse * self.mask).sum(1) / self.mask.sum(1)
        label_cosine = (t.lean * t.inverse).mean(1)
        penalty = 2 - image_cosine - label_cosine
        return logits.flatten(0, 1), first_method.options.alignment * scale * penalty

    def _total(self, losses: Tensor, penalty: Tensor) -> Tensor:
        """The sum of the losses of all runs, so that each run gets its own gradients."""
        masked = losses.view(self.mask.shape) * self.mask
        run_losses = masked.sum(1) / self.mask.sum(1) + penalty
        self.run_losses = run_losses.detach()
        return run_losses.sum()

    @torch.no_grad()
    def relabel(self) -> None:
        """Let each method weigh its candidates anew, with the parameters as they are now."""
        self.write_back()
        for method in self.methods:
            method.relabel()
        self.front.weights.copy_(self._of_entries("weights"))

    def release(self) -> None:
        """Break the reference cycle with the front, which would keep the memory of all runs."""
        self.front.joint = None

    @torch.no_grad()
    def write_back(self) -> None:
        """Copy parameters and state back into the methods."""
        entries = [len(method.candidates.labels) for method in self.methods]
        for name in self.front.entry_state:
            states = torch.split(getattr(self.front, name), entries)
            for method, state in zip(self.methods, states, strict=True):
                getattr(method, name).copy_(state)
        for run, method in enumerate(self.methods):
            for parameter, value in zip(method.parameters(), self.values, strict=True):
                parameter.copy_(value[run])
            for name in method.run_state:
                getattr(method, name).copy_(getattr(self.front, name))
