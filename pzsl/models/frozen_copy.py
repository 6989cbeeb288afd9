"""Copies of a network that are state, not trained: momentum encoders."""

from __future__ import annotations

from copy import deepcopy

from torch import nn


def frozen_copy(module: nn.Module) -> nn.Module:
    """A copy whose parameters are buffers: state that is checkpointed, not trained."""
    copy = deepcopy(module)
    for part in copy.modules():
        for name, value in list(part.named_parameters(recurse=False)):
            delattr(part, name)
            part.register_buffer(name, value.detach().clone())
    return copy
