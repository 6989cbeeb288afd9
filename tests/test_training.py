"""The loop, calibration, checkpoints, records and sweeps of stage two."""

from __future__ import annotations

import itertools
import json
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from problems import make_problem, prepared, unit, write_cache
from quick_processes import train_process

from pzsl.candidates import CandidateSets, generate
from pzsl.errors import UsageError, UserError
from pzsl.methods import make_options
from pzsl.methods.clip_pzsl.method import ClipPzsl
from pzsl.store import load_cache
from pzsl.training import folds, train
from pzsl.training import loop as loop_module
from pzsl.training import run as run_module
from pzsl.training.calibration import refined_labels
from pzsl.training.config import RunConfig, expand
from pzsl.training.folds import SHARES, fold_fits, hold_out, unseen_names
from pzsl.training.label_embeddings import project_attributes
from pzsl.training.loop import batches, epoch_generator, finite_loss, fit, fit_all, learning_rate
from pzsl.training.run import execute
from pzsl.training.settings import read_config, read_settings

SOURCE = ("made", "hash", "model")
QUICK = {"min_steps": 6, "epochs": 3, "batch_size": 64}


@pytest.fixture
def cache(tmp_path) -> Path:
    return write_cache(tmp_path / "toy.h5")


def train_briefly(cache: Path, runs: Path, **words) -> list[dict]:
    """The runs of a sweep in this process, of one seed and few steps unless told otherwise."""
    given = {"seeds": 1, "workers": 1, "settings": {"min_steps": 6}} | words
    return train(cache, runs=runs, **given)["runs"]


def config_of(rate: float, seed: int, **settings) -> RunConfig:
    grid = [["clip-pzsl"], ["default"], ["uniform"], [rate], [0], [seed]]
    (config,) = expand(SOURCE, *grid, settings=settings)
    return config


def clip_pzsl(problem, seed, **options):
    settings = make_options("clip-pzsl", changes=QUICK | options)
    return prepared(ClipPzsl(problem, settings, torch.Generator().manual_seed(seed)))


def test_batches_are_a_seeded_partition_of_near_equal_size():
    found = list(batches(torch.empty(103, 2), 10, epoch_generator(3, 1)))
    assert sorted(torch.cat(found).tolist()) == list(range(103))
    assert {len(rows) for rows in found} <= {9, 10}
    again = list(batches(torch.empty(103, 2), 10, epoch_generator(3, 1)))
    other = list(batches(torch.empty(103, 2), 10, epoch_generator(3, 2)))
    assert torch.equal(torch.cat(found), torch.cat(again))
    assert not torch.equal(torch.cat(found), torch.cat(other))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_weight_that_is_not_finite_ends_the_training(bad):
    method = clip_pzsl(make_problem(images=20)[0], 0)
    assert finite_loss(1.5, method, 0) == 1.5
    method.weights[3] = bad
    with pytest.raises(UserError, match="diverged"):
        finite_loss(1.5, method, 0)


def test_the_learning_rate_falls_from_base_to_nothing():
    rates = [learning_rate(0.1, step, 50) for step in range(51)]
    assert rates[0] == pytest.approx(0.1) and rates[-1] == pytest.approx(0, abs=1e-12)
    assert all(a > b for a, b in itertools.pairwise(rates))


def test_training_sharpens_weights_and_finds_the_truth():
    problem, truth = make_problem(rate=0.5, images=400)
    method = clip_pzsl(problem, 0, min_steps=60)
    start = method.weights.clone()
    fit(method, 0)
    assert (refined_labels(method).numpy() == truth).mean() > 0.98
    sums = torch.zeros(len(truth)).index_add_(
        0, torch.repeat_interleave(method.candidates.sizes), method.weights
    )
    assert torch.allclose(sums, torch.ones(len(truth)), atol=1e-4)
    assert (method.weights**2).sum() > (start**2).sum()


def test_label_weights_stay_those_of_clip_unless_they_are_updated_or_progressive():
    problem, _ = make_problem()
    method = clip_pzsl(problem, 0, left_out=False)
    start = method.weights.clone()
    fit(method, 0)
    assert torch.equal(method.weights, start)
    for changes in ({}, {"left_out": False, "progressive": True}):
        assert not torch.equal(fit(clip_pzsl(problem, 0, **changes), 0).weights, start)


