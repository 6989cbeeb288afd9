"""What a trained run is for: clean labels of its own images, classes of new ones."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pzsl.inference.labelling import apply_corrections, labels, refine, review
from pzsl.inference.packing import pack
from pzsl.inference.predict import predict

if TYPE_CHECKING:
    from pzsl.inference.estimator import PartialLabelClassifier

__all__ = [
    "PartialLabelClassifier",
    "apply_corrections",
    "labels",
    "pack",
    "predict",
    "refine",
    "review",
]


def __getattr__(name: str) -> Any:
    """Import the estimator on first use: scikit-learn takes a second."""
    if name == "PartialLabelClassifier":
        return import_module("pzsl.inference.estimator").PartialLabelClassifier
    raise AttributeError(f"module 'pzsl.inference' has no attribute '{name}'")


def __dir__() -> list[str]:
    """What completion offers: names that are imported on first use are not there before it."""
    return [*__all__]
