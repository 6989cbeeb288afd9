"""Classes that are added by name to a run whose training knew of no unseen class."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from problems import write_cache
from torch.nn.functional import normalize

from pzsl import extract, load_cache, pack, predict, train
from pzsl.errors import UserError
from pzsl.evaluation import evaluate
from pzsl.exchange import export_any, import_npz
from pzsl.files import write_json
from pzsl.inference.model import open_model
from pzsl.methods.core import Problem
from pzsl.record_hashes import sealed
from pzsl.training.calibration import calibrate
from pzsl.training.config import RunConfig
from pzsl.training.loop import fit, fit_all
from pzsl.training.make_method import prepared_method
from pzsl.training.task import make_task

SHORT = {"min_steps": 4, "epochs": 2}
NARROW = '''
from pzsl.methods.baselines.clip import Clip


class Narrow(Clip):
    """Scores the classes that have images."""

    def scores(self, images):
        return images @ self.problem.seen.T

'''


def run_on(cache: Path, folder: Path, **words) -> Path:
    given = {"rate": 0.3, "seeds": 1, "workers": 1, "runs": folder / "runs", **words}
    return Path(train(cache, **given)["runs"][0]["path"])


def closed_run(folder: Path, **words) -> Path:
    cache = write_cache(folder / "closed.h5", unseen=0, each=12, spread=0.2)
    return run_on(cache, folder, **{"settings": SHORT, **words})


def added_of(run: Path) -> dict | None:
    return json.loads((run / "calibration.json").read_text())["added"]


def vectors(count: int, seed: int = 0) -> torch.Tensor:
    return normalize(torch.randn(count, 16, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_only_closed_sets_of_names_keep_a_gamma_for_classes_to_come(tmp_path: Path):
    added = added_of(closed_run(tmp_path))
    assert added is not None and added["gamma"] != 0 and added["probabilities"]["images"] > 0
    assert added["probabilities"]["added"] is None
    known = run_on(write_cache(tmp_path / "open.h5"), tmp_path, settings=SHORT)
    plain = closed_run(tmp_path / "plain", settings=SHORT | {"calibrate": False})
    assert added_of(known) is None and added_of(plain) is None


@pytest.mark.parametrize("method", ["clip-pzsl", "cc", "tip-adapter"])
def test_gamma_and_temperature_are_those_of_a_run_that_has_held_classes_out(
    tmp_path: Path, method: str
):
    """With one unseen name far from all classes the folds of an open set are the very same."""
    cache = load_cache(write_cache(tmp_path / "closed.h5", unseen=0, each=12, spread=0.2))
    options = SHORT | ({"fade": False} if method == "clip-pzsl" else {})
    identity = "made", "", "", method, "default", "uniform", 0.3, 0.0, "text"
    config = RunConfig(*identity, 0, options)
    closed = make_task(cache, config, torch.device("cpu")).problem
    none, one = closed.unseen, -closed.seen.mean(dim=0, keepdim=True)

    def calibrated(unseen: torch.Tensor):
        problem = Problem(
            closed.images, closed.candidates, closed.seen, normalize(unseen), closed.scale
        )
        return fit_all(calibrate(fit(prepared_method(config, problem, 0), 0), problem, config))

    of_closed, of_open = calibrated(none), calibrated(one)
    added = of_closed.probabilities.added
    assert of_closed.gamma == 0 and added is not None and of_open.probabilities.added is None
    assert added.gamma == pytest.approx(of_open.gamma, abs=0.02 * closed.scale)
    assert added.probabilities.images == of_open.probabilities.images


def test_a_method_for_seen_classes_alone_keeps_none(tmp_path: Path):
    linear = closed_run(tmp_path, method="co-reg", settings=SHORT | {"head": "linear"})
    assert added_of(linear) is None
    (tmp_path / "narrow.py").write_text(NARROW)
    narrow = {"method": f"{tmp_path / 'narrow.py'}:Narrow", "settings": {}}
    with pytest.raises(UserError, match=r"but gave 6 scores .* takes_classes be False"):
        closed_run(tmp_path / "one", **narrow)
    (tmp_path / "narrow.py").write_text(NARROW + "    takes_classes = False\n")
    assert added_of(closed_run(tmp_path / "other", **narrow)) is None


def test_answers_use_it_once_a_class_is_added_and_only_then(tmp_path: Path):
    run = closed_run(tmp_path)
    packed = Path(pack(run, tmp_path / "packed")["out"])
    added = added_of(run)
    assert added is not None
    for place in (run, packed):
        own = open_model(place).scorer((), None)
        more = open_model(place).scorer(("far", "near"), vectors(2))
        assert own.gamma == 0 and more.gamma == added["gamma"]
        assert more.calibration.temperature == added["probabilities"]["temperature"]
        assert own.calibration.added is not None
    assert own.method.share == more.method.share  # how far the scores go from frozen CLIP's


def test_a_record_without_it_is_told_of_where_it_would_be_used(tmp_path: Path, capsys):
    for name in ("red", "blue", "green"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for size in range(24, 30):
            Image.new("RGB", (size, 24), name).save(tmp_path / "photos" / name / f"{size}.png")
    given = {"root": tmp_path / "photos", "out": tmp_path / "photos.h5", "unseen": 0, "test": 0}
    run = run_on(extract("folder", **given, model="tiny")["cache"], tmp_path, noise="file")
    Image.new("RGB", (32, 32), "yellow").save(tmp_path / "new.png")

    def told(*names: str) -> int:
        capsys.readouterr()
        predict(run, [tmp_path / "new.png"], classes=names)
        return capsys.readouterr().err.count("without the gamma of added classes")

    assert told() == told("yellow") == 0
    older = json.loads((run / "calibration.json").read_text())
    del older["added"]
    write_json(run / "calibration.json", older)
    metrics = json.loads((run / "metrics.json").read_text())
    write_json(run / "metrics.json", sealed(metrics, run))
    assert told() == 0 and told("yellow") == 1


@pytest.mark.parametrize("name", ["ucf50", "sun34"])
def test_added_classes_are_found_on_real_features(real_data: Path, tmp_path: Path, name: str):
    """One class of three is added at a time; without a gamma of its own H was 1 to 3 lower."""
    arrays = dict(np.load(real_data / "clip_features" / f"{name}.npz"))
    unseen, labels = np.flatnonzero(arrays["unseen"]), arrays["labels"]
    keep = ~np.isin(labels, unseen)
    column = np.cumsum(~arrays["unseen"]) - 1
    closed = {
        **arrays,
        "image_features": arrays["image_features"][keep],
        "labels": column[labels[keep]],
        "split": arrays["split"][keep],
        "class_names": arrays["class_names"][~arrays["unseen"]],
        "text_features": arrays["text_features"][~arrays["unseen"]],
        "unseen": arrays["unseen"][~arrays["unseen"]],
    }
    np.savez(tmp_path / "closed.npz", **closed)
    run = run_on(import_npz(tmp_path / "closed.npz", tmp_path / "closed.h5"), tmp_path)
    seen, gains = int((~arrays["unseen"]).sum()), []
    for each in unseen[:6]:
        text = torch.from_numpy(arrays["text_features"][[each]])
        scorer = open_model(run).scorer((str(arrays["class_names"][each]),), normalize(text))
        rows = (arrays["split"] == "test_seen") | (labels == each)
        images = normalize(torch.from_numpy(arrays["image_features"][rows].astype(np.float32)))
        with torch.no_grad():
            scores = scorer.method.scores(images).numpy()
        truth = np.where(labels[rows] == each, seen, column[labels[rows]])
        is_seen = np.arange(seen + 1) < seen
        h = [
            evaluate(scores - gamma * is_seen, truth, is_seen)["H"] for gamma in (0.0, scorer.gamma)
        ]
        gains.append(h[1] - h[0])
    assert np.mean(gains) > 1 and min(gains) > -2, gains


@pytest.mark.parametrize("pairs", [2, 3])
def test_folds_that_hide_no_class_choose_no_gamma_for_added_ones(tmp_path, pairs):
    """Classes whose names mean the same to an encoder are hidden together, so that few folds do."""
    seen = 2 * pairs
    middle = vectors(seen, seed=1).numpy()
    middle[1::2] = middle[::2]
    cache = write_cache(tmp_path / "c.h5", seen=seen, unseen=0, each=12, centres=middle)
    source = tmp_path / "twins.npz"
    export_any(cache, source, ["npz"])
    with np.load(source) as file:
        arrays = dict(file)
    arrays["text_features"][1::2] = arrays["text_features"][::2]
    np.savez(source, **arrays)
    run = run_on(import_npz(source, tmp_path / "twins.h5"), tmp_path, settings=SHORT, seeds=3)
    assert np.isfinite(added_of(run)["gamma"])
