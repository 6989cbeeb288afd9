"""Worker processes: they run only pzsl's code, and end when their parent process ends."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import parent_process
from types import ModuleType


def end_with_parent() -> None:
    """End this process when its parent ends, even if the parent is killed; call once, at the start.

    Otherwise a worker would outlive its parent and still be writing when the next run starts.
    """
    threading.Thread(target=_outlive_nobody, daemon=True).start()


@contextmanager
def without_main_module() -> Iterator[None]:
    """In this block, new processes don't re-run the caller's script, which may lack a main guard.

    Workers only call functions of pzsl, so they need nothing from `__main__`.
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
