"""Sweeps in which something goes wrong: a run, a process, the user's patience, a script."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from pretend_device import PretendDevice
from problems import write_cache
from quick_processes import train_process

from pzsl.errors import UserError
from pzsl.store import load_cache
from pzsl.training.config import RunConfig, expand
from pzsl.training.engines import budget, job, on_gpu
from pzsl.training.engines.budget import fill
from pzsl.training.engines.sweep import run_sweep
from pzsl.workers import WorkerPool

CPU = torch.device("cpu")


def grid(
    cache: Path, rates: list[float], lr: float = 0.001, seeds: int = 1, **budget
) -> list[RunConfig]:
    source = ("made", load_cache(cache).fingerprint, "m")
    settings = {"min_steps": 6, "epochs": 2, "batch_size": 64, "lr": lr, "calibrate": False}
    settings |= budget
    return expand(
        source, ["proden"], ["default"], ["uniform"], rates, [0], range(seeds), "text", settings
    )


@pytest.fixture
def cache(tmp_path) -> Path:
    return write_cache(tmp_path / "c.h5")


def finished(folder: Path) -> int:
    return len(list(folder.rglob("metrics.json")))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_that_fails_leaves_a_word_and_the_others_go_on(cache, workers, tmp_path):
    bad, good = grid(cache, [0.1], lr=1e30), grid(cache, [0.2, 0.4])
    with pytest.raises(UserError, match=rf"1 of 3 runs failed, the first is {bad[0].name}: .*lr="):
        run_sweep(cache, bad + good, tmp_path / "runs", CPU, workers)
    assert finished(tmp_path / "runs") == 2
    (failed,) = (tmp_path / "runs").rglob("failed.json")
    assert failed.parent.name == bad[0].name
    assert "the training diverged" in json.loads(failed.read_text())["reason"]
    with pytest.raises(UserError, match="1 of 1 runs failed"):
        run_sweep(cache, bad, tmp_path / "runs", CPU, 1)


def test_runs_in_one_program_go_on_where_one_of_them_diverges(cache, tmp_path):
    configs = grid(cache, [0.2, 0.4]) + grid(cache, [0.1, 0.3], lr=1e30)
    jobs = [job.Job(str(cache), c, str(tmp_path / c.name), "cpu", 10.0, 2.0) for c in configs]
    outcomes = list(on_gpu.run_on_gpu(jobs, CPU))
    assert len(outcomes) == 4 and sum(one.failure is not None for one in outcomes) == 2
    assert finished(tmp_path) == 2 and len(list(tmp_path.rglob("failed.json"))) == 2


def test_groups_are_filled_up_to_the_budget_and_a_large_run_has_its_own():
    sizes = [3, 3, 3, 9, 1, 1]
    found = fill(sizes, 10, lambda _: 2, lambda size: size)
    assert found == [[3, 3], [3], [9], [1, 1]]
    assert len(fill([0] * 70, 10, lambda _: 0, lambda _: 0)) == 3


def gpu_runs(tmp_path: Path, runs: int, memory: int, monkeypatch) -> list[int]:
    """Runs on a pretended GPU of so many bytes: how many shared each program."""
    cache = write_cache(tmp_path / "c.h5", each=100, dim=256)  # half a mebibyte of features
    configs = grid(cache, [0.1], seeds=runs, epochs=1, min_steps=1, batch_size=128, calibrate=True)
    groups, real = [], on_gpu.run_together

    def counted(group):
        groups.append(len(group))
        return real(group)

    monkeypatch.setattr(on_gpu, "run_together", counted)
    monkeypatch.setattr(on_gpu, "one_by_one", None)  # nothing else may end a program
    with PretendDevice("cuda", memory) as device:
        assert run_sweep(cache, configs, tmp_path / "runs", device.device) == runs
        assert device.most <= memory
    assert finished(tmp_path / "runs") == runs
    return groups


def test_runs_on_a_gpu_stay_within_its_memory(tmp_path, monkeypatch):
    assert gpu_runs(tmp_path, 3, 10 << 20, monkeypatch) == [2, 1]


def test_fewer_runs_share_a_gpu_when_its_memory_runs_out(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(budget, "fill", lambda jobs, *_: [list(jobs)])  # a guess that is too low
    groups = gpu_runs(tmp_path, 4, 5 << 20, monkeypatch)
    assert groups[0] == 4 and max(groups[1:]) == 2
    assert "Out of memory with 4 runs in one program: continuing with 2." in capsys.readouterr().err


def test_a_failure_is_forgotten_when_the_run_succeeds(cache, tmp_path):
    (config,) = grid(cache, [0.1])
    (tmp_path / config.name).mkdir()
    (tmp_path / config.name / "failed.json").write_text("{}")
    run_sweep(cache, [config], tmp_path, CPU, 1)
    assert not (tmp_path / config.name / "failed.json").exists() and finished(tmp_path) == 1


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_a_killed_worker_is_replaced_and_its_run_gone_on_with(cache, tmp_path, monkeypatch, capsys):
    real = WorkerPool.assign
    killed = []

    def assign_and_kill(self, worker, job):
        real(self, worker, job)
        if not killed:
            killed.append(job.config.name)
            worker.process.kill()

    monkeypatch.setattr(WorkerPool, "assign", assign_and_kill)
    assert run_sweep(cache, grid(cache, [0.1, 0.2, 0.3]), tmp_path, CPU, 2) == 3
    assert finished(tmp_path) == 3
    assert f"The process of run {killed[0]} on cpu was ended by signal 9" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_a_run_whose_workers_all_die_is_given_up_in_one_line(cache, tmp_path, monkeypatch):
    real = WorkerPool.assign

    def assign_and_kill(self, worker, job):
        real(self, worker, job)
        worker.process.kill()

    monkeypatch.setattr(WorkerPool, "assign", assign_and_kill)
    with pytest.raises(UserError, match=r"2 of 2 .*4 times, often for lack of .*the same command"):
        run_sweep(cache, grid(cache, [0.1, 0.2]), tmp_path, CPU, 2)
    assert len(list(tmp_path.rglob("failed.json"))) == 2


def test_a_run_out_of_memory_is_reported_and_the_others_go_on(cache, tmp_path, monkeypatch):
    bad, good = grid(cache, [0.1]), grid(cache, [0.2, 0.4])
    real = job.execute

    def short(cache, config, *rest):
        if config.name == bad[0].name:
            raise MemoryError
        return real(cache, config, *rest)

    monkeypatch.setattr(job, "execute", short)
    with pytest.raises(UserError, match=rf"1 of 3 .*{bad[0].name}: It lacked memory.*the same com"):
        run_sweep(cache, bad + good, tmp_path / "runs", CPU, 1)
    assert finished(tmp_path / "runs") == 2


@pytest.mark.skipif(os.name == "nt", reason="signals as on POSIX")
@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_interrupt_says_at_once_how_far_the_sweep_is(cache, workers, tmp_path):
    words = ["--runs", "runs", "--set", "epochs=100000", "--workers", workers]
    process = train_process(cache, *words, cwd=tmp_path)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list(tmp_path.rglob("checkpoint.safetensors")):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    done = process.wait(60)
    assert "Stopped: 0 of 2 runs are done: run the same command to resume." in done.stderr
    assert "Traceback" not in done.stderr and done.returncode != 0


def run_unguarded(folder: Path, text: str) -> str:
    """What a script says that starts processes at its top level; they start as users' do."""
    script = folder / "script.py"
    script.write_text(f"print('begun')\n{text}")
    done = subprocess.run(
        [sys.executable, script.name], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_script_without_a_main_guard_starts_processes(tmp_path):
    text = (
        f"import sys; sys.path.append({str(Path(__file__).parent)!r})\n"
        "import workers; from pzsl.workers import WorkerPool\n"
        "with WorkerPool(workers.mostly_dying, ['a', 'b'], str, '') as pool:\n"
        "    print(sorted(value for _, _, value in pool.run_all(['cpu', 'cpu'])))\n"
    )
    assert run_unguarded(tmp_path, text).splitlines() == ["begun", "['aa', 'bb']"]


@pytest.mark.slow  # three processes that import torch
def test_a_script_without_a_main_guard_trains_on_processes(tmp_path):
    write_cache(tmp_path / "c.h5")
    text = (
        "import pzsl\npzsl.train('c.h5', method='clip', rate=0.1, seeds=2, runs='runs', workers=2)"
    )
    assert run_unguarded(tmp_path, text).count("begun") == 1
    assert finished(tmp_path / "runs") == 2
