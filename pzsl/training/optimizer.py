"""AdamW and SGD for a few tensors.

`torch.optim` does the same, but imports torch's compiler: two seconds in each process.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor, nn

BETAS = (0.9, 0.999)
EPSILON = 1e-8
MOMENTUM = 0.9
"""Momentum of SGD."""


class Optimizer(Protocol):
    """What the training loop and checkpoints need of an optimiser."""

    def step(self, rate: float) -> None:
        """Move each parameter that has a gradient at learning rate `rate`; drop the gradient."""

    def state_dict(self) -> dict[str, Tensor]:
        """The state that later steps need, as tensors."""

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue from a state, in place."""


class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), as in `torch.optim`.

    Args:
        parameters: what is trained.
        weight_decay: lambda; each step multiplies parameters by `1 - rate * lambda`.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], weight_decay: float) -> None:
        self.parameters, self.weight_decay = list(parameters), weight_decay
        self.steps = [0] * len(self.parameters)
        self.first = [torch.zeros_like(value) for value in self.parameters]
        self.second = [torch.zeros_like(value) for value in self.parameters]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Move each parameter that has a gradient at learning rate `rate`; drop the gradient."""
        for index, parameter in enumerate(self.parameters):
            if parameter.grad is None:
                continue
            gradient, parameter.grad = parameter.grad, None
            first, second = self.first[index], self.second[index]
            self.steps[index] += 1
            bias_corrections = [1 - beta ** self.steps[index] for beta in BETAS]
            first.lerp_(gradient, 1 - BETAS[0])
            second.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
            denominator = second.sqrt().div_(bias_corrections[1] ** 0.5).add_(EPSILON)
            parameter.mul_(1 - rate * self.weight_decay)
            parameter.addcdiv_(first, denominator, value=-rate / bias_corrections[0])

    def state_dict(self) -> dict[str, Tensor]:
        """Moments and step counts, as tensors."""
        state = {"steps": torch.tensor(self.steps)}
        for index, moments in enumerate(zip(self.first, self.second, strict=True)):
            state |= {f"{index}.first": moments[0], f"{index}.second": moments[1]}
        return state

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue from a state, in place."""
        self.steps = state["steps"].tolist()
        for index, moments in enumerate(zip(self.first, self.second, strict=True)):
            moments[0].copy_(state[f"{index}.first"])
            moments[1].copy_(state[f"{index}.second"])


class Sgd:
    """Stochastic gradient descent with momentum 0.9, as in `torch.optim`.

    Args:
        parameters: what is trained.
        weight_decay: lambda; lambda times the parameter is added to its gradient.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], weight_decay: float) -> None:
        self.parameters, self.weight_decay = list(parameters), weight_decay
        self.velocity = [torch.zeros_like(value) for value in self.parameters]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Move each parameter that has a gradient at learning rate `rate`; drop the gradient."""
        for parameter, velocity in zip(self.parameters, self.velocity, strict=True):
            if parameter.grad is not None:
                gradient, parameter.grad = parameter.grad, None
                decayed = gradient.add(parameter, alpha=self.weight_decay)
                parameter.sub_(velocity.mul_(MOMENTUM).add_(decayed), alpha=rate)

    def state_dict(self) -> dict[str, Tensor]:
        """Velocities, as tensors."""
        return {f"{index}.velocity": value for index, value in enumerate(self.velocity)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue from a state, in place."""
        for index, value in enumerate(self.velocity):
            value.copy_(state[f"{index}.velocity"])


OPTIMIZERS: dict[str, type[AdamW] | type[Sgd]] = {"adamw": AdamW, "sgd": Sgd}
