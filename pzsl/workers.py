"""Worker processes: they run pzsl alone, and end when the process that began them does."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import parent_process
from types import ModuleType


def end_with_parent() -> None:
    """Let this process end with its parent, even if that is killed; call it once, at the start.

    Else the parent's next run finds this one writing, and it would never end.
    """
    threading.Thread(target=_outlive_nobody, daemon=True).start()


@contextmanager
def without_main_module() -> Iterator[None]:
    """Start processes that don't run the caller's script again, which may lack a main guard.

    What a process does for pzsl lies in pzsl: it needs nothing of `__main__`.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _outlive_nobody() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
