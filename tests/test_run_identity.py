"""Numbers belong to the cache, the run and the code that they are recorded under."""

from __future__ import annotations

import io
import json
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from problems import write_cache
from safetensors.torch import load_file, save_file

import pzsl
from pzsl.cli import main
from pzsl.cli.common import emit
from pzsl.datasets import SOURCES
from pzsl.errors import UserError
from pzsl.progress import say
from pzsl.requests import PUBLISHED
from pzsl.store import load_cache
from pzsl.store.resume import _brief
from pzsl.training import checkpoint as checkpoints
from pzsl.training import folds
from pzsl.training.config import RESULTS, RunConfig, Source, expand
from pzsl.training.engines.job import Job, open_cache, work

MARK = "\N{REPLACEMENT CHARACTER}"
"""What a control character becomes."""


def config_for(cache, seed: int = 0) -> RunConfig:
    source = ("made", load_cache(cache).fingerprint, "m")
    budget = {"min_steps": 12, "epochs": 4, "batch_size": 32, "calibrate": False}
    (config,) = expand(
        source, ["proden"], ["default"], ["uniform"], [0.3], [0], [seed], "text", budget
    )
    return config


def metrics_of(folder) -> dict:
    found = json.loads((folder / "metrics.json").read_text())
    return {
        name: value for name, value in found.items() if name not in ("seconds", "parts", "checksum")
    }


def train_on(cache, runs) -> list[dict]:
    rows = pzsl.train(cache, method="clip", rate=0.3, seeds=1, runs=runs, workers=1)["runs"]
    return [{k: v for k, v in row.items() if k not in ("seconds", "path")} for row in rows]


# --- what is in a run's name ---------------------------------------------------------------------


def test_features_read_in_blocks_are_a_run_of_another_name(tmp_path):
    """They come in another order, so that other numbers come out."""
    cache = write_cache(tmp_path / "c.h5")
    asked = {"method": "clip", "rate": 0.3, "seeds": 1, "runs": tmp_path / "runs", "workers": 1}
    (whole,) = pzsl.train(cache, **asked)["runs"]
    (again,) = pzsl.train(cache, memory=1.0, **asked)["runs"]
    (blocks,) = pzsl.train(cache, memory=0, **asked)["runs"]
    assert again["path"] == whole["path"] != blocks["path"]


def test_folds_that_share_a_sample_make_a_run_of_another_name(tmp_path, monkeypatch):
    cache = write_cache(tmp_path / "c.h5")
    asked = {"method": "clip", "rate": 0.3, "seeds": 1, "runs": tmp_path / "runs", "workers": 1}
    (whole,) = pzsl.train(cache, **asked)["runs"]
    monkeypatch.setattr(folds, "VERY_MANY", 2)
    (sampled,) = pzsl.train(cache, **asked)["runs"]
    assert sampled["path"] != whole["path"]
    configs = [
        json.loads(Path(row["path"], "config.json").read_text(encoding="utf-8"))
        for row in (whole, sampled)
    ]
    assert ["fold_sample" in config for config in configs] == [False, True]


def test_another_kind_of_device_is_a_run_of_another_name(tmp_path):
    config = config_for(write_cache(tmp_path / "c.h5"))
    assert replace(config, device="cuda").name != config.name
    assert "device" not in config.as_dict() and "blocks" not in config.as_dict()


# --- remedies ------------------------------------------------------------------------------------


def test_a_run_whose_cache_has_moved_asks_for_its_new_place(tmp_path):
    cache = write_cache(tmp_path / "c.h5")
    (row,) = pzsl.train(cache, method="clip", rate=0.3, seeds=1, runs=tmp_path, workers=1)["runs"]
    cache.rename(tmp_path / "moved.h5")
    with pytest.raises(UserError, match=r"isn't there any more: give its new path with --cache"):
        pzsl.refine(row["path"], tmp_path / "labels.csv")
    np.save(tmp_path / "new.npy", np.eye(6, dtype=np.float32))
    with pytest.raises(UserError, match=r"isn't there any more: give its new path with --cache"):
        pzsl.predict(row["path"], [tmp_path / "new.npy"])
    found = pzsl.refine(row["path"], tmp_path / "labels.csv", cache=tmp_path / "moved.h5")
    assert found["images"] == 8 * 14


