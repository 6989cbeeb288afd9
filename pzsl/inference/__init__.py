"""What a trained run is for: clean labels of its own images, classes of new ones."""

from __future__ import annotations

from pzsl.inference.estimator import PartialLabelClassifier
from pzsl.inference.labels import labels
from pzsl.inference.predict import predict
from pzsl.inference.refine import refine

__all__ = ["PartialLabelClassifier", "labels", "predict", "refine"]