@pytest.mark.parametrize(
    "part",
    [
        *("noise_model", "left_out", "label_updates", "prototypes", "whiten", "hubness"),
        *("image_adapter", "label_adapter"),
    ],
)
def test_each_part_of_the_default_can_be_switched_off_and_matters(part):
    problem, _ = make_problem(rate=0.5, eta=0.2)
    off = {"hubness": 0.0, "label_updates": 0}.get(part, False)
    whole, without = (
        fit(clip_pzsl(problem, 0, **changes), 0).scores(problem.images)
        for changes in ({}, {part: off})
    )
    assert not torch.allclose(whole, without)


@pytest.mark.parametrize("part", ["k_means", "self_attention", "feed_forward"])
@pytest.mark.parametrize("points", ["none", "centroids", "test"])
def test_each_part_of_the_block_can_be_switched_on_alone(part, points):
    problem, _ = make_problem()
    method = fit(clip_pzsl(problem, 0, **{part: True}, unseen_points=points), 0)
    assert method.scores(problem.images).isfinite().all()


def test_holding_out_renumbers_what_is_left():
    problem, _ = make_problem(images=24, seen=6, unseen=2)
    kept = torch.tensor([True, False, True, True, False, True])
    train_rows = torch.arange(0, 24, 2)
    part = hold_out(problem, kept, train_rows)
    assert part.seen.shape == (4, 16) and part.unseen.shape == (4, 16)
    assert torch.equal(part.unseen[:2], problem.seen[~kept])
    old, new = problem.candidates, part.candidates
    number = {0: 0, 2: 1, 3: 2, 5: 3}
    for at, row in enumerate(train_rows.tolist()):
        before = old.labels[old.offsets[row] : old.offsets[row + 1]].tolist()
        expected = [number[label] for label in before if label in number] or [0, 1, 2, 3]
        assert new.labels[new.offsets[at] : new.offsets[at + 1]].tolist() == expected


def test_folds_keep_the_proportion_of_seen_and_unseen():
    assert unseen_names(30, 40, 20) == 5  # 30 : (10 + 5) = 40 : 20
    assert unseen_names(30, 40, 4) == 0


def test_held_out_images_never_take_part_in_their_fold():
    problem, truth = make_problem(images=160)
    used = []

    def make(part, seed):
        used.append(part)
        return clip_pzsl(part, seed)

    held = fit_all(fold_fits(make, problem, torch.from_numpy(truth), 0))
    assert len(held) == 4
    for part, summaries in zip(used, held, strict=True):
        assert len(summaries) == len(SHARES)
        summary = summaries[-1]
        assert len(part.images) + len(summary.label) == 160
        trained = {tuple(image) for image in part.images[torch.arange(len(part.images))].tolist()}
        rows = [i for i, image in enumerate(problem.images.tolist()) if tuple(image) not in trained]
        assert sorted(truth[rows]) == sorted(summary.label)
        assert set(np.unique(summary.label[~summary.is_seen])).isdisjoint(
            summary.label[summary.is_seen]
        )


