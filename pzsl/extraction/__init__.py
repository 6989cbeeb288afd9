"""Stage one: encode a data set with a frozen encoder into a feature cache."""

from __future__ import annotations

from pzsl.extraction.judge_cache import zero_shot
from pzsl.extraction.stage_one import extract

__all__ = ["extract", "zero_shot"]
