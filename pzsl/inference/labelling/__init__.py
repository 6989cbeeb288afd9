"""Labels of the training images: found, written as a table, looked at on a page, corrected."""

from pzsl.inference.labelling.corrections import apply_corrections
from pzsl.inference.labelling.find_labels import labels
from pzsl.inference.labelling.refine_labels import refine
from pzsl.inference.labelling.review_page import review

__all__ = ["apply_corrections", "labels", "refine", "review"]
