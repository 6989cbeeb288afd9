"""The built-in drawings: compositions of colour, texture and shape."""

from __future__ import annotations

from pzsl.datasets.shapes.dataset import COMPOSITIONS, draw_indexed, load_shapes, seen_mask

__all__ = ["COMPOSITIONS", "draw_indexed", "load_shapes", "seen_mask"]
