"""Worker processes: a pool that works through tasks and replaces processes that die.

They run only pzsl's code, and end when their parent process ends. Every process has its own pipe,
so that a killed process can't hold a lock that others need.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import current_process, get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import ModuleType
from typing import Any, Generic, Self, TypeVar

from pzsl.errors import UserError, lacks_memory
from pzsl.plugins import blame
from pzsl.progress import say

LOSSES = 3
"""How often the process of a task may die."""
SIGBUS = getattr(signal, "SIGBUS", None)
"""Ends a process that reads beyond the end of a mapped file; Windows doesn't have it."""
MOVE_FILES = (
    "replace a file that is in use by moving another one to its place (mv), not by copying (cp)"
)

Task = TypeVar("Task")
Tell = Callable[[str, Any], None]
"""Sends the parent a message: its kind and its value."""
Prepare = Callable[[str, Tell], Callable[[Any], Any]]
"""Prepares a process for its device; returns the function that does a task."""


@dataclass
class Worker(Generic[Task]):
    """A process, its device, our end of its pipe, and its task; None when none are left."""

    device: str
    process: SpawnProcess
    pipe: Connection
    task: Task | None = None


class WorkerPool(Generic[Task]):
    """The worker processes, and the tasks that have not been started; use it in a `with` block.

    Args:
        prepare: called once by each process: a function of a module, or a `partial` of one.
        tasks: what is to be done.
        name: what messages call a task, such as 'run a1b2' or 'shard 1/4'; different for each.
        remedy: what to do about tasks whose processes keep dying for lack of memory.
    """

    def __init__(
        self,
        prepare: Prepare,
        tasks: Sequence[Task],
        name: Callable[[Task], str],
        remedy: str,
    ) -> None:
        self.prepare, self.queue, self.name, self.remedy = prepare, deque(tasks), name, remedy
        self.losses: Counter[str] = Counter()
        self.workers: list[Worker[Task]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop_all()

    def run_all(self, devices: Sequence[str]) -> Iterator[tuple[Task, str, Any]]:
        """Do all tasks, one process per device.

        Yields:
            Task, kind and value of each message. The last kind of each task is `done`, with what
            it returned, or `lost`, with the reason: its processes have died too often.

        Raises:
            UserError, OSError, MemoryError: as raised in a process, a plugin's error by its name.
            RuntimeError: any other error, with its traceback.
        """
        for device in devices[: len(self.queue)]:
            self.start_worker(device, self.queue.popleft())
        while any(worker.task is not None for worker in self.workers):
            ready = wait([worker.pipe for worker in self.workers])
            for worker in [worker for worker in self.workers if worker.pipe in ready]:
                try:
                    kind, value = worker.pipe.recv()
                except (EOFError, OSError):
                    yield from self.replace(worker)
                else:
                    yield from self.handle_message(worker, kind, value)

    def start_worker(self, device: str, task: Task) -> None:
        """Start a process and assign its first task."""
        check_may_start()
        context = get_context("spawn")  # the same everywhere, and safe with threads and GPUs
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self.prepare, device), daemon=True)
        with without_main_module():
            process.start()
        theirs.close()
        worker = Worker[Task](device, process, ours)
        self.workers.append(worker)
        self.assign(worker, task)

    def assign(self, worker: Worker[Task], task: Task | None) -> None:
        """Assign a process its next task; None ends the process."""
        worker.task = task
        try:
            worker.pipe.send(task)
        except OSError:
            return  # it has died, and receiving from its pipe will show that

    def handle_message(
        self, worker: Worker[Task], kind: str, value: Any
    ) -> Iterator[tuple[Task, str, Any]]:
        """Pass on a message of a process; a process that has done its task gets the next one."""
        if worker.task is None:
            return
        name = f"{self.name(worker.task)} on {worker.device}"
        if kind == "error":
            value.add_note(f"Raised by the process of {name}.")  # --debug shows it
            raise value
        if kind == "fault":
            raise RuntimeError(f"{name}:\n{value}")
        yield worker.task, kind, value
        if kind == "done":
            self.assign(worker, self.queue.popleft() if self.queue else None)

    def replace(self, worker: Worker[Task]) -> Iterator[tuple[Task, str, Any]]:
        """Remove a process that has ended; if it had a task, start another one.

        Yields:
            That its task is lost, if the processes of that task have died too often.
        """
        self.workers.remove(worker)
        worker.pipe.close()
        worker.process.join()
        task, code = worker.task, worker.process.exitcode or 0
        if task is None:
            return
        name, cause = self.name(task), _cause(code)
        ending = f"by signal {-code}" if code < 0 else f"with code {code}"
        ending = f"on {worker.device} was ended {ending}"
        self.losses[name] += 1
        count = self.losses[name]
        if count <= LOSSES:
            say(
                f"The process of {name} {ending}, {cause}: another one resumes it (loss {count} of "
                f"at most {LOSSES})."
            )
            self.start_worker(worker.device, task)
            return
        remedy = MOVE_FILES if -code == SIGBUS else self.remedy
        yield task, "lost", f"its process {ending}, {count} times, {cause}: {remedy}."
        if self.queue:
            self.start_worker(worker.device, self.queue.popleft())

    def stop_all(self) -> None:
        """End all processes; what they have written is safe."""
        for worker in self.workers:
            if worker.task is not None:
                worker.process.terminate()
        for worker in self.workers:
            worker.process.join()
            worker.pipe.close()
        self.workers.clear()


def _cause(code: int) -> str:
    """What an exit code probably means."""
    if -code == SIGBUS:
        return "as a file was cut short while it was read"
    return "often for lack of memory"


def _serve(pipe: Connection, prepare: Prepare, device: str) -> None:
    """The work of a process: prepare once, then do the tasks assigned to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles it and ends this process
    end_with_parent()
    tell = partial(_send, pipe)
    try:
        do_task = prepare(device, tell)
        while (task := _receive(pipe)) is not None:
            tell("done", do_task(task))
    except Exception as error:
        known = known_error(error)
        tell("error", known) if known else tell("fault", traceback.format_exc())


def known_error(error: Exception) -> Exception | None:
    """The error to send for one of the user, the system or a plugin; None for a fault in pzsl."""
    if isinstance(error, UserError | OSError):
        return error
    return blame(error) or (MemoryError(str(error)) if lacks_memory(error) else None)


def _receive(pipe: Connection) -> Any:
    try:
        return pipe.recv()
    except (EOFError, OSError):
        return None  # the parent is gone


def _send(pipe: Connection, kind: str, value: Any) -> None:
    try:
        pipe.send((kind, value))
    except OSError:
        sys.exit(1)  # the parent is gone


def may_start() -> bool:
    """Whether this process may start others: those of a `multiprocessing.Pool` may not."""
    return not current_process().daemon


def check_may_start() -> None:
    """Refuse to start a process where Python refuses it.

    Raises:
        UserError: this is a daemonic process.
    """
    if not may_start():
        raise UserError(
            "This runs in a daemonic process, such as those of multiprocessing.Pool, which may "
            "start no others: give workers=1, or use concurrent.futures.ProcessPoolExecutor."
        )


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