def test_a_missing_cache_of_a_published_data_set_is_made_from_that_data_set(tmp_path):
    with pytest.raises(UserError, match=r"extract --dataset sun --out .*sun\.h5'"):
        load_cache(tmp_path / "sun.h5")
    assert set(PUBLISHED) < set(SOURCES)


def test_a_long_setting_is_shown_where_it_changed():
    one, other = ([f"a photo of a {n} {{}}." for n in range(30)] for _ in range(2))
    other[20] = "a drawing of a {}."
    assert "drawing" in _brief(other, one) and "20 {}" in _brief(one, other)
    assert len(_brief(one, other)) < 70 and _brief([1], [2]) == "[1]"


# --- the cache that a record names ---------------------------------------------------------------


def test_a_cache_that_is_replaced_between_two_trainings_is_read_again(tmp_path):
    write_cache(tmp_path / "c.h5", seed=0)
    first = train_on(tmp_path / "c.h5", tmp_path / "runs")
    (tmp_path / "c.h5").unlink()
    write_cache(tmp_path / "c.h5", seed=1)
    second = train_on(tmp_path / "c.h5", tmp_path / "runs")
    write_cache(tmp_path / "other" / "c.h5", seed=1)
    alone = train_on(tmp_path / "other" / "c.h5", tmp_path / "alone")
    assert second == alone and first != second


def test_a_cache_that_is_replaced_after_the_sweep_began_stops_the_run(tmp_path):
    cache = write_cache(tmp_path / "c.h5", seed=0)
    config = config_for(cache)
    open_cache(str(cache), config.cache_hash)
    cache.unlink()
    write_cache(cache, seed=1)
    with pytest.raises(UserError, match=r"c\.h5 was replaced after this sweep began"):
        open_cache(str(cache), config.cache_hash)


def test_the_version_of_the_numbers_is_in_the_name(tmp_path):
    config = config_for(write_cache(tmp_path / "c.h5"))
    assert replace(config, results=config.results - 1).name != config.name
    assert config.as_dict()["results"] == config.results


# --- checkpoints ---------------------------------------------------------------------------------


def damaged(path, kind: str) -> None:
    """Damage a checkpoint in a way that leaves a file which can be parsed."""
    tensors = load_file(path)
    about = checkpoints._metadata(path.read_bytes())
    name = max(tensors, key=lambda one: tensors[one].numel())
    if kind == "zeros":
        tensors[name] = torch.zeros_like(tensors[name])
    elif kind == "no number":
        tensors[name] = torch.full_like(tensors[name], torch.nan)
    elif kind == "tensor missing":
        del tensors[name]
    elif kind == "epoch":
        about["epoch"] = "1000000"
    elif kind == "history":
        about["history"] = "[{"
    elif kind == "another run":
        about["run"] = "proden-0123456789ab"
    if kind == "no metadata":
        save_file(tensors, path)
    elif kind == "cut":
        path.write_bytes(path.read_bytes()[:-7])
    else:
        save_file(tensors, path, metadata=about)


KINDS = (
    *("zeros", "no number", "tensor missing", "epoch", "history", "another run"),
    *("no metadata", "cut"),
)


@pytest.mark.parametrize("kind", ["none", *KINDS])
def test_a_damaged_checkpoint_is_reported_and_never_gone_on_from(
    kind, tmp_path, monkeypatch, capsys
):
    cache = write_cache(tmp_path / "c.h5", each=24)
    config = config_for(cache)
    job = Job(str(cache), config, str(tmp_path / "whole"), "cpu", 0.0, 2.0)
    work(job)

    def stop_after_two(self, method, optimizer, epoch, history):
        save(self, method, optimizer, epoch, history)
        if epoch == 1:
            raise KeyboardInterrupt

    save = checkpoints.Saver.__call__
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.Saver, "__call__", stop_after_two)
        with pytest.raises(KeyboardInterrupt):
            work(replace(job, folder=str(tmp_path / "cut")))
    if kind != "none":
        damaged(tmp_path / "cut" / "checkpoint.safetensors", kind)
    capsys.readouterr()
    work(replace(job, folder=str(tmp_path / "cut")))
    assert metrics_of(tmp_path / "cut") == metrics_of(tmp_path / "whole")
    assert ("the run starts again" in capsys.readouterr().err) == (kind != "none")