def test_folds_of_very_many_images_share_a_random_sample_of_them(monkeypatch):
    problem, truth = make_problem(images=160)
    labels, told, sizes = torch.from_numpy(truth), [], []
    monkeypatch.setattr(folds, "VERY_MANY", 100)
    monkeypatch.setattr(folds, "SAMPLE", 60)
    monkeypatch.setattr(folds, "PER_CLASS", 1)

    def make(part, seed):
        sizes.append(len(part.images))
        return clip_pzsl(part, seed)

    def on_fold(method, seen_classes, held_out):
        told.append(held_out)

    summaries = fit_all(fold_fits(make, problem, labels, 0, on_fold))
    for held_out, size, (summary, *_) in zip(told, sizes, summaries, strict=True):
        assert size + len(held_out) == 60
        assert summary.label.tolist() == labels[held_out].tolist()  # rows of the whole problem
    rows = torch.cat(told).unique()
    assert len(rows) > 40 and rows.max() > 140, "the sample is of all images, not of the first"
    again = []
    fit_all(fold_fits(make, problem, labels, 1, lambda method, seen, rows: again.append(rows)))
    assert not torch.equal(rows, torch.cat(again).unique()), "the seed draws it"
    monkeypatch.setattr(folds, "PER_CLASS", per_class := 80 // len(problem.seen))
    told.clear(), sizes.clear()
    fit_all(fold_fits(make, problem, labels, 0, on_fold))
    assert sizes[0] + len(told[0]) == per_class * len(problem.seen) > 60


def test_refined_labels_take_the_first_of_equal_weights():
    problem, _ = make_problem(images=12)
    method = clip_pzsl(problem, 0)
    method.weights.copy_(method.candidates.uniform())
    first = method.candidates.labels[method.candidates.offsets[:-1]]
    assert torch.equal(refined_labels(method), first.long())


def test_an_interrupted_run_ends_with_the_same_numbers(cache, tmp_path, monkeypatch):
    config = config_of(0.4, 1, min_steps=12, epochs=4, batch_size=32)
    data, device = load_cache(cache), torch.device("cpu")
    whole = execute(data, config, tmp_path / "whole", device)

    save = run_module.Saver.__call__

    def cut(self, method, optimizer, epoch, history):
        save(self, method, optimizer, epoch, history)
        if epoch == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(run_module.Saver, "__call__", cut)
    with pytest.raises(KeyboardInterrupt):
        execute(data, config, tmp_path / "cut", device, checkpoint_seconds=0)
    assert not (tmp_path / "cut" / "metrics.json").exists()
    monkeypatch.undo()
    seen = []
    monkeypatch.setattr(
        loop_module,
        "fit",
        lambda m, s, o, start, note: seen.append(start) or fit(m, s, o, start, note),
    )
    resumed = execute(data, config, tmp_path / "cut", device)
    assert seen == [2, 0, 0, 0, 0]  # the folds of the calibration start anew
    del whole["seconds"], resumed["seconds"]
    assert whole == resumed
    for file in ("history.jsonl", "details.json"):
        whole_text, cut_text = ((tmp_path / name / file).read_text() for name in ("whole", "cut"))
        assert whole_text == cut_text


def wait_for(there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not there():
        time.sleep(0.02)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_train_killed_between_epochs_goes_on_to_the_same_table(tmp_path):
    cache = write_cache(tmp_path / "toy.h5", each=30)
    words = ["--workers", "1", "--set", "epochs=6,batch_size=32", "--off", "calibrate"]
    process = train_process(cache, *words, "--runs", tmp_path / "cut")
    wait_for(lambda: any((tmp_path / "cut").rglob("checkpoint*")))
    process.kill()
    process.wait()
    assert list((tmp_path / "cut").rglob("checkpoint.safetensors"))
    assert len(list((tmp_path / "cut").rglob("metrics.json"))) < 2
    tables = []
    settings = {"epochs": 6, "batch_size": 32, "calibrate": False}
    for folder in ("cut", "whole"):
        rows = train_briefly(cache, tmp_path / folder, rate=0.4, seeds=2, settings=settings)
        tables.append(
            [{k: v for k, v in row.items() if k not in ("seconds", "path")} for row in rows]
        )
    assert tables[0] == tables[1] and len(tables[0]) == 2


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_the_workers_of_a_killed_sweep_end_with_it(tmp_path):
    cache = write_cache(tmp_path / "toy.h5", each=30)
    words = ["--workers", "2", "--set", "epochs=100000,batch_size=16"]
    process = train_process(cache, *words, "--runs", tmp_path)

    def saved() -> list[float]:
        return [path.stat().st_mtime for path in sorted(tmp_path.rglob("checkpoint.safetensors"))]

    wait_for(lambda: len(saved()) == 2)
    process.kill()
    process.wait()

    def ended() -> bool:
        before = saved()
        time.sleep(0.5)
        return saved() == before

    wait_for(ended)  # a busy machine takes its time
    assert ended() and len(saved()) == 2


def test_a_sweep_writes_records_and_skips_what_is_finished(cache, tmp_path):
    grid = {"method": ["clip", "clip-pzsl"], "rate": [0.2], "seeds": 2}
    first = train_briefly(cache, tmp_path / "runs", **grid)
    assert len(first) == 4
    for row in first:
        folder = Path(row["path"])
        names = {"config.json", "metrics.json", "history.jsonl", "env.json", "model.safetensors"}
        names |= {"details.json", "calibration.json"}
        assert {file.name for file in folder.iterdir()} == names
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("metrics.json")}
    assert train_briefly(cache, tmp_path / "runs", **grid) == first
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    learned = [row for row in first if row["method"] == "clip-pzsl"]
    assert all(row["disambiguation"] > 80 for row in learned)


def test_processes_do_not_change_the_numbers(cache, tmp_path):
    tables = []
    for workers in (1, 2):
        runs = tmp_path / str(workers)
        rows = train_briefly(cache, runs, rate=[0.3], seeds=2, workers=workers)
        tables.append([(row["H"], row["gamma"], row["disambiguation"]) for row in rows])
    assert tables[0] == tables[1]


def test_the_trainer_never_sees_a_test_label(cache, tmp_path):
    """Wrong test labels and images change the metrics, but nothing that was learned."""
    data = load_cache(cache)
    test = data.splits != "trainval"
    labels = data.labels.copy()
    rng = np.random.default_rng(0)
    for side in (True, False):
        rows = np.flatnonzero(test & (data.seen[labels] == side))
        labels[rows] = rng.permutation(labels[rows])
    spoilt = replace(data, labels=labels)
    config, device = config_of(0.3, 0, min_steps=6), torch.device("cpu")
    honest, other = (
        execute(each, config, tmp_path / name, device)
        for each, name in ((data, "a"), (spoilt, "b"))
    )
    assert honest["gamma"] == other["gamma"] and honest["entropy"] == other["entropy"]
    assert honest["S"] != other["S"]


def test_candidates_of_the_data_are_used_and_asked_for(tmp_path):
    plain, own = write_cache(tmp_path / "a.h5"), write_cache(tmp_path / "b.h5", candidates=True)
    runs, grid = tmp_path / "runs", {"noise": ["file"], "rate": [0.1, 0.3]}
    with pytest.raises(UserError, match="--few-shot 2 has no true one to give"):
        train_briefly(plain, runs, few_shot=[2], **grid)
    (row,) = train_briefly(plain, runs, **grid)  # one label an image
    assert row["disambiguation"] is None  # what is asked about is not the truth
    (row,) = train_briefly(own, runs, **grid)
    assert row["rate"] is None
    metrics = json.loads((Path(row["path"]) / "metrics.json").read_text())
    assert metrics["mean_candidates"] == 2


def test_a_known_linear_map_from_attributes_recovers_unseen_classes(tmp_path):
    rng = np.random.default_rng(0)
    attributes = rng.standard_normal((40, 12)).astype(np.float32)
    centres = attributes @ rng.standard_normal((12, 32)) + 0.5
    path = write_cache(
        tmp_path / "att.h5", seen=30, unseen=10, centres=centres, attributes=attributes, spread=0.08
    )
    grid = {"method": ["clip", "clip-pzsl"], "rate": [0.1], "labels": "attributes"}
    rows = train_briefly(path, tmp_path / "runs", **grid, settings={"min_steps": 30})
    assert all(row["T1"] > 95 for row in rows), rows


def test_the_projection_equals_plain_ridge_regression_without_noise():
    rng = np.random.default_rng(1)
    attributes = rng.standard_normal((6, 3)).astype(np.float32)
    labels = np.arange(60) % 4
    images = unit(rng.standard_normal((60, 8)))
    seen = np.arange(6) < 4
    sets = CandidateSets(np.arange(61), labels.astype(np.int32))
    found = project_attributes(images, sets, attributes, seen)
    mean, spread = attributes[seen].mean(0), attributes[seen].std(0)
    design = np.hstack([(attributes - mean) / spread, np.ones((6, 1))])
    x, y = design[labels], images - images.mean(0)
    solution = np.linalg.solve(x.T @ x + np.eye(4), x.T @ y)
    assert np.allclose(found, unit(design @ solution + images.mean(0)), atol=1e-5)


def test_a_grid_holds_each_configuration_once():
    grid = expand(
        SOURCE,
        ["clip", "clip-pzsl"],
        ["default", "paper"],
        ["uniform", "noisy", "uss"],
        [0.1, 0.3],
        [0.1, 0.2],
        range(2),
        settings={"rank": 8},
    )
    # uniform: 2 rates; noisy: 2 rates x 2 etas; uss: once. clip has no preset paper.
    assert len(grid) == 2 * 3 * (2 + 4 + 1)
    assert len({run.name for run in grid}) == len(grid)
    assert {run.options.get("rank") for run in grid} == {None, 8}


def test_a_noise_may_carry_its_own_rate():
    noises = ["uniform", "instance:0.2", "file"]
    grid = expand(SOURCE, ["clip"], ["default"], noises, [0.1, 0.3], [0], [0])
    found = [(run.noise, run.rate) for run in grid]
    assert found == [("uniform", 0.1), ("uniform", 0.3), ("instance", 0.2), ("file", None)]
    with pytest.raises(UsageError, match="after the colon"):
        expand(SOURCE, ["clip"], ["default"], ["uniform:few"], [0.1], [0], [0])


@pytest.mark.parametrize("noise", ["uss:0.3", "uss:x", "file:0.3", "annotated:0.1"])
def test_a_rate_that_a_noise_cannot_have_is_refused(noise):
    with pytest.raises(UsageError, match=f"write --noise {noise.partition(':')[0]}"):
        expand(SOURCE, ["clip"], ["default"], [noise], [0.1], [0], [0])
    assert expand(SOURCE, ["clip"], ["default"], ["uss:0.5"], [0.1], [0], [0])[0].rate == 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"methods": ["clip-pzls"]}, "Did you mean 'clip-pzsl'"),
        ({"settings": {"rnak": 3}}, "Did you mean 'rank'"),
        ({"settings": {"rank": "many"}}, "takes a number"),
        ({"settings": {"prototypes": "perhaps"}}, "is on or off"),
        ({"presets": ["papre"]}, "Did you mean 'paper'"),
    ],
)
def test_wrong_names_and_values_are_refused_in_one_line(arguments, message):
    given = {"methods": ["clip-pzsl"], "presets": ["default"]} | arguments
    with pytest.raises(UsageError, match=message):
        expand(SOURCE, noises=["uniform"], rates=[0.1], etas=[0], seeds=[0], **given)


