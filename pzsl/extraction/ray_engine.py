"""The engine on a Ray cluster: actors load the encoder and encode shards; dead ones are restarted.

Images and part files have to be on a disk that all machines of the cluster can access.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pzsl.errors import UserError
from pzsl.extraction.encode_cache import Outcome, Shard, fill
from pzsl.extraction.load_inputs import Job, prepare
from pzsl.progress import say
from pzsl.ray import connect
from pzsl.requests import ExtractRequest
from pzsl.workers import known_error

RETRIES = 3
"""How often the actor of a shard may die."""


class Encoding:
    """The actor: loads the encoder once, then encodes shards.

    Args:
        request: what to encode, on which device.
        target: the complete cache.
        folder: that relative paths start from, if it exists on the machine.
    """

    def __init__(self, request: ExtractRequest, target: Path, folder: str) -> None:
        self.request, self.target, self.folder = request, target, folder
        self.job: Job | None = None

    def encode(self, shard: Shard) -> tuple[Outcome | Exception, list[str]]:
        """Encode a shard; return its outcome, or an error, and lines about the job."""
        try:
            if self.job is None:
                if Path(self.folder).is_dir():
                    os.chdir(self.folder)
                self.job = prepare(self.request)
            return fill(self.job, self.target, shard, after=_silent), self.job.about
        except Exception as error:
            known = known_error(error)
            if known is None:
                raise
            return known, []


def _silent(images: int) -> None:
    """On Ray, progress is reported per shard."""


def run_shards(
    request: ExtractRequest,
    target: Path,
    shards: Sequence[Shard],
    devices: Sequence[str],
    tell: Callable[[int], object],
) -> list[Outcome]:
    """Encode shards into their part files, by the actors of a Ray cluster.

    Args:
        request: what to encode.
        target: the complete cache.
        shards: to encode.
        devices: one actor for each: `cpu` or `cuda`, on any machine of the cluster.
        tell: called with the number of images of each finished shard.

    Returns:
        The outcome of each shard.

    Raises:
        UserError: no cluster, the actor of a shard died too often, or an actor reported an error.
        OSError, MemoryError: an actor met it, such as a full disk.
    """
    with connect() as ray:
        actors = [_actor(ray, request, target, device) for device in devices[: len(shards)]]
        queue, running = deque(shards), {}
        outcomes: dict[Shard, Outcome] = {}
        for actor in actors:
            shard = queue.popleft()
            running[actor.encode.remote(shard)] = actor, shard
        while running:
            (done,), _ = ray.wait(list(running))
            actor, shard = running.pop(done)
            outcome, lines = _answer(ray, done, shard)
            if not outcomes:
                for line in lines:
                    say(line)
            outcomes[shard] = outcome
            tell(outcome.images)
            if queue:
                shard = queue.popleft()
                running[actor.encode.remote(shard)] = actor, shard
    return [outcomes[shard] for shard in shards]


def devices_of(resources: dict[str, float], device: str) -> list[str]:
    """The devices of a cluster, of one kind; `auto` means its GPUs, or its CPUs if it has none."""
    gpus = 0 if device == "cpu" else int(resources.get("GPU", 0))
    return ["cuda"] * gpus or ["cpu"] * max(1, int(resources.get("CPU", 1)))


def _actor(ray: Any, request: ExtractRequest, target: Path, device: str) -> Any:
    """Start an actor on one processor or one GPU; Ray shows each actor only its own GPU."""
    request = replace(request, device=device.partition(":")[0])
    needs = {"num_gpus": 1}
    if request.device == "cpu":
        needs, request = {"num_cpus": 1}, replace(request, workers=request.workers or 1)
    restarts = {"max_restarts": -1, "max_task_retries": RETRIES}
    return (
        ray.remote(Encoding).options(**restarts, **needs).remote(request, target, str(Path.cwd()))
    )


def _answer(ray: Any, reference: Any, shard: Shard) -> tuple[Outcome, list[str]]:
    try:
        outcome, lines = ray.get(reference)
    except ray.exceptions.RayTaskError:
        raise  # a fault in pzsl
    except ray.exceptions.RayError as error:
        raise UserError(
            f"Shard {shard} was lost {RETRIES + 1} times ({str(error).splitlines()[0][:120]}): "
            "what is encoded is kept: look at the machines of the cluster, then run the same "
            "command again."
        ) from error
    if isinstance(outcome, UserError):
        raise UserError(f"Shard {shard}: {outcome}") from outcome
    if isinstance(outcome, Exception):
        raise outcome
    return outcome, lines
