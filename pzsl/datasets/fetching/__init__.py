"""Download and unpack published data sets: addresses, sizes, licences, usual folders."""

from __future__ import annotations

from pzsl.datasets.fetching.default_folders import find_root, is_by_hand, usual_places
from pzsl.datasets.fetching.fetch_dataset import fetch
from pzsl.datasets.fetching.publishers import CHECKED, PUBLICATIONS

__all__ = ["CHECKED", "PUBLICATIONS", "fetch", "find_root", "is_by_hand", "usual_places"]
