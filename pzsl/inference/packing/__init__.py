"""Runs that travel: a folder that answers without its cache, and the way back."""

from __future__ import annotations

from pzsl.inference.packing.read_folder import fetched, is_packed, open_packed
from pzsl.inference.packing.write_folder import pack

__all__ = ["fetched", "is_packed", "open_packed", "pack"]