def test_settings_come_from_the_line_and_from_toml(tmp_path):
    assert read_settings(["rank=8", "lr=0.1"], ["prototypes"]) == {
        "rank": "8",
        "lr": "0.1",
        "prototypes": False,
    }
    with pytest.raises(UsageError, match="name=value"):
        read_settings(["rank"])
    assert read_settings(["prototypes=off"], ["prototypes"]) == {"prototypes": False}
    with pytest.raises(UsageError, match="prototypes is set to on and is off at once"):
        read_settings(["prototypes=on"], ["prototypes"])
    file = tmp_path / "sweep.toml"
    file.write_text('method = ["clip"]\nrate = [0.1]\noff = ["calibrate"]\n[set]\nrank = 4\n')
    assert read_config(file)["set"] == {"rank": 4}
    file.write_text("raet = 3\n")
    with pytest.raises(UsageError, match="Did you mean 'rate'"):
        read_config(file)
    file.write_text("rate = \n")
    with pytest.raises(UsageError, match="not valid TOML"):
        read_config(file)


def test_restricting_gives_an_image_without_candidates_all_of_them():
    sets = generate(
        "fixed-size",
        truth=np.zeros(3, int),
        ids=["a", "b", "c"],
        seen=np.ones(4, bool),
        rate=0,
        seed=0,
    )
    assert sets.sizes().tolist() == [1, 1, 1]
    from pzsl.methods.core.candidate_entries import CandidateEntries

    candidates = CandidateEntries.of(
        torch.from_numpy(sets.offsets), torch.from_numpy(sets.labels).long()
    )
    left = candidates.restrict(torch.arange(3), torch.tensor([-1, 0, 1, 2]), 3)
    assert left.sizes.tolist() == [3, 3, 3]
    assert left.labels.tolist() == [0, 1, 2] * 3
