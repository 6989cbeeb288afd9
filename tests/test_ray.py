"""Runs on a Ray cluster, for which a double stands in: tasks are done at once, in this process."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pretend_device import PretendDevice
from problems import write_cache

from pzsl import extract, train
from pzsl.errors import UsageError, UserError
from pzsl.training.engines import on_gpu
from pzsl.training.engines.on_ray import RETRIES, shares
from pzsl.training.engines.sweep import run_sweep


class Cluster:
    """Stands in for the module `ray`.

    Attributes:
        tasks: what each task needs, and how many runs it does.
        lost: how often the next task loses its machine once it is done, and is repeated.
    """

    def __init__(self, lost: int = 0, **resources: float) -> None:
        self.tasks: list[tuple[dict[str, float], int]] = []
        self.resources, self.lost = resources, lost
        self.exceptions = SimpleNamespace(RayTaskError=KeyError, RayError=ConnectionError)

    def is_initialized(self) -> bool:
        return True

    def cluster_resources(self) -> dict[str, float]:
        return self.resources

    def remote(self, function: Any) -> Any:
        def options(max_retries: int, **needs: float) -> Any:
            def do(share: Sequence[Any]) -> bytes:
                self.tasks.append((needs, len(share)))
                share = pickle.loads(pickle.dumps(share))
                for _ in range(min(self.lost, max_retries)):
                    function(share)
                return pickle.dumps(function(share))

            return SimpleNamespace(remote=do)

        return SimpleNamespace(options=options)

    def wait(self, waiting: list[bytes]) -> tuple[list[bytes], list[bytes]]:
        return waiting[:1], waiting[1:]

    def get(self, answer: bytes) -> Any:
        return pickle.loads(answer)


def join(monkeypatch: pytest.MonkeyPatch, cluster: Cluster) -> Cluster:
    monkeypatch.setitem(sys.modules, "ray", cluster)
    return cluster


def sweep(folder: Path, device: str, **more: Any) -> list[dict[str, Any]]:
    (folder / more["engine"]).mkdir()
    cache = write_cache(folder / more["engine"] / "c.h5", each=12)
    settings = {"min_steps": 4, "epochs": 2, "batch_size": 32, "calibrate": False}
    found = train(
        cache, method=["proden"], rate=[0.3], seeds=3, runs=folder / more["engine"], device=device,
        settings=settings, **more,
    )["runs"]  # fmt: skip
    return [{k: v for k, v in row.items() if k not in ("seconds", "path")} for row in found]


@pytest.mark.parametrize(("gpus", "together"), [(1, [3]), (2, [2, 1])])
def test_runs_share_the_gpu_of_a_task_as_they_do_without_ray(gpus, together, tmp_path, monkeypatch):
    cluster, programs = join(monkeypatch, Cluster(CPU=4, GPU=gpus)), []
    real = on_gpu.run_together
    monkeypatch.setattr(
        on_gpu, "run_together", lambda group: programs.append(len(group)) or real(group)
    )
    with PretendDevice("cuda"):
        on_ray = sweep(tmp_path, "cuda", engine="ray")
        assert cluster.tasks == [({"num_gpus": 1}, runs) for runs in together]
        assert programs == together
        assert on_ray == sweep(tmp_path, "cuda", engine="local")


def test_without_gpus_each_run_is_a_task_with_its_threads(tmp_path, monkeypatch):
    cluster = join(monkeypatch, Cluster(CPU=4))
    on_ray = sweep(tmp_path, "cpu", engine="ray", threads=2)
    assert cluster.tasks == [({"num_cpus": 2}, 1)] * 3
    assert on_ray == sweep(tmp_path, "cpu", engine="local", threads=2, workers=1)


def test_a_task_that_is_repeated_does_no_run_twice(tmp_path, monkeypatch):
    join(monkeypatch, Cluster(CPU=4, GPU=1, lost=RETRIES))
    programs, real = [], on_gpu.run_together
    monkeypatch.setattr(
        on_gpu, "run_together", lambda group: programs.append(len(group)) or real(group)
    )
    with PretendDevice("cuda"):
        assert len(sweep(tmp_path, "cuda", engine="ray")) == 3
    assert programs == [3]


def test_runs_are_divided_so_that_no_gpu_is_idle_and_no_program_too_large():
    def job(method: str) -> Any:
        return SimpleNamespace(config=SimpleNamespace(method=method, preset="", labels=""))

    jobs = [job(method) for method in ["rc", "cc"] * 40]
    assert [len(share) for share in shares(jobs, 2)] == [32, 32, 16]
    assert [len(share) for share in shares(jobs, 8)] == [10] * 8
    assert {one.config.method for one in shares(jobs, 8)[0]} == {"cc"}
    assert len(shares(jobs, None)) == 80


def test_a_machine_without_gpu_can_send_runs_to_a_cluster_that_has_one(tmp_path, monkeypatch):
    cache = write_cache(tmp_path / "c.h5")
    sent = []
    monkeypatch.setattr("pzsl.training.run_sweep", lambda *args: sent.append(args[3]) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(cache, runs=tmp_path, device="cuda", engine="ray")
    assert sent == [torch.device("cuda")]
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="has no device 'cuda'"):
            train(cache, runs=tmp_path, device="cuda")


def test_a_cluster_without_gpus_is_refused_instead_of_waited_for(tmp_path, monkeypatch):
    cluster = join(monkeypatch, Cluster(CPU=4))
    with pytest.raises(UserError, match="No machine of the Ray cluster has a GPU"):
        sweep(tmp_path, "cuda", engine="ray")
    assert not cluster.tasks


def test_a_numbered_gpu_is_refused_where_ray_assigns_them(tmp_path):
    for call in (
        lambda: train(tmp_path / "c.h5", device="cuda:1", engine="ray"),
        lambda: extract("shapes", device="cuda:1", engine="ray"),
        lambda: extract("shapes", devices="cuda,cuda:1", engine="ray"),
        lambda: extract("shapes", devices=["cuda:1"], engine="ray"),
    ):
        with pytest.raises(UsageError, match=r"^'cuda:1' has a number, .*write cuda"):
            call()
    assert not run_sweep(tmp_path / "c.h5", [], tmp_path, torch.device("cuda"), engine="ray")
