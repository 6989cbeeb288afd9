"""Methods: one file per published method, all with the interface of `core.Method`.

The catalogue is plain text, so that listing the methods imports no torch.
"""

from __future__ import annotations

from pzsl.methods.catalogue import METHODS, Entry
from pzsl.methods.registry import (
    find_method,
    known_methods,
    load_method,
    make_options,
    unread_options,
)

__all__ = [
    "METHODS",
    "Entry",
    "find_method",
    "known_methods",
    "load_method",
    "make_options",
    "unread_options",
]
