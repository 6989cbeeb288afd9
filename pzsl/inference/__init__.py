"""What a trained run is for: clean labels of its own images, classes of new ones."""

from __future__ import annotations

from pzsl.inference.corrections import apply_corrections
from pzsl.inference.estimator import PartialLabelClassifier
from pzsl.inference.labels import labels
from pzsl.inference.predict import predict
from pzsl.inference.refine import refine
from pzsl.inference.review import review

__all__ = ["PartialLabelClassifier", "apply_corrections", "labels", "predict", "refine", "review"]
