"""Trained runs in use: restored as they were, clean labels out of them, new names in."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from problems import write_cache

from pzsl import refine, train
from pzsl.datasets.own.rows import read_rows
from pzsl.errors import UserError
from pzsl.inference.record import read_record
from pzsl.inference.restore import restore, restore_scorer
from pzsl.methods import METHODS
from pzsl.store import load_cache
from pzsl.training.task import evaluate_method

SHORT = {"min_steps": 4, "epochs": 2}


def one_run(tmp_path: Path, method: str = "clip-pzsl", **grid) -> tuple[Path, Path, dict]:
    """A cache, the folder of one run on it, and its metrics."""
    cache = write_cache(tmp_path / "toy.h5")
    given = {"rate": (0.3,), "seeds": 1, "workers": 1, "settings": SHORT, **grid}
    result = train(cache, method=(method,), runs=tmp_path / "runs", **given)
    folder = Path(result["runs"][0]["path"])
    return cache, folder, json.loads((folder / "metrics.json").read_text())


CALIBRATED = ("clip", "clip-pzsl", "co-reg")
"""Methods whose runs choose gamma, too: it is kept alike whatever the method."""
PAIRS = [(name, preset) for name in sorted(METHODS) for preset in METHODS[name].presets]


@pytest.mark.parametrize(("method", "preset"), PAIRS)
def test_a_restored_run_scores_as_it_did_and_reads_no_training_image(tmp_path, method, preset):
    settings = SHORT | {"calibrate": method in CALIBRATED}
    cache, folder, metrics = one_run(tmp_path, method, preset=(preset,), settings=settings)
    trained_on = np.flatnonzero(load_cache(cache).splits == "trainval")
    with h5py.File(cache, "r+") as file:
        features = file["image/features"][:]
        features[trained_on] = 0
        file["image/features"][:] = features
    scorer = restore_scorer(read_record(folder))
    again = evaluate_method(load_cache(cache, check=False), scorer.method, scorer.gamma)
    assert {name: metrics[name] for name in again} == again


def test_a_cache_with_other_seen_classes_is_refused_though_its_label_embeddings_are_the_same(
    tmp_path,
):
    cache, folder, _ = one_run(tmp_path, "clip")
    last = int(np.flatnonzero(load_cache(cache).seen)[-1])
    with h5py.File(cache, "r+") as file:
        file["class/seen"][last] = False
    with pytest.raises(UserError, match="isn't the cache"):
        restore_scorer(read_record(folder))


@pytest.mark.parametrize(("name", "other"), [("logit_scale", 50.0), ("weights_hash", "f" * 64)])
def test_a_cache_of_another_encoder_is_refused_though_its_label_embeddings_are_the_same(
    tmp_path, name, other
):
    cache, folder, _ = one_run(tmp_path, "clip")
    with h5py.File(cache, "r+") as file:
        file.attrs[name] = other
        file["image/features"][0] = file["image/features"][1]
    with pytest.raises(UserError, match="weights or logit scale"):
        restore_scorer(read_record(folder))


# --- refine --------------------------------------------------------------------------------------


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_refined_labels_of_sets_taken_at_their_word_are_those_that_the_record_counted(tmp_path):
    _, folder, metrics = one_run(tmp_path, noise=("uniform",))
    result = refine(folder, tmp_path / "labels.csv")
    assert result["disambiguation"] == pytest.approx(metrics["disambiguation"], abs=0.01)


def test_refined_labels_are_as_often_right_as_told_and_no_less_often_than_the_record_says(tmp_path):
    _, folder, metrics = one_run(tmp_path, noise=("noisy",), eta=(0.3,))
    out = tmp_path / "labels.csv"
    result = refine(folder, out)
    rows = read_table(out)
    assert result["disambiguation"] > metrics["disambiguation"] - 0.01
    assert len(rows) == result["images"] == 8 * 14
    right = [row["label"] == f"class {row['path'].split('/')[0]}" for row in rows]
    assert 100 * np.mean(right) == pytest.approx(result["disambiguation"], abs=0.01)
    for row in rows:
        names = row["candidates"].split("|")
        weights = [float(each) for each in row["weights"].split("|")]
        assert names[0] == row["label"]
        assert weights == sorted(weights, reverse=True)
        assert float(row["confidence"]) == weights[0]
        assert sum(weights) == pytest.approx(1, abs=0.02)
    assert sum(row["outside"] == "yes" for row in rows) == result["outside"]
    as_table = read_rows(out)  # what `extract --dataset table` makes of it
    assert [row.label for row in as_table] == [row["label"] for row in rows]
    assert as_table[0].candidates == tuple(rows[0]["candidates"].split("|"))


def test_a_label_is_outside_only_where_the_sets_do_not_name_it(tmp_path):
    _, folder, _ = one_run(tmp_path, noise=("noisy",), eta=(0.5,), rate=(0.1,))
    refine(folder, tmp_path / "labels.csv")
    given = restore(read_record(folder))
    sets = given.task.problem.candidates
    names = {path: number for number, path in enumerate(given.cache.paths)}
    place = {row: at for at, row in enumerate(given.task.rows)}
    found = read_table(tmp_path / "labels.csv")
    for row in found:
        at = place[names[row["path"]]]
        own = sets.labels[int(sets.offsets[at]) : int(sets.offsets[at + 1])].tolist()
        assert (row["outside"] == "yes") == (given.names.index(row["label"]) not in own)
    assert any(row["outside"] == "yes" for row in found)  # half of the sets are without the truth


def test_refine_says_in_one_line_what_is_wrong(pzsl, tmp_path):
    cache, folder, _ = one_run(tmp_path, "clip")
    out = tmp_path / "labels.csv"
    assert pzsl("refine", "--run", folder, "--out", out)[0] == 0
    wrong = [
        (["--run", folder, "--out", out], "exists already"),
        (["--run", tmp_path, "--out", tmp_path / "a.csv"], "not a finished run"),
    ]
    other = write_cache(tmp_path / "other.h5", seed=1)
    wrong.append((["--run", folder, "--out", tmp_path / "a.csv", "--cache", other], "isn't the"))
    for words, part in wrong:
        code, text, err = pzsl("refine", *words)
        assert (code, text) == (1, "")
        assert part in err.strip().splitlines()[-1] and "Traceback" not in err
    cache.unlink()
    code, _, err = pzsl("refine", "--run", folder, "--out", tmp_path / "a.csv")
    assert code == 1 and "toy.h5" in err


@pytest.mark.parametrize("later", ["clip-1", "clip-2"])
def test_of_several_runs_the_one_that_finished_last_is_named(tmp_path, later):
    """After a correction the older run answers with the older labels."""
    for name in ("clip-1", "clip-2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text("{}")
        os.utime(tmp_path / name / "metrics.json", (1000 + (name == later),) * 2)
    with pytest.raises(UserError, match=f"holds 2 finished runs.*{later}\\."):
        read_record(tmp_path)


@pytest.mark.parametrize("damage", ["no JSON", "{}", "[]"])
def test_a_damaged_record_is_refused(tmp_path, damage):
    _, folder, _ = one_run(tmp_path, "clip")
    (folder / "config.json").write_text(damage)
    with pytest.raises(UserError, match=r"remove the run's metrics\.json and train again"):
        read_record(folder)


def test_a_damaged_model_is_refused(tmp_path):
    _, folder, _ = one_run(tmp_path)
    model = folder / "model.safetensors"
    model.write_bytes(model.read_bytes()[:200])
    with pytest.raises(UserError, match="train again"):
        restore(read_record(folder))


# --- classes that are named later ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "preset"),
    [
        *((name, "default") for name in ("clip-pzsl", "cc", "conse", "prototype", "co-reg")),
        ("conse", "centred"),
    ],
)
def test_a_name_that_joins_later_scores_as_its_twin_and_changes_no_score(tmp_path, method, preset):
    """A class with the label embedding of an unseen one gets the same scores as that."""
    _, folder, _ = one_run(tmp_path, method, preset=(preset,))
    record = read_record(folder)
    plain = restore(record)
    twin = plain.method.problem.unseen[:1]
    trained = restore_scorer(record, ("other", "twin"), torch.cat([-twin, twin]))
    images = torch.from_numpy(np.array(plain.cache.images[:50]))
    with torch.no_grad():
        scores, before = trained.method.scores(images), plain.method.scores(images)
    assert trained.names[-1] == "twin" and scores.shape[1] == before.shape[1] + 2
    assert torch.allclose(scores[:, -1], scores[:, trained.seen], atol=5e-3)
    assert torch.allclose(scores[:, :-2], before, atol=1e-4)


def test_a_moved_cache_is_named(pzsl, tmp_path):
    cache, folder, metrics = one_run(tmp_path)
    moved = cache.rename(tmp_path / "moved.h5")
    result = refine(folder, tmp_path / "labels.csv", cache=moved)
    assert result["disambiguation"] == pytest.approx(metrics["disambiguation"], abs=0.01)
