"""Options that change nothing in a call are named, once, with the reason."""

from __future__ import annotations

import numpy as np
import pytest
from problems import write_cache

import pzsl as api
from pzsl.datasets.own.rows import Row
from pzsl.datasets.own.table import Reading, _with_splits
from pzsl.extraction.stage_one import _say_unused
from pzsl.inference.labelling.find_labels import given_or_trained
from pzsl.methods import METHODS
from pzsl.requests import ExtractRequest, say_unused, unless
from pzsl.training.config import Source, expand


def rows(split: str = "", unseen: bool = False) -> list[Row]:
    return [
        Row(f"line {n}", f"{n}.png", name, (), split, unseen and name == "c")
        for n, name in enumerate("aaabbbccc")
    ]


def test_only_what_was_given_is_named(capsys):
    say_unused("why", root=None, model=unless("tiny", "tiny"))
    assert capsys.readouterr().err == ""
    say_unused("why", view_seed=3, root="x")
    assert "--view-seed, --root mean nothing here: why." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("table", "reading", "named"),
    [
        (rows("train"), Reading(unseen=0.5, test=0.3, seed=4), "--split-seed, --unseen, --test-sh"),
        (rows(unseen=True), Reading(unseen=0.5, test=0.3, seed=4), "--unseen means nothing"),
        (rows(), Reading(unseen=0.5, test=0.3, seed=4), ""),
        (rows("train"), Reading(), ""),
    ],
)
def test_shares_of_a_split_that_is_there_already(capsys, table, reading, named):
    _with_splits("t.csv", table, reading, ())
    told = capsys.readouterr().err
    assert named in told and ("nothing here" in told) == bool(named)


def test_views_devices_and_runs(tmp_path, capsys):
    _say_unused(ExtractRequest(view_seed=3, device="cuda", devices="cpu"))
    told = capsys.readouterr().err
    assert "--view-seed means nothing here: no --views" in told and "--device means" in told
    _say_unused(ExtractRequest(views=2, view_seed=3, device="cuda"))
    assert given_or_trained(tmp_path, None) == tmp_path and capsys.readouterr().err == ""
    given_or_trained(tmp_path, None, "elsewhere")
    assert "--runs means nothing here" in capsys.readouterr().err


def test_rates_of_sets_that_the_cache_holds(tmp_path, capsys):
    cache = write_cache(tmp_path / "c.h5")
    given = {"method": "clip", "noise": "file", "seeds": 1, "workers": 1, "runs": tmp_path / "r"}
    api.train(cache, **given, rate=0.3)
    assert "--rate means nothing here" in capsys.readouterr().err
    api.train(cache, **given)
    assert "nothing here" not in capsys.readouterr().err


@pytest.mark.parametrize("noise", ["fixed-size:1", ["instance:0.2", "uniform:0.2"], "uss"])
def test_rates_beside_those_of_the_noise_itself(tmp_path, capsys, noise):
    cache = write_cache(tmp_path / "c.h5")
    given = {"method": "clip", "seeds": 1, "workers": 1, "runs": tmp_path / "r"}
    api.train(cache, noise=noise, **given, rate=0.1)
    assert "--rate means nothing here: each kind of --noise has a rate" in capsys.readouterr().err
    api.train(cache, noise=noise, **given)
    api.train(cache, noise=["uniform", "uniform:0.2"], **given, rate=0.1)
    assert "means nothing" not in capsys.readouterr().err


def grid(methods, presets, **settings) -> list:
    source = Source("made", "hash", "m")
    return expand(source, methods, presets, ["uniform"], [0.1], [0], [0], settings=settings)


