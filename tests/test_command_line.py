"""What the command line says of itself, and what it answers to a slip."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import warnings
from errno import EACCES, EEXIST, ENOENT, ENOTDIR
from pathlib import Path

import numpy as np
import pytest
from problems import write_cache

import pzsl as library
from pzsl.candidates import NOISES
from pzsl.cli import main
from pzsl.cli.common import complain, emit
from pzsl.datasets import SOURCES
from pzsl.errors import UsageError
from pzsl.methods import METHODS
from pzsl.progress import counted
from pzsl.requests import LABELS, as_list, as_lists, is_number, is_plain_name


def help_of(pzsl, command: str) -> str:
    """The help of a command in one line, as wrapping cuts names at their hyphens."""
    code, out, _ = pzsl(command, "--help")
    assert code == 0
    return re.sub(r"\s+", " ", out)


def last_line(result: tuple[int, str, str]) -> str:
    code, out, err = result
    assert (code, out) == (2, ""), result
    assert len(err.strip().splitlines()) == 1, err
    return err.strip()


def test_help_of_train_names_every_method_preset_noise_and_label_source(pzsl):
    out = help_of(pzsl, "train")
    presets = {preset for entry in METHODS.values() for preset in entry.presets}
    for name in (*METHODS, *presets, *NOISES, *LABELS):
        assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", out), name
    assert {"file", "annotated"} < set(NOISES)
    assert "{" not in out


def test_help_of_extract_names_every_data_set(pzsl):
    out = help_of(pzsl, "extract")
    assert all(f"{name}," in out or f"{name};" in out for name in SOURCES)


def test_one_of_a_kind_is_counted_in_the_singular():
    assert [counted(n, "image") for n in (0, 1, 2, 1200)] == [
        "0 images",
        "1 image",
        "2 images",
        "1,200 images",
    ]
    assert [counted(n, "class", "classes") for n in (1, 2)] == ["1 class", "2 classes"]


def test_the_version_is_printed(pzsl):
    assert pzsl("--version")[:2] == (0, f"pzsl {library.__version__}\n")


def test_warnings_of_pillow_which_name_no_file_are_not_shown(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["pzsl", "--version"])
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        with pytest.raises(SystemExit):
            main()
        for module in ("PIL.TiffImagePlugin", "PIL.Image", "somebody.else"):
            warnings.warn_explicit("Corrupt EXIF data.", UserWarning, "x.py", 1, module=module)
    assert len(shown) == 1


def test_env_says_what_a_bug_report_needs(pzsl):
    code, out, _ = pzsl("env", "--json")
    facts = json.loads(out)
    assert code == 0 and facts["pzsl"] == library.__version__
    assert facts["cores"] >= 1 and facts["device"]
    assert facts["packages"]["torch"] and "transformers" in facts["packages"]
    _, out, _ = pzsl("env")
    assert "torch" in out and "cores" in out


def test_extract_alone_shows_its_help_and_does_not_begin(pzsl, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, out, err = pzsl("extract")
    assert "Usage: pzsl extract" in out + err and "--dataset" in out + err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("train --cache a.h5 --rate 0.1 0.3", "'--rate 0.1,0.3'"),
        ("train --cache a.h5 --rate 0.1, 0.3 0.5 --seeds 2", "'--rate 0.1,0.3,0.5'"),
        ("train --cache a.h5 --method=clip clip-pzsl", "'--method clip,clip-pzsl'"),
        ("train a.h5", "'--cache a.h5'"),
        ("extract sun", "'--dataset sun'"),
        ("train --cache a.h5 --seeds 2 3", "(3)"),
        ("train --caches a.h5", "'--cache'"),
        ("train --cache a.h5 --few_shot 2", "'--few-shot'"),
        ("train", "--cache"),
        ("trian", "'train'"),
        ("datasets fetsh sun", "'fetch'"),
    ],
)
def test_a_slip_is_answered_with_what_was_meant(pzsl, line, meant):
    assert meant in last_line(pzsl(*line.split()))


def test_train_takes_one_value_where_it_takes_a_list(tmp_path):
    cache = write_cache(tmp_path / "toy.h5")
    how = {"seeds": 1, "workers": 1, "runs": tmp_path / "runs"}
    result = library.train(cache, method="clip", rate=0.1, noise="uniform", few_shot=0, **how)
    assert [(row["method"], row["rate"]) for row in result["runs"]] == [("clip", 0.1)]


def test_one_value_is_a_list_of_one():
    assert as_list("clip") == ["clip"]
    assert as_list(0.1) == [0.1]
    assert as_list(("a", "b")) == ["a", "b"]


@pytest.mark.parametrize(
    "name", ["../x", "..", "a/b", "/tmp/x", "", "c:x", "a\\b", "a\nb", "\x1b[2Jx"]
)
def test_a_sweep_stays_in_the_folder_of_runs(pzsl, tmp_path, name):
    cache = write_cache(tmp_path / "toy.h5")
    words = ("train", "--cache", cache, "--runs", tmp_path / "runs", "--method", "clip")
    assert "--name" in last_line(pzsl(*words, f"--name={name}"))
    assert not (tmp_path / "x").exists() and not (tmp_path / "runs").exists()
    assert not is_plain_name(name) and is_plain_name("sun.2026-01")


def test_a_share_without_the_truth_is_reported_where_nothing_uses_it(pzsl, tmp_path):
    cache = write_cache(tmp_path / "toy.h5")
    words = ("train", "--cache", cache, "--runs", tmp_path / "runs", "--method", "clip")
    assert "--eta means nothing here" in pzsl(*words, "--rate=0.1", "--seeds=1", "--eta=0.3")[2]
    assert "--eta should be a number from 0 to 1" in last_line(pzsl(*words, "--eta=1.5"))


def test_known_noises_are_all_named_to_who_misspells_one(tmp_path):
    cache = write_cache(tmp_path / "toy.h5")
    with pytest.raises(UsageError, match=r"file, annotated"):
        library.train(cache, noise="filed", runs=tmp_path)


def test_the_package_says_that_it_is_typed():
    assert (Path(library.__file__).parent / "py.typed").is_file()


def test_python_m_pzsl_answers_a_slip_in_one_line():
    done = subprocess.run(
        [sys.executable, "-m", "pzsl", "train", "--cachee", "x"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("pzsl: No such option '--cachee'. Did you mean '--cache'?")


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("extract photos", "--dataset folder --root photos"),
        ("extract --dataset folder photos", "--root photos"),
        ("extract photos.CSV", "--table photos.CSV"),
        ("extract sun", "--dataset sun"),
        ("labels photos", "--run photos"),
        ("labels x.h5", "--cache x.h5"),
        ("review c.csv", "--apply c.csv"),
    ],
)
def test_a_stray_word_is_shown_with_the_option_that_takes_it(
    pzsl, tmp_path, monkeypatch, line, meant
):
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    assert f"Did you mean '{meant}'? See" in last_line(pzsl(*line.split()))


@pytest.mark.parametrize("words", [["--runs", "runs/x"], ["--out", "z", "--runs=runs/x"]])
def test_an_argument_given_as_an_option_is_shown_as_it_should_be(pzsl, words):
    told = last_line(pzsl("report", *words))
    assert told.startswith(
        "pzsl: No such option '--runs': write its value alone, 'pzsl report runs/x'"
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("extract --out ''", "--out is empty: give it a value, or leave it out."),
        ("train --cache c.h5 --runs ''", "--runs is empty"),
        ("train --cache c.h5 --rate=", "--rate is empty"),
        ("train --cache c.h5 --rate ,", "--rate names nothing: give at least one value"),
        ("train --cache c.h5 --method ,", "--method names nothing"),
        ("train --cache c.h5 --set lr=1 --set lr=2", "--set gives lr twice, as 1 and as 2"),
        ("predict --run r ' '", "An argument is empty"),
        ("extract --out .", "--out .: this is a folder: name a file in it."),
        ("merge --out ..", "--out ..: this is a folder"),
        ("extract --float16 --dtype float32", "--float16 contradicts --dtype float32"),
        ("predict --run r x.npy --device gpu", "Unknown device 'gpu'"),
        ("bench encode --seeds 3", "--seeds belongs to 'pzsl bench accuracy' or 'labels'"),
        ("bench encode --development", "--development belongs to 'pzsl bench accuracy'"),
        ("bench --tables small", "--tables belongs to 'pzsl bench accuracy'"),
        ("bench labels --cache c.h5 --noise uss", "--noise belongs to 'pzsl bench accuracy'"),
        ("bench accuracy --cache c.h5 --quick", "--quick belongs to 'pzsl bench encode' or 'load'"),
        ("bench labels --cache c.h5 --images 3", "--images belongs to 'pzsl bench memory'"),
        ("bench encode --images 3", "--images is for one part: pzsl bench memory"),
        ("bench accuracy --cache c.h5 --seeds 0", "--seeds should be a whole number from 1"),
        ("bench labels --cache c.h5 --seeds 99999999999", "from 1 to 1,000, not 99999999999"),
        ("bench accuracy --cache a/c.h5,b/c.h5", "two caches called 'c'"),
    ],
)
def test_a_value_that_says_nothing_or_two_things_is_refused(pzsl, words, told):
    assert told in last_line(pzsl(*shlex.split(words)))


@pytest.mark.parametrize(
    "words",
    [
        {"method": None},
        {"method": [3]},
        {"rate": None},
        {"rate": []},
        {"rate": True},
        {"settings": ["rank=3"]},
        {"runs": b"runs"},
        {"name": 5},
        {"threads": 1.5},
        {"memory": "4"},
    ],
)
def test_an_axis_of_another_type_is_refused(words):
    with pytest.raises(UsageError, match=r"should be |takes names|names nothing"):
        library.train("none.h5", **words)


def test_numbers_of_numpy_are_printed_as_json(capsys):
    emit({"count": np.int64(3), "rates": np.array([0.5])}, True, str)
    assert json.loads(capsys.readouterr().out) == {"count": 3, "rates": [0.5]}


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (NotADirectoryError, "x.csv is a file; name a folder, or another place."),
        (FileExistsError, "x.csv is a file; name a folder, or another place."),
        (FileNotFoundError, "name a place that exists"),
        (PermissionError, "name a place that exists and that you may read or write."),
    ],
)
def test_an_error_of_the_system_ends_with_a_remedy(tmp_path, capsys, error, remedy):
    (tmp_path / "x.csv").touch()
    codes = {NotADirectoryError: ENOTDIR, FileExistsError: EEXIST, PermissionError: EACCES}
    assert complain(error(codes.get(error, ENOENT), "why", str(tmp_path / "x.csv" / "a"))) == 1
    line = capsys.readouterr().err
    assert line.startswith("pzsl: why (") and remedy in line and line.count("\n") == 1


@pytest.mark.parametrize(
    "words", [{"overwrite": "no"}, {"views": "1"}, {"seed": True}, {"unseen": "0.2"}, {"out": 3}]
)
def test_a_value_of_another_kind_is_refused_before_any_work(words):
    with pytest.raises(UsageError, match=r"^--[a-z-]+ should be (True or False|a|the)"):
        library.extract(**words)


def test_single_values_and_iterators_are_lists_and_numbers_are_those_that_are_printed():
    assert as_list("zebra") == ["zebra"] and as_list(Path("x.npy")) == [Path("x.npy")]
    (rate,) = as_list(np.float32(0.1))
    assert rate == 0.1 and type(rate) is float and as_list(np.array([1, 2])) == [1, 2]
    assert as_list(np.arange(3) * 0.1 + 0.1) == [0.1, 0.2, 0.3]
    assert as_lists({"rate": iter([0.1, 0.3]), "name": "x"}) == {"rate": [0.1, 0.3], "name": "x"}
    assert not is_number(True) and is_number(np.float32(1)) and not is_number("1")


@pytest.mark.parametrize("error", [FileNotFoundError(), OSError(), PermissionError("")])
def test_an_error_of_a_library_without_text_is_named(error, capsys):
    assert complain(error) == 1
    assert capsys.readouterr().err.strip() == f"pzsl: {type(error).__name__}"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--versio"], "'--versio'. Did you mean '--version'? See 'pzsl --help'."),
        (["--cache", "x", "train"], "No such option '--cache'. See 'pzsl --help'."),
        (["prompts", "--all", "show"], "No such option '--all'. See 'pzsl prompts --help'."),
        (["predict", "photos"], "Missing option '--run' (A finished run"),
        (["merge", "a.h5", "b.h5"], "Missing option '--out' (The cache to write"),
    ],
)
def test_a_wrong_or_missing_option_is_named_as_such(pzsl, words, told):
    assert told in last_line(pzsl(*words))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["demo", "--seeds", "0"], "--seeds should be a whole number from 1"),
        (["extract", "--dataset", "shapes", "--dtype", "float64"], "--dtype is float32 or float16"),
    ],
)
def test_a_wrong_value_is_refused_before_images_are_drawn(pzsl, words, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert told in last_line(pzsl(*words))
    assert not [*tmp_path.iterdir()]
