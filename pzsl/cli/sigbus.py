"""A file that is cut short while it is mapped: the system's signal becomes one line."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from contextlib import suppress
from typing import Any

LINE = (
    b"pzsl: A file was cut short while it was read, most likely the cache: run the same command "
    b"again, and replace a cache by moving another file to its place (mv), not by copying (cp).\n"
)
_handlers: list[Any] = []
"""What the system calls may not be collected."""
_first = threading.Lock()
"""Several threads may read beyond the end at once: the first reports it, the others wait here."""


def explain_sigbus() -> None:
    """Let a read beyond the end of a mapped file (SIGBUS) end this process in one line, exit 1.

    Python's own handlers run after the read that failed, which would be tried again for ever: so
    the system calls this one itself. Systems without that signal map no file that can shrink.
    """
    if not hasattr(signal, "SIGBUS"):
        return

    def end(_: int) -> None:
        _first.acquire()
        with suppress(OSError):
            os.write(2, LINE)
        os._exit(1)

    with suppress(OSError, AttributeError):
        handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(end)
        _handlers.append(handler)
        ctypes.CDLL(None).signal(signal.SIGBUS, handler)
