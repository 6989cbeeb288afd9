"""What makes stage two fast gives what the plain way gives."""

from __future__ import annotations

import gc
import json
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from problems import make_problem, write_cache
from quick_processes import run_python
from safetensors.torch import load_file

from pzsl.bench.paper_loop import train_paper_style, uniform_weights
from pzsl.bench.train import Size, measure_train, write_classes
from pzsl.device import cpu_threads
from pzsl.errors import UsageError, UserError
from pzsl.methods.core.adapted_method import AdaptedMethod, AdaptedOptions
from pzsl.methods.partial_label.proden import Proden
from pzsl.store import load_cache
from pzsl.training import run as run_module
from pzsl.training import train
from pzsl.training.config import expand
from pzsl.training.engines import batched as batched_module
from pzsl.training.engines import sweep as sweep_module
from pzsl.training.engines.batched import run_together
from pzsl.training.engines.job import Job, work
from pzsl.training.engines.sweep import run_sweep
from pzsl.training.loop import Fit
from pzsl.training.optimizer import AdamW


def adapted(**changes) -> AdaptedMethod:
    """A method whose adapters are far from the identity."""
    problem, _ = make_problem(images=60)
    generator = torch.Generator().manual_seed(1)
    method = Proden(problem, AdaptedOptions(rank=4, **changes), generator)
    for name, parameter in method.named_parameters():
        if name.endswith("up"):
            parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
    return method.double()


def test_a_program_gives_its_memory_back_without_the_garbage_collector(monkeypatch):
    """A circle of references would hold the state of all runs, on a GPU until it is full."""
    stacks = []

    class Noted(batched_module.Stack):
        def __init__(self, *parts) -> None:
            super().__init__(*parts)
            stacks.append(weakref.ref(self.front))

    monkeypatch.setattr(batched_module, "Stack", Noted)
    problem, _ = make_problem(images=60)
    gc.disable()
    try:
        for first in (0, 2):
            made = [torch.Generator().manual_seed(first + own) for own in (0, 1)]
            options = AdaptedOptions(rank=4, epochs=1, min_steps=1)
            fits = [Fit(Proden(problem, options, each), 0) for each in made]
            batched_module.fit_groups(fits)
            del fits
        assert len(stacks) == 2 and all(stack() is None for stack in stacks)
    finally:
        gc.enable()


