"""Labels of the training images: find wrong ones, write a table, review them, correct them."""

from pzsl.inference.labelling.corrections import apply_corrections
from pzsl.inference.labelling.find_labels import UNSURE, labels
from pzsl.inference.labelling.label_rows import LabelRow, label_rows
from pzsl.inference.labelling.refine_labels import refine
from pzsl.inference.labelling.review_page import review

__all__ = [
    "UNSURE",
    "LabelRow",
    "apply_corrections",
    "label_rows",
    "labels",
    "refine",
    "review",
]