@pytest.mark.parametrize(
    ("method", "preset", "settings", "told"),
    [
        ("gda", "default", {"alpha": 3}, "'alpha' changes nothing for gda: its value is searched"),
        ("gda", "default", {"alpha": 0.3}, "add --set search=off"),
        ("tip-adapter", "fine-tuned", {"beta": 3}, "'beta' changes nothing for tip-adapter"),
        ("clip-pzsl", "default", {"layers": 3}, "no mining block: add --set k_means=on"),
        ("clip-pzsl", "mined", {"k_means": "off", "k_means_update": "sum"}, "no mining block"),
        ("clip-pzsl", "default", {"unseen_points": "test", "prototypes": "off"}, "'unseen_points'"),
        ("clip-pzsl", "transductive", {"prototypes": "off"}, "'unseen_points' changes nothing"),
        ("clip-pzsl", "default", {"momentum": 0.1}, "progressive is off"),
        ("proden", "default", {"calibrate": "off", "fold_share": 1}, "calibrate is off"),
        ("co-reg", "default", {"mixup_alpha": 2}, "add --set mixup=on"),
        ("oracle", "default", {"balance": "off"}, "'balance' changes nothing for oracle: where"),
        ("oracle", "default", {"momentum": 0.5}, "'momentum' changes nothing for oracle: where"),
        ("clip-pzsl", "paper", {"whiten": "off"}, "'whiten' changes nothing for clip-pzsl"),
        ("clip-pzsl", "paper", {"fade": "off"}, "'fade' changes nothing for clip-pzsl: calibrate"),
        ("gda", "default", {"calibrate": 0, "fade": 0}, "'fade' changes nothing for gda: cali"),
        ("tip-adapter", "default", {"calibrate": 0, "fade": 0}, "'fade' changes nothing for tip-"),
    ],
)
def test_a_value_that_the_method_does_not_read_is_reported(method, preset, settings, told, capsys):
    grid([method], [preset], **settings)
    assert told in capsys.readouterr().err


def test_options_of_training_where_nothing_is_trained(tmp_path, capsys):
    given = {"rate": 0.3, "seeds": 1, "workers": 1, "runs": tmp_path / "r"}
    cache = write_cache(tmp_path / "c.h5")
    for methods, settings, told in (
        (["clip", "gda"], {"lr": 0.1}, "Option 'lr' changes nothing: no method here is trained."),
        ("clip", {"lr": 0.1, "epochs": 99}, "Options 'lr', 'epochs' change nothing: no method"),
        ("gda", {"fold_share": 0.25}, "Option 'fold_share' changes nothing: no method here"),
        (["clip", "probe"], {"lr": 0.1}, ""),
        ("clip", {"calibrate": True}, ""),
    ):
        api.train(cache, method=methods, settings=settings, **given)
        err = capsys.readouterr().err
        assert told in err and ("nothing: no method" in err) == bool(told)


def test_epochs_are_raised_only_where_something_is_trained(tmp_path, capsys):
    given = {"rate": 0.3, "seeds": 1, "workers": 1, "runs": tmp_path / "r"}
    cache = write_cache(tmp_path / "c.h5")
    for method, lines in (("clip", 0), (["gda", "probe"], 1)):
        api.train(cache, method=method, settings={"epochs": 3}, **given)
        assert capsys.readouterr().err.count("epochs=3 was raised to 60, because") == lines


def test_a_value_that_is_read_is_not_told_of_and_one_reason_is_one_line(capsys):
    grid(["gda", "tip-adapter"], ["default", "fine-tuned"], alpha=3, search="off")
    grid(["clip-pzsl"], ["paper"], layers=3, unseen_points="test")
    grid(["clip-pzsl"], ["paper"], progressive="off")  # the preset's momentum is not the user's
    for method, entry in METHODS.items():
        grid([method], list(entry.presets))
    assert capsys.readouterr().err == ""
    grid(["clip-pzsl"], ["default", "paper"], layers=3, mining_rank=16)
    told = capsys.readouterr().err
    assert told.startswith("Options 'layers', 'mining_rank' change nothing for clip-pzsl: ")
    assert told.count("\n") == 1


def test_the_classifier_tells_too(capsys):
    model = api.PartialLabelClassifier(method="gda", options={"alpha": 3})
    model.fit(np.eye(4, dtype=np.float32), [[0], [1], [0], [1]], np.eye(2, 4))
    assert "'alpha' changes nothing for gda" in capsys.readouterr().err