# --- trainings that diverge ----------------------------------------------------------------------


@pytest.mark.parametrize("method", ["proden", "rc", "lws", "pico", "clip-pzsl"])
def test_a_training_that_diverges_names_the_cause(method, tmp_path):
    cache = write_cache(tmp_path / "c.h5", each=24)
    with pytest.raises(UserError, match=r"the training diverged; give a lower learning rate"):
        pzsl.train(
            cache, method=method, rate=0.3, seeds=1, settings={"lr": 1e30}, runs=tmp_path, workers=1
        )


# --- what a terminal gets ------------------------------------------------------------------------


def test_runs_that_gave_other_numbers_have_names_of_their_own():
    def run(method: str, labels: str = "text", **settings: str) -> RunConfig:
        axes = [method], ["default"], ["uniform"], [0.1], [0.0], [0]
        return expand(Source("made", "hash", "m"), *axes, labels=labels, settings=settings)[0]

    assert run("conse").results == run("zlap").results == RESULTS
    changed = run("conse", classifier="zlap")
    assert changed.results == RESULTS + 1 and changed.name != replace(changed, results=RESULTS).name
    assert run("gda").results == run("tip-adapter").results == RESULTS + 2
    for labels in ("attributes", "both"):
        assert run("zlap", labels).results == RESULTS + 1
        assert run("conse", labels, classifier="zlap").results == RESULTS + 2


def test_no_name_steers_the_terminal(capsys):
    say("'\x1b[31mred\x07\n' is\tno class")
    assert capsys.readouterr().err == f"'{MARK}[31mred{MARK}{MARK}' is\tno class\n"


def test_a_line_break_in_a_name_breaks_no_line_of_a_result(capsys):
    result = {"out": "a\nb.h5", "failed": [{"path": "c\x1b\n.jpg"}], "a\nkey": 3, "n": (1, "\r")}

    def text(found: dict) -> str:
        lines = [found["out"], *(row["path"] for row in found["failed"]), *found, str(found["n"])]
        return "\n".join(lines)

    emit(result, False, text)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [f"a{MARK}b.h5", f"c{MARK}{MARK}.jpg"] and lines[4] == f"a{MARK}key"
    assert len(lines) == 7
    emit({"text": "one\ntwo"}, False, lambda found: found["text"])  # a ready text, as of `report`
    assert capsys.readouterr().out == "one\ntwo\n"
    nested = {"report": {"text": "one\ntwo"}}  # as of `demo`
    emit(nested, False, lambda found: found["report"]["text"])
    assert capsys.readouterr().out == "one\ntwo\n"
    emit(result, True, text)
    assert json.loads(capsys.readouterr().out)["out"] == "a\nb.h5"


def test_a_line_break_in_a_file_name_breaks_no_line_of_a_command(tmp_path, monkeypatch, capsys):
    root = tmp_path / "photos"
    for label in ("cat", "dog", "fox"):
        (root / label).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (70, 70), (number * 60, 0, 0)).save(root / label / f"{number}.png")
    try:
        (root / "cat" / "bro\nken.png").write_bytes(b"no image")
    except OSError:
        pytest.skip("no such names on this system")
    words = ["extract", "--dataset", "folder", "--root", str(root), "--model", "tiny"]
    words += ["--out", str(tmp_path / "x.h5"), "--on-error", "skip"]
    monkeypatch.setattr(sys, "argv", ["pzsl", *words])
    with suppress(SystemExit):
        main()
    said = capsys.readouterr()
    lines = (said.out + said.err).splitlines()
    assert [line for line in lines if f"bro{MARK}ken.png" in line]
    assert not [line for line in lines if "ken.png" in line and f"bro{MARK}ken" not in line]


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_what_a_terminal_cannot_show_comes_as_escapes(encoding, monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(raw, encoding=encoding))
    say("the class 鶴")
    expected = "the class 鶴" if encoding == "utf-8" else "the class \\u9db4"
    assert raw.getvalue().decode(encoding).strip() == expected


def test_a_process_without_stderr_works_in_silence(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", None)
    say("nobody hears this")
    assert capsys.readouterr().out == ""
