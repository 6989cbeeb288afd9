"""Which labels are wrong: found by the command, written in each format, and explained."""

from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from problems import write_cache

from pzsl import labels, load_cache, predict, train
from pzsl.datasets.own import load_rows
from pzsl.datasets.own.rows import read_rows
from pzsl.errors import UsageError, UserError
from pzsl.inference.label_table import check_names
from pzsl.inference.labelling.label_rows import LabelRow, _doubt, calibration_error

SHORT = {"min_steps": 4, "epochs": 2}


@pytest.fixture(scope="module")
def mislabelled(tmp_path_factory) -> tuple[Path, Path]:
    """A cache where a fifth of the single labels is wrong, and a run on it."""
    folder = tmp_path_factory.mktemp("mislabelled")
    cache = write_cache(folder / "toy.h5", each=30, spread=0.15, mislabelled=0.2)
    given = {"noise": ("file",), "seeds": 1, "workers": 1, "settings": SHORT}
    return cache, Path(train(cache, runs=folder / "runs", **given)["runs"][0]["path"])


def given_and_true(cache: Path) -> dict[str, tuple[str, str]]:
    """Of each training image: the label that it came with, and the true one."""
    data = load_cache(cache)
    rows = np.flatnonzero(data.splits == "trainval")
    given = data.candidate_labels
    return {
        data.paths[row]: (data.classes[given[place]], data.classes[data.labels[row]])
        for place, row in enumerate(rows)
    }


def test_the_command_finds_the_wrong_labels(pzsl, mislabelled, tmp_path):
    cache, _ = mislabelled
    out = tmp_path / "found.csv"
    words = ["labels", "--cache", cache, "--runs", tmp_path / "runs", "--out", out, "--json"]
    code, text, err = pzsl(*words)
    assert code == 0, err
    result, truth = json.loads(text), given_and_true(cache)
    rows = list(csv.DictReader(out.open(encoding="utf-8", newline="")))
    flagged = {row["path"] for row in rows if row["label"] != row["given"]}
    wrong = {path for path, (given, true) in truth.items() if given != true}
    assert len(rows) == len(truth) == result["images"] == 160 and len(wrong) > 20
    assert len(flagged & wrong) / len(flagged) >= 0.95  # precision
    assert len(flagged & wrong) / len(wrong) >= 0.9  # recall
    assert result["changed"] == result["outside"] == len(flagged)
    assert result["unchecked"] == np.sum(load_cache(cache).splits != "trainval") > 0
    assert result["expected_calibration_error"] < 0.05
    fixed = [row["label"] == truth[row["path"]][1] for row in rows]
    assert result["disambiguation"] == pytest.approx(100 * np.mean(fixed), abs=0.01)
    assert {row["path"] for row in rows[: len(flagged)]} == flagged  # the doubtful come first


def test_one_label_an_image_needs_no_candidate_sets(pzsl, tmp_path):
    """Labels alone are the question: nothing is known to be true, so nothing is counted right."""
    cache = write_cache(tmp_path / "toy.h5")
    words = ["--cache", cache, "--runs", tmp_path / "runs", "--out", tmp_path / "l.json"]
    code, text, err = pzsl("labels", *words, "--json")
    assert code == 0, err
    result = json.loads(text)
    assert result["disambiguation"] is None and result["expected_calibration_error"] is None
    rows = json.loads((tmp_path / "l.json").read_text(encoding="utf-8"))
    own = [row["given"] == [f"class {row['path'].split('/')[0]}"] for row in rows]
    assert all(own) and len(rows) == result["images"]
    bare = write_cache(tmp_path / "bare.h5", unlabelled=2)
    words[1] = bare
    code, _, err = pzsl("labels", *words, "--overwrite")
    assert code == 1 and "2 training images have no label either" in err.splitlines()[-1]


@pytest.mark.parametrize("ending", ["csv", "parquet", "json", "jsonl"])
def test_every_format_says_the_same(mislabelled, tmp_path, ending):
    _, run = mislabelled
    result = labels(run, tmp_path / f"l.{ending}", review=7)
    labels(run, tmp_path / "plain.jsonl", review=7)
    plain = pd.read_json(tmp_path / "plain.jsonl", lines=True)
    reader = {"csv": pd.read_csv, "parquet": pd.read_parquet, "json": pd.read_json}
    if ending == "jsonl":
        found = pd.read_json(tmp_path / "l.jsonl", lines=True)
    else:
        found = reader[ending](tmp_path / f"l.{ending}")
    assert [*found.columns] == [*plain.columns]
    assert found["path"].tolist() == plain["path"].tolist()
    assert found["label"].tolist() == plain["label"].tolist()
    assert np.allclose(found["doubt"], plain["doubt"], atol=1e-4)
    assert plain["doubt"].is_monotonic_decreasing
    marked = found["review"].isin([True, "yes"])
    assert marked.tolist() == [True] * 7 + [False] * (len(found) - 7) and result["review"] == 7
    lists = [row.split("|") if isinstance(row, str) else list(row) for row in found["candidates"]]
    assert max(map(len, lists)) <= 5
    assert [row[0] for row in lists] == found["label"].tolist()


def test_the_table_is_one_that_extract_takes(mislabelled, tmp_path):
    _, run = mislabelled
    for name in ("l.csv", "l.parquet"):
        labels(run, tmp_path / name)
        rows = read_rows(tmp_path / name)
        assert len(rows) == 160 and {row.split for row in rows} == {"trainval"}
        assert all(row.candidates[0] == row.label for row in rows)


