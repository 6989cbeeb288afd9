"""Stand-ins for what runs in other processes; light, so that such a process starts quickly."""

from __future__ import annotations

import errno
import os
import signal
from typing import Any

from pzsl import plugins
from pzsl.errors import SeveralError, UsageError, UserError


def dying(*given: Any) -> Any:
    """A process that doesn't live to finish a task."""
    return lambda task: os._exit(9)


def mostly_dying(device: str, tell: Any) -> Any:
    """A process that one of the tasks kills, and that doubles the others."""
    return lambda task: os._exit(9) if task == "dies" else task * 2


def reading_beyond(device: str, tell: Any) -> Any:
    """A process whose mapped file is cut short."""
    return lambda task: os.kill(os.getpid(), signal.SIGBUS)


def failing(device: str, tell: Any) -> Any:
    """A process that meets the error that a task is called after, or doubles the task."""
    errors = {
        "user": UserError("the weights are broken"),
        "usage": UsageError("no such device"),
        "several": SeveralError(["two lines", "one", "other"]),
        "system": OSError(errno.ENOSPC, "No space left on device", "x.h5"),
        "cut": EOFError("no more bytes"),
        "memory": MemoryError(),
        "allocator": RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ..."),
        "fault": KeyError("seven"),
    }
    tell("about", device)

    def double(task: str) -> str:
        if task in errors:
            raise errors[task]
        if task == "plugin":
            plugins._files["mine.py"] = "mine"
            exec(compile("raise KeyError('seven')", "mine.py", "exec"))
        return task * 2

    return double


def mortal(encoding: type) -> type:
    """A Ray actor of which one is killed after its first block, once in all."""

    class Mortal(encoding):  # type: ignore[misc]
        def encode(self, shard: Any) -> Any:
            mark = self.target.with_suffix(".killed")
            if shard.number == 3 and not mark.exists():
                from pzsl.store import CacheWriter

                write = CacheWriter.write

                def last(*given: Any) -> None:
                    write(*given)
                    mark.touch()
                    os.kill(os.getpid(), signal.SIGKILL)

                CacheWriter.write = last  # type: ignore[method-assign]
            return super().encode(shard)

    return Mortal