@pytest.mark.parametrize("without", [{}, {"image_adapter": False}, {"label_adapter": False}])
def test_factored_logits_equal_the_plain_ones_with_their_slopes(without):
    method = adapted(**without)
    problem = method.problem
    for name in ("images", "seen", "unseen"):
        exact = F.normalize(getattr(problem, name).double(), dim=-1)
        object.__setattr__(problem, name, exact)
    method.frozen_labels = torch.cat([problem.seen, problem.unseen])
    rows = torch.tensor([5, 3, 59, 0, 17])
    pull = torch.randn(5, 8, generator=torch.Generator().manual_seed(2)).double()

    def plain():
        frozen = problem.images[rows]
        images, labels = method.image_adapter(frozen), method.label_embeddings()
        return method.logits(images, labels[:8]), method.alignment_loss(images, frozen, labels)

    found, expected = method.seen_logits(rows), plain()
    parameters = list(method.parameters())
    slopes = []
    for logits, away in (found, expected):
        slopes.append(torch.autograd.grad((logits * pull).sum() + 3 * away, parameters))
    for one, other in zip((*found, *slopes[0]), (*expected, *slopes[1]), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_kept_cosines_are_those_computed_at_each_step(monkeypatch):
    problem, _ = make_problem()
    rows = torch.tensor([3, 200, 7])
    kept = problem.cosines(rows)
    monkeypatch.setattr("pzsl.methods.core.method.KEPT", 0)
    again, _ = make_problem()
    assert torch.allclose(kept, again.cosines(rows), atol=1e-6)
    assert again._cached_cosines is None


def test_our_adamw_is_that_of_torch():
    generator = torch.Generator().manual_seed(0)
    shapes = (5, 3), (4,), (2, 2)
    start = [torch.randn(shape, generator=generator) for shape in shapes]
    ours, theirs = ([torch.nn.Parameter(value.clone()) for value in start] for _ in range(2))
    optimizer = AdamW(ours, 0.1)
    reference = torch.optim.AdamW(theirs, weight_decay=0.1)
    for step in range(30):
        rate = 0.02 * (1 - step / 30)
        for index, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            if index < 2 or step % 3 == 0:  # one parameter is left out at times
                one.grad = torch.randn(one.shape, generator=generator)
                other.grad = one.grad.clone()
        optimizer.step(rate)
        reference.param_groups[0]["lr"] = rate
        reference.step()
        reference.zero_grad()
        if step == 10:  # interrupted and resumed
            state = {key: value.clone() for key, value in optimizer.state_dict().items()}
            optimizer = AdamW(ours, 0.1)
            optimizer.load_state_dict(state)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def test_a_worker_loads_neither_torchs_compiler_nor_stage_one(tmp_path):
    cache = write_cache(tmp_path / "toy.h5")
    code = f"""
import sys
from pzsl.training import train
train({str(cache)!r}, method=["clip-pzsl", "pico"], rate=[0.3], seeds=1, workers=1,
      runs={str(tmp_path / "runs")!r}, settings={{"min_steps": 2, "epochs": 1}})
print({{"torch._dynamo", "sympy", "open_clip", "pandas"}} & set(sys.modules))
"""
    done = run_python("-c", code)
    assert done.stdout.strip() == "set()", done.stdout + done.stderr


@pytest.mark.slow
def test_a_ray_cluster_of_two_workers_writes_the_same_records(tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'pzsl[ray]'")
    cache = write_cache(tmp_path / "toy.h5")
    tables = []
    for engine, workers in (("local", 1), ("ray", 2)):
        found = train(
            cache,
            method=["clip-pzsl", "rc"],
            rate=[0.3],
            seeds=2,
            runs=tmp_path / engine,
            workers=workers,
            settings={"min_steps": 6},
            engine=engine,
        )
        drop = {"seconds", "path"}
        tables.append([{k: v for k, v in row.items() if k not in drop} for row in found["runs"]])
        records = sorted(p.relative_to(tmp_path / engine) for p in (tmp_path / engine).rglob("*"))
        tables[-1].append({"files": records})
    assert tables[0] == tables[1] and len(tables[0]) == 5


@pytest.mark.slow
def test_a_fault_on_a_ray_cluster_is_reported_in_one_line(tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'pzsl[ray]'")
    cache = write_cache(tmp_path / "toy.h5", unlabelled=1)
    source = ("made", load_cache(cache).fingerprint, "m")
    (config,) = expand(source, ["clip"], ["default"], ["file"], [0], [0], [0])
    with pytest.raises(UserError, match="holds no candidate sets"):
        run_sweep(cache, [config], tmp_path / "runs", torch.device("cpu"), 2, engine="ray")


def test_an_unknown_engine_is_refused(tmp_path):
    with pytest.raises(UsageError, match="--engine is one of local, ray, not 'spark'"):
        run_sweep(tmp_path / "c.h5", [], tmp_path, torch.device("cpu"), engine="spark")


# --- many runs in one program --------------------------------------------------------------------

NUMBERS = ("S", "U", "H", "T1", "AUSUC", "disambiguation", "entropy", "gamma")


def records(folder: Path) -> dict[str, dict]:
    """Metrics and history of each run in a folder."""
    return {
        path.parent.name: {
            "metrics": json.loads(path.read_text()),
            "history": [
                json.loads(line)
                for line in path.with_name("history.jsonl").read_text().splitlines()
            ],
            "model": load_file(path.with_name("model.safetensors")),
        }
        for path in folder.rglob("metrics.json")
    }


def jobs_for(cache: Path, folder: Path, methods: list[str], **changes) -> list[Job]:
    """Two runs of each method, of different rates and seeds."""
    budget = {"min_steps": 8, "epochs": 4, "batch_size": 32, **changes}
    grid = expand(
        ("made", load_cache(cache).fingerprint if cache.exists() else "h", "m"),
        methods,
        ["default"],
        ["noisy"],
        [0.2, 0.4],
        [0.2],
        [0, 1],
        settings=budget,
    )
    unlike = [config for config in grid if config.seed == (config.rate > 0.3)]
    return [Job(str(cache), c, str(folder / c.name), "cpu", 0.0, 2.0) for c in unlike]


def same(one: dict[str, dict], other: dict[str, dict]) -> None:
    assert one.keys() == other.keys() and one
    for name, expected in one.items():
        found = other[name]
        for key in NUMBERS:
            assert found["metrics"][key] == pytest.approx(expected["metrics"][key], abs=1e-3), key
        for a, b in zip(expected["history"], found["history"], strict=True):
            assert b["loss"] == pytest.approx(a["loss"], abs=1e-5)
        assert expected["model"].keys() == found["model"].keys()
        for key, value in expected["model"].items():
            torch.testing.assert_close(found["model"][key], value, rtol=1e-5, atol=1e-5)


CALIBRATED = ("clip-pzsl", "proden")
"""Methods whose folds are trained, too: folds share a program alike whatever the method."""


@pytest.mark.parametrize("name", ["clip-pzsl", "oracle", "proden", "rc", "cc", "cavl", "pop"])
def test_runs_in_one_program_write_the_records_of_sequential_ones(name, tmp_path, monkeypatch):
    cache, budget = write_cache(tmp_path / "toy.h5", each=12), {"calibrate": name in CALIBRATED}
    with cpu_threads(torch.device("cpu")):
        for job in jobs_for(cache, tmp_path / "one", [name], **budget):
            work(job)
        together = []
        group = batched_module.fit_together
        monkeypatch.setattr(
            batched_module, "fit_together", lambda fits: together.append(len(fits)) or group(fits)
        )
        assert len(list(run_together(jobs_for(cache, tmp_path / "all", [name], **budget)))) == 2
    assert together[0] == 2 and (len(together) >= 5) is budget["calibrate"]  # then their folds
    same(records(tmp_path / "one"), records(tmp_path / "all"))


def test_methods_that_cannot_share_a_program_run_beside_those_that_can(tmp_path):
    cache = write_cache(tmp_path / "toy.h5", each=12)
    names = ["pico", "clip", "proden", "probe"]
    short = {"epochs": 2, "min_steps": 4}
    with cpu_threads(torch.device("cpu")):
        for job in jobs_for(cache, tmp_path / "one", names, **short):
            work(job)
        list(run_together(jobs_for(cache, tmp_path / "all", names, **short)))
    same(records(tmp_path / "one"), records(tmp_path / "all"))


def test_a_subclass_does_not_inherit_that_its_runs_can_share_a_program():
    class Changed(Proden):
        """Could compare the images of a batch, which `Proden` does not."""

    problem, _ = make_problem(images=60)
    makers = (kind(problem, AdaptedOptions(), torch.Generator()) for kind in (Proden, Changed))
    assert [method.stackable for method in makers] == [True, False]


def test_runs_in_one_program_go_on_from_their_checkpoints(tmp_path, monkeypatch):
    cache = write_cache(tmp_path / "toy.h5", each=24)
    cut = jobs_for(cache, tmp_path / "cut", ["clip-pzsl"])
    save = run_module.Saver.__call__

    def stop(self, method, optimizer, epoch, history):
        save(self, method, optimizer, epoch, history)
        if epoch == 1 and "cut" in str(self.path) and str(cut[-1].folder) in str(self.path):
            raise KeyboardInterrupt

    with cpu_threads(torch.device("cpu")):
        monkeypatch.setattr(run_module.Saver, "__call__", stop)
        with pytest.raises(KeyboardInterrupt):
            list(run_together(cut))
        monkeypatch.undo()
        assert len(list((tmp_path / "cut").rglob("checkpoint.safetensors"))) == 2
        list(run_together(cut))
        list(run_together(jobs_for(cache, tmp_path / "whole", ["clip-pzsl"])))
    same(records(tmp_path / "whole"), records(tmp_path / "cut"))


def test_a_gpu_does_many_runs_in_one_program_and_a_cpu_a_process_each(tmp_path, monkeypatch):
    called = []

    def engine(name):
        return lambda jobs, *workers: called.append((name, *workers)) or iter(())

    monkeypatch.setattr(sweep_module, "run_on_gpu", engine("one program"))
    monkeypatch.setattr(sweep_module, "run_on_processes", engine("processes"))
    monkeypatch.setattr(sweep_module, "one_by_one", engine("here"))
    grid = [job.config for job in jobs_for(tmp_path / "c.h5", tmp_path, ["proden"])]
    for device, workers in (("cuda", None), ("cpu", 2), ("cuda", 1)):
        run_sweep(tmp_path / "c.h5", grid, tmp_path, torch.device(device), workers)
    assert called == [("one program", torch.device("cuda")), ("processes", 2), ("here",)]


# --- pzsl bench train ----------------------------------------------------------------------------


def test_the_paper_style_loop_disambiguates_too(tmp_path):
    size = Size(240, 8, 12, 64)
    cache = load_cache(write_classes(tmp_path / "made.h5", size))
    start = uniform_weights(cache, np.flatnonzero(cache.splits == "trainval"), 0.3, 0)
    weights = train_paper_style(cache, 2, 0.3)
    assert torch.allclose(weights.sum(1), torch.ones(240), atol=1e-5)
    assert ((weights > 0) <= (start > 0)).all()
    truth = torch.arange(240) % 8
    assert (weights.argmax(1) == truth).float().mean() > 0.9


@pytest.mark.slow
def test_a_short_look_at_training_gives_all_figures():
    found = measure_train(quick=True)
    assert found["ratios"].keys() >= {"sweep, paper-style run = 1"}
    assert all(value > 0 for value in found["ratios"].values())
    assert found["setting"]["runs of the sweep"] == 4
