"""The local engine: one worker process per device; a process that dies is replaced.

Every process has its own pipe, so that a killed process can't hold a lock that others need.
"""

from __future__ import annotations

import signal
import traceback
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from pzsl.errors import UserError
from pzsl.extraction.encode_cache import Outcome, Shard, fill
from pzsl.extraction.request import prepare
from pzsl.progress import say
from pzsl.requests import ExtractRequest
from pzsl.workers import end_with_parent, without_main_module

LOSSES = 3
"""How often the process of a shard may die."""


@dataclass
class Worker:
    """A process, its device, and the shard that it is encoding."""

    device: str
    process: SpawnProcess
    pipe: Connection
    shard: Shard | None = None


def run_shards(
    request: ExtractRequest,
    target: Path,
    shards: Sequence[Shard],
    devices: Sequence[str],
    tell: Callable[[int], object],
) -> list[Outcome]:
    """Encode shards into their part files.

    Args:
        request: what to encode; its device is replaced by each of `devices`.
        target: the complete cache.
        shards: to encode.
        devices: one process for each.
        tell: called repeatedly with the number of images that have been done since.

    Returns:
        The outcome of each shard.

    Raises:
        UserError: the process of a shard died too often, or reported an error.
    """
    pool = WorkerPool(request, target, deque(shards), tell)
    try:
        pool.run_all(devices)
    finally:
        pool.stop_all()
    return [pool.outcomes[shard] for shard in shards]


class WorkerPool:
    """The worker processes, and the shards that are still to be done.

    Args:
        request, target, tell: see `run_shards`.
        queue: shards that have not been started.
    """

    def __init__(
        self,
        request: ExtractRequest,
        target: Path,
        queue: deque[Shard],
        tell: Callable[[int], object],
    ) -> None:
        self.request, self.target, self.queue, self.tell = request, target, queue, tell
        self.outcomes: dict[Shard, Outcome] = {}
        self.losses: Counter[Shard] = Counter()
        self.workers: list[Worker] = []
        self.described = False

    def run_all(self, devices: Sequence[str]) -> None:
        """Encode all shards, one process per device."""
        total = len(self.queue)
        for device in devices[:total]:
            self.start_worker(device, self.queue.popleft())
        while len(self.outcomes) < total:
            ready = wait([worker.pipe for worker in self.workers])
            for worker in [worker for worker in self.workers if worker.pipe in ready]:
                try:
                    kind, value = worker.pipe.recv()
                except (EOFError, OSError):
                    self.replace(worker)
                else:
                    self.handle_message(worker, kind, value)

    def start_worker(self, device: str, shard: Shard) -> None:
        """Start a process and assign its first shard."""
        context = get_context("spawn")  # the same everywhere, and safe with threads and GPUs
        ours, theirs = context.Pipe()
        request = replace(self.request, device=device)
        process = context.Process(target=serve, args=(theirs, request, self.target), daemon=True)
        with without_main_module():
            process.start()
        theirs.close()
        worker = Worker(device, process, ours)
        self.workers.append(worker)
        self.assign(worker, shard)

    def assign(self, worker: Worker, shard: Shard | None) -> None:
        """Assign a process its next shard; None ends the process."""
        worker.shard = shard
        try:
            worker.pipe.send(shard)
        except OSError:
            return  # it has died, and receiving from its pipe will show that

    def handle_message(self, worker: Worker, kind: str, value: Any) -> None:
        """Handle a message of a process."""
        if kind == "images":
            self.tell(value)
        elif kind == "about" and not self.described:
            self.described = True
            for line in value:
                say(line)
        elif kind == "outcome" and worker.shard is not None:
            self.outcomes[worker.shard] = value
            self.tell(value.resumed)
            self.assign(worker, self.queue.popleft() if self.queue else None)
        elif kind == "error":
            raise UserError(f"Shard {worker.shard}: {value}")
        elif kind == "fault":
            raise RuntimeError(f"shard {worker.shard} on {worker.device}:\n{value}")

    def replace(self, worker: Worker) -> None:
        """Remove a process that has ended; if it was encoding a shard, start another one for it.

        Raises:
            UserError: the processes of that shard have died too often.
        """
        self.workers.remove(worker)
        worker.pipe.close()
        worker.process.join()
        shard, code = worker.shard, worker.process.exitcode or 0
        if shard is None:
            return
        self.losses[shard] += 1
        ending = f"by signal {-code}" if code < 0 else f"with code {code}"
        if self.losses[shard] > LOSSES:
            raise UserError(
                f"Shard {shard} was lost {self.losses[shard]} times: its process on "
                f"{worker.device} was ended {ending}, often for lack of memory. What is encoded is "
                "kept: run again with fewer --devices or a smaller model, or look at it alone "
                f"with --shard {shard}."
            )
        say(
            f"The process on {worker.device} was ended {ending}: another one resumes shard "
            f"{shard} (loss {self.losses[shard]} of at most {LOSSES})."
        )
        self.start_worker(worker.device, shard)

    def stop_all(self) -> None:
        """End all processes; the rows they have written are safe."""
        for worker in self.workers:
            if worker.shard is not None:
                worker.process.terminate()
        for worker in self.workers:
            worker.process.join()
            worker.pipe.close()


def serve(pipe: Connection, request: ExtractRequest, target: Path) -> None:
    """The work of a process: load the encoder once, then encode the shards assigned to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles it and ends this process
    end_with_parent()

    def after(images: int) -> None:
        pipe.send(("images", images))

    try:
        job = None
        for shard in iter(pipe.recv, None):
            if job is None:
                job = prepare(request)
                pipe.send(("about", job.about))
            pipe.send(("outcome", fill(job, target, shard, after=after)))
    except UserError as error:
        pipe.send(("error", str(error)))
    except (EOFError, BrokenPipeError):
        return  # the parent is gone
    except Exception:
        pipe.send(("fault", traceback.format_exc()))
