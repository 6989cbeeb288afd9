"""CPU threads of a run: what they may change, and how processes and threads share the cores."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from problems import make_problem, write_cache
from safetensors.torch import load_file

from pzsl import PartialLabelClassifier, train
from pzsl.device import cpu_threads
from pzsl.errors import UsageError
from pzsl.inference import estimator as estimator_module
from pzsl.training.engines import sweep as sweep_module
from pzsl.training.engines.sweep import default_workers

CPU = torch.device("cpu")
IMAGES_PER_CLASS = 250
"""Enough that torch splits the passes over all images between threads."""
LAST_BITS = 1e-5
LESS_THAN_AN_IMAGE = 1e-3
"""Metrics are in percent: the area under a curve follows the last bits of scores, one image more
or less that is right is worth far more."""


@pytest.mark.parametrize("method", ["clip-pzsl", "pico"])
def test_a_run_on_two_threads_has_the_numbers_of_one_thread(method, tmp_path):
    cache = write_cache(tmp_path / "c.h5", seen=24, each=IMAGES_PER_CLASS)
    rows, models = [], []
    for threads in (1, 2):
        found = train(
            cache,
            method=method,
            rate=0.3,
            seeds=1,
            runs=tmp_path / str(threads),
            settings={"epochs": 2, "min_steps": 4},
            workers=1,
            threads=threads,
        )
        row = found["runs"][0]
        record = Path(row["path"])
        environment = json.loads((record / "env.json").read_text(encoding="utf-8"))
        assert environment["threads"] == threads
        rows.append([row[name] for name in ("S", "U", "H", "AUSUC", "disambiguation", "gamma")])
        models.append(load_file(record / "model.safetensors"))
    assert rows[0] == pytest.approx(rows[1], abs=LESS_THAN_AN_IMAGE)
    for name, expected in models[0].items():
        torch.testing.assert_close(models[1][name], expected, rtol=LAST_BITS, atol=LAST_BITS)


def test_processes_and_threads_share_the_cores(monkeypatch):
    monkeypatch.setattr(sweep_module, "cores", lambda: 8)
    shared = {threads: default_workers(CPU, runs=25, threads=threads) for threads in (1, 3, 8, 16)}
    assert shared == {1: 8, 3: 2, 8: 1, 16: 1}
    assert default_workers(CPU, runs=1, threads=2) == 1
    assert default_workers(torch.device("cuda"), runs=25, threads=1) == 1


def test_more_threads_than_cores_are_reported(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sweep_module, "cores", lambda: 1)
    cache = write_cache(tmp_path / "c.h5")
    train(cache, method="clip", rate=0.1, seeds=1, runs=tmp_path / "runs", threads=2)
    assert "1 x 2 threads share 1 core" in capsys.readouterr().err


@pytest.mark.parametrize("threads", [0, -1, 1.5, 10**6])
def test_a_wrong_number_of_threads_is_refused_in_one_line(threads, tmp_path):
    with pytest.raises(UsageError, match=r"^--threads should be a whole number from 1 to 1,024"):
        train(tmp_path / "c.h5", threads=threads)


@pytest.mark.parametrize(
    ("n_jobs", "threads"), [(None, 1), (1, 1), (3, 3), (-1, 4), (-2, 3), (-9, 1)]
)
def test_the_estimator_counts_n_jobs_as_scikit_learn_does(n_jobs, threads, monkeypatch):
    used = []

    def noted(device, count):
        used.append(count)
        return cpu_threads(device, count)

    monkeypatch.setattr(estimator_module, "cores", lambda: 4)
    monkeypatch.setattr(estimator_module, "cpu_threads", noted)
    problem, truth = make_problem(images=48)
    before = torch.get_num_threads()
    model = PartialLabelClassifier("prototype", scale=20.0, device="cpu", n_jobs=n_jobs)
    model.fit(problem.images.numpy(), truth)
    assert used == [threads] and torch.get_num_threads() == before


@pytest.mark.parametrize("n_jobs", [0, 1.5, "all"])
def test_the_estimator_refuses_a_wrong_n_jobs_in_one_line(n_jobs):
    problem, truth = make_problem(images=48)
    model = PartialLabelClassifier("prototype", device="cpu", n_jobs=n_jobs)
    with pytest.raises(UsageError, match=r"^n_jobs should be None or a whole"):
        model.fit(problem.images.numpy(), truth)
