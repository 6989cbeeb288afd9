"""The published benchmarks: split files, class names, and matching of their image files."""

from __future__ import annotations

from pzsl.datasets.published.class_names import clean_name, known_names
from pzsl.datasets.published.listing import read_listing
from pzsl.datasets.published.mat_files import read_features
from pzsl.datasets.published.xlsa17 import load_apy, load_awa2, load_cub, load_flo, load_sun

__all__ = [
    "clean_name",
    "known_names",
    "load_apy",
    "load_awa2",
    "load_cub",
    "load_flo",
    "load_sun",
    "read_features",
    "read_listing",
]
