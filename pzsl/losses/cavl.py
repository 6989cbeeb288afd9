"""The class activation value, by which CAVL selects a label."""

from __future__ import annotations

from torch import Tensor


def class_activation_values(logits: Tensor) -> Tensor:
    """`|g - 1| g` of raw logits g (Zhang et al. 2022), of any shape."""
    return (logits - 1).abs() * logits
