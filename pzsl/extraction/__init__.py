"""Stage one: from a data set through a frozen encoder into a feature cache; features in and out."""

from __future__ import annotations

from pzsl.extraction.exchange import export_any, import_any, merge
from pzsl.extraction.foreign_features import Labelling
from pzsl.extraction.scoring import zero_shot
from pzsl.extraction.stage_one import extract

__all__ = ["Labelling", "export_any", "extract", "import_any", "merge", "zero_shot"]