def test_a_table_of_labels_that_is_read_again_says_what_is_learnt_from(
    mislabelled, tmp_path, pzsl, capsys
):
    _, run = mislabelled
    labels(run, tmp_path / "my labels.csv")
    load_rows(tmp_path / "my labels.csv")
    said = capsys.readouterr().err
    assert "training learns from 'candidates', which holds all that pzsl labels gave" in said
    command = re.search(r"pzsl (review --run RUN --apply .* --out TABLE.csv)", said)
    assert command is not None
    words = {"RUN": str(run), "TABLE.csv": str(tmp_path / "clean.csv")}
    assert pzsl(*(words.get(word, word) for word in shlex.split(command[1])))[0] == 0
    by_path = {row.path: row for row in read_rows(tmp_path / "clean.csv")}
    for row in read_rows(tmp_path / "my labels.csv"):
        learnt = by_path[row.path]
        assert (learnt.candidates or (learnt.label,)) == (row.label,)
    capsys.readouterr()
    load_rows(tmp_path / "clean.csv")
    assert "weight" not in capsys.readouterr().err


def test_answers_that_are_read_as_labels_say_what_is_learnt_from(
    mislabelled, tmp_path, capsys, monkeypatch
):
    _, run = mislabelled
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.random.default_rng(0).standard_normal((9, 16)).astype("f4"))
    predict(run, ["x.npy"], out=tmp_path / "answers.csv")
    load_rows(tmp_path / "answers.csv")
    assert "training learns from 'classes', the likeliest ones" in capsys.readouterr().err
    table = pd.read_csv(tmp_path / "answers.csv").drop(columns="classes")
    table.to_csv(tmp_path / "labels.csv", index=False)
    load_rows(tmp_path / "labels.csv")
    assert "learns from" not in capsys.readouterr().err


@pytest.mark.parametrize("wrong, known", [(0.0, False), (0.2, True)])
def test_labels_that_are_the_only_candidates_are_not_taken_for_true(tmp_path, wrong, known):
    """A table with some images unlabelled gives such sets: each label could be wrong."""
    cache = write_cache(tmp_path / "c.h5", mislabelled=wrong, unlabelled=3)
    found = labels(cache=cache, out=tmp_path / "l.csv", runs=tmp_path / "runs")
    assert (found["disambiguation"] is not None) is known
    assert (found["expected_calibration_error"] is not None) is known
    (record,) = tmp_path.glob("runs/*/*/metrics.json")
    metrics = json.loads(record.read_text())
    assert (metrics["disambiguation"] is not None) is known
    assert (metrics["truth_outside"] is not None) is known


def row_of(**changes) -> LabelRow:
    plain = {
        "path": "a.png",
        "given": ["cat"],
        "label": "cat",
        "confidence": 0.97,
        "runner_up": "dog",
        "outside": False,
        "doubt": 0.03,
        "candidates": ["cat", "dog"],
        "weights": [0.97, 0.03],
        "right": True,
        "row": 0,
    }
    return LabelRow(**{**plain, **changes})


def test_why_is_in_plain_words():
    assert row_of().why == ""
    wrong = row_of(label="dog", outside=True, confidence=0.981)
    assert wrong.why == "given 'cat', but 'dog' fits better (98 %)" and wrong.changed
    missing = row_of(given=["cat", "fox"], label="dog", outside=True, confidence=0.6)
    assert missing.why == "'dog' fits best (60 %), but is not among the given labels"
    unsure = row_of(confidence=0.52, weights=[0.52, 0.46])
    assert unsure.why == "'cat' (52 %) or 'dog' (46 %)"


def test_doubts_too_small_to_be_told_from_one_still_have_an_order():
    """A weight next to 1 rounds in single precision; those of the other labels don't."""
    first, second = (_doubt({0: 1.0, 1: small}, [0], 0) for small in (1e-9, 1e-12))
    assert 0 < second < first
    assert _doubt({0: 0.3, 1: 0.6, 2: 0.1}, [0], 1) == pytest.approx(0.7)


def test_the_calibration_error_is_that_of_its_definition():
    rows = [row_of(confidence=0.8, right=right) for right in (True, True, True, False)]
    rows += [row_of(confidence=0.3, right=True), row_of(confidence=0.5, right=None)]
    assert calibration_error(rows) == pytest.approx(4 / 5 * 0.05 + 1 / 5 * 0.7)
    assert calibration_error([row_of(right=None)]) is None


def test_what_is_wrong_is_said_in_one_line(pzsl, mislabelled, tmp_path):
    _, run = mislabelled
    out = tmp_path / "l.csv"
    wrong = [
        ([], 2, "--run, or a cache"),
        (["--run", run, "--out", tmp_path / "l.txt"], 2, "suffix should be one of"),
        (["--run", run, "--out", out, "--review", "-1"], 2, "at least 0"),
        (["--run", tmp_path, "--out", out], 1, "not a finished run"),
        (["--cache", tmp_path / "none.h5", "--out", out], 1, "none.h5"),
    ]
    for words, expected, part in wrong:
        code, text, err = pzsl("labels", *words)
        assert (code, text) == (expected, "") and part in err.splitlines()[-1], err
        assert not out.exists()
    assert pzsl("labels", "--run", run, "--out", out)[0] == 0
    code, _, err = pzsl("labels", "--run", run, "--out", out)
    assert code == 1 and "exists already" in err
    with pytest.raises(UsageError):
        labels(out=out, overwrite=True)


def test_a_name_with_the_separator_goes_into_no_csv():
    with pytest.raises(UserError, match=r"'cat\|dog' can't stand"):
        check_names(Path("l.csv"), ["owl", "cat|dog"])
    check_names(Path("l.json"), ["cat|dog"])
