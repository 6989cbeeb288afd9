"""The local engine: worker processes that do one run after the other; one that dies is replaced."""

from __future__ import annotations

import signal
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from pzsl.errors import UserError
from pzsl.progress import say
from pzsl.training.engines.job import Job, Outcome, fail, work
from pzsl.workers import end_with_parent, without_main_module

LOSSES = 3
"""How often a run may lose its process; it goes on from its checkpoint."""


@dataclass
class Worker:
    """A process, our end of its pipe, and the run that it is at; None when it has no more."""

    process: SpawnProcess
    pipe: Connection
    job: Job | None = None


def run_on_processes(jobs: Sequence[Job], workers: int) -> Iterator[Outcome]:
    """Do runs on so many processes, in whatever order they finish.

    Raises:
        UserError: the cache was replaced, or a plugin is missing.
        OSError: a record can't be written.
    """
    crew = Crew(jobs)
    try:
        yield from crew.results(workers)
    finally:
        crew.dismiss()


class Crew:
    """The processes, and the runs that nobody has begun."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.queue = deque(jobs)
        self.losses: Counter[str] = Counter()
        self.workers: list[Worker] = []

    def results(self, workers: int) -> Iterator[Outcome]:
        """Have all runs done; the outcome of each as it comes."""
        for _ in range(min(workers, len(self.queue))):
            self.employ(self.queue.popleft())
        while any(worker.job for worker in self.workers):
            ready = wait([worker.pipe for worker in self.workers])
            for worker in [worker for worker in self.workers if worker.pipe in ready]:
                try:
                    kind, value = worker.pipe.recv()
                except (EOFError, OSError):
                    yield from self.replace(worker)
                    continue
                if kind == "error":
                    raise value
                if worker.job is not None:
                    yield Outcome(worker.job, value)
                    self.give(worker, self.queue.popleft() if self.queue else None)

    def employ(self, job: Job) -> None:
        """Start a process and give it its first run."""
        context = get_context("spawn")  # the same everywhere, and safe with threads
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs,), daemon=True)
        with without_main_module():
            process.start()
        theirs.close()
        self.workers.append(Worker(process, ours))
        self.give(self.workers[-1], job)

    def give(self, worker: Worker, job: Job | None) -> None:
        """Send a process its next run; None ends it."""
        worker.job = job
        try:
            worker.pipe.send(job)
        except OSError:
            return  # it has died: its end of the pipe will say so

    def replace(self, worker: Worker) -> Iterator[Outcome]:
        """Let go of a process that has ended; if it was at work, another one goes on.

        Yields:
            The failure of its run, where that has lost too many already.
        """
        self.workers.remove(worker)
        worker.pipe.close()
        worker.process.join()
        if worker.job is None:
            return
        name, code = worker.job.config.name, worker.process.exitcode or 0
        self.losses[name] += 1
        how = f"by signal {-code}" if code < 0 else f"with code {code}"
        if self.losses[name] <= LOSSES:
            say(
                f"The process of run {name} was ended {how}, often for lack of memory: another one "
                f"goes on with it (loss {self.losses[name]} of at most {LOSSES})."
            )
            self.employ(worker.job)
            return
        reason = (
            f"its process was ended {how}, {self.losses[name]} times, often for lack of memory: "
            "give fewer --workers or a lower --memory."
        )
        yield Outcome(worker.job, fail(worker.job, reason))
        if self.queue:
            self.employ(self.queue.popleft())

    def dismiss(self) -> None:
        """End all processes; what they have written is whole."""
        for worker in self.workers:
            if worker.job is not None:
                worker.process.terminate()
        for worker in self.workers:
            worker.process.join()
            worker.pipe.close()
        self.workers.clear()


def serve(pipe: Any) -> None:
    """What a process does: the runs that it is given, until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it, and ends this process
    end_with_parent()
    try:
        for job in iter(pipe.recv, None):
            pipe.send(("outcome", work(job)))
    except (EOFError, BrokenPipeError):
        return  # the parent is gone
    except (UserError, OSError, MemoryError) as error:
        pipe.send(("error", error))
