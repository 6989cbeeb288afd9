"""Labels of the training images: found, written as a table, looked at on a page, corrected."""

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
