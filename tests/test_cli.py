"""The command line as users meet it: results on stdout, one line for each error, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from problems import write_cache

from pzsl.store.hdf5 import write_checksums

ROOT = Path(__file__).parents[1]


@pytest.fixture
def photos(tmp_path) -> Path:
    """A folder of four classes with three small images each."""
    rng = np.random.default_rng(0)
    for name in ("cat", "dog", "fish", "red_bird"):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for number in range(3):
            pixels = rng.integers(0, 255, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "photos"


def one_line(result: tuple[int, str, str], code: int, *words: str) -> None:
    """Holds an error to the promise: exit code, nothing on stdout, one last line with `words`."""
    assert result[0] == code, result
    assert result[1] == ""
    assert "Traceback" not in result[2]
    last = result[2].strip().splitlines()[-1]
    for word in words:
        assert word in last, last


COMMANDS = (
    *("demo", "datasets", "extract", "merge", "import", "export", "inspect", "prompts", "annotate"),
    *("train", "methods", "report", "labels", "review", "refine", "pack", "predict", "bench"),
)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(pzsl, command):
    code, out, _ = pzsl(command, "--help")
    assert code == 0 and "Usage" in out and command in out


def test_help_of_the_whole_names_every_command(pzsl):
    _, out, _ = pzsl("--help")
    assert all(f"  {command} " in out for command in COMMANDS)


def test_train_and_report_print_one_json_document(pzsl, tmp_path):
    cache = write_cache(tmp_path / "toy.h5")
    runs = tmp_path / "runs"
    words = ["--rate", "0.1,0.3", "--seeds", "1", "--workers", "1", "--set", "min_steps=4,epochs=2"]
    code, out, err = pzsl("train", "--cache", cache, "--runs", runs, *words, "--json")
    assert code == 0, err
    rows = json.loads(out)["runs"]
    assert [row["rate"] for row in rows] == [0.1, 0.3]
    needed = [
        "method",
        "noise",
        "rate",
        "seed",
        "S",
        "U",
        "H",
        "T1",
        "AUSUC",
        "disambiguation",
        "seconds",
        "path",
    ]
    assert all(set(needed) <= set(row) for row in rows)
    assert "device cpu" in err or "device" in err
    code, out, _ = pzsl("report", runs, "--out", tmp_path / "report", "--json")
    found = json.loads(out)
    assert code == 0 and len(found["rows"]) == 2
    assert {"S_mean", "S_std", "n"} <= set(found["rows"][0])
    assert all(Path(file).is_file() for file in found["files"])


def test_a_toml_file_gives_the_options_and_the_line_wins(pzsl, tmp_path):
    cache = write_cache(tmp_path / "toy.h5")
    file = tmp_path / "sweep.toml"
    file.write_text('method = "clip,clip-pzsl"\nrate = [0.2]\nseeds = 1\n[set]\nmin_steps = 4\n')
    words = ["--cache", cache, "--config", file, "--runs", tmp_path / "runs", "--workers", "1"]
    _, out, _ = pzsl("train", *words, "--json")
    assert [(r["method"], r["rate"]) for r in json.loads(out)["runs"]] == [
        ("clip", 0.2),
        ("clip-pzsl", 0.2),
    ]
    _, out, _ = pzsl("train", *words, "--method", "clip", "--json")
    assert [row["method"] for row in json.loads(out)["runs"]] == ["clip"]


def test_unknown_names_are_answered_with_the_nearest(pzsl, tmp_path):
    cache = write_cache(tmp_path / "toy.h5")
    train = ["train", "--cache", cache, "--runs", tmp_path / "runs"]
    one_line(pzsl(*train, "--method", "clip-pzls"), 2, "clip-pzls", "Did you mean 'clip-pzsl'")
    one_line(pzsl(*train, "--noise", "unifrom"), 2, "Did you mean 'uniform'")
    one_line(pzsl(*train, "--rate", "many"), 2, "--rate takes numbers")
    one_line(pzsl(*train, "--rate", "1.5"), 2, "1.5")
    one_line(pzsl(*train, "--labels", "colour"), 2, "text, attributes, both")
    one_line(pzsl(*train, "--labels", "attributes"), 1, "no attributes")
    one_line(pzsl(*train, "--device", "abacus"), 2, "abacus")
    one_line(pzsl("extract", "--dataset", "shape"), 2, "Did you mean 'shapes'")


def test_sets_of_the_cache_have_no_rate_in_the_table(pzsl, tmp_path):
    cache = write_cache(tmp_path / "c.h5", candidates=True)
    words = ["--runs", tmp_path / "runs", "--method", "clip", "--noise", "file,uniform"]
    _, out, _ = pzsl("train", "--cache", cache, *words, "--rate", "0.1", "--seeds", "1")
    assert [line.split()[2] for line in out.splitlines()[1:3]] == ["-", "0.1"]


def test_a_broken_cache_is_named_with_its_remedy(pzsl, tmp_path):
    whole = write_cache(tmp_path / "toy.h5")
    train = ["train", "--runs", tmp_path / "runs", "--cache"]
    one_line(pzsl(*train, tmp_path / "none.h5"), 1, "none.h5")

    cut = tmp_path / "cut.h5"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    one_line(pzsl(*train, cut), 1, "cut.h5")

    def changed(name: str, change) -> Path:
        path = tmp_path / name
        path.write_bytes(whole.read_bytes())
        with h5py.File(path, "r+") as file:
            change(file)
        return path

    def nan(file):
        file["image/features"][3, 0] = np.nan

    def version(file):
        file.attrs["schema"] = 7

    one_line(pzsl(*train, changed("nan.h5", nan)), 1, "nan.h5", "row 3")
    one_line(pzsl(*train, changed("new.h5", version)), 1, "new.h5", "7")
    code, out, _ = pzsl("inspect", tmp_path / "nan.h5")
    assert code == 1 and "row 3" in out


def test_a_candidate_set_without_a_seen_class_is_named(pzsl, tmp_path):
    cache = write_cache(tmp_path / "toy.h5", candidates=True)
    with h5py.File(cache, "r+") as file:
        start = int(file["image/candidates/offsets"][1])
        file["image/candidates/labels"][start] = 11  # an unseen class
    write_checksums(cache)
    words = ["--cache", cache, "--noise", "file", "--runs", tmp_path / "runs"]
    one_line(pzsl("train", *words), 1, "toy.h5", "1", "seen")


@pytest.mark.parametrize("damage", ["truncated", "empty", "folder"])
def test_an_unreadable_image_stops_or_is_listed(pzsl, photos, tmp_path, tiny_weights, damage):
    victim = photos / "cat" / "1.png"
    if damage == "truncated":
        victim.write_bytes(victim.read_bytes()[:40])
    elif damage == "empty":
        victim.write_bytes(b"")
    else:
        victim.unlink()
        victim.mkdir()
    out = tmp_path / "photos.h5"
    words = ["extract", "--dataset", "folder", "--root", photos, "--out", out]
    words += ["--model", "tiny", "--pretrained", tiny_weights]
    one_line(pzsl(*words), 1, "1.png", "--on-error skip")
    code, text, err = pzsl(*words, "--on-error", "skip", "--json")
    assert code == 0, err
    found = json.loads(text)
    assert found["images"] == 11
    assert [Path(item["path"]).name for item in found["failed"]] == ["1.png"]


def test_folders_that_make_no_data_set_are_refused(pzsl, tmp_path):
    words = ["extract", "--dataset", "folder", "--out", tmp_path / "x.h5", "--root"]
    one_line(pzsl(*words, tmp_path / "nowhere"), 1, "nowhere")
    (tmp_path / "bare").mkdir()
    one_line(pzsl(*words, tmp_path / "bare"), 1, "bare")
    single = tmp_path / "single" / "cat"
    single.mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(single / "a.png")
    one_line(pzsl(*words, tmp_path / "single"), 1, "single")
    for name in ("red_bird", "red bird"):
        (tmp_path / "twice" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "twice" / name / "a.png")
    one_line(pzsl(*words, tmp_path / "twice"), 1, "red bird")
    assert not (tmp_path / "x.h5").exists()


def test_python_m_pzsl_and_cli_py_are_the_same_program():
    outputs = [
        subprocess.run(
            [sys.executable, *words, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        for words in (["-m", "pzsl"], ["cli.py"])
    ]
    assert outputs[0] == outputs[1]


@pytest.mark.slow
def test_the_demo_runs_offline_and_beats_clip(pzsl, tmp_path):
    code, out, err = pzsl("demo", "--out", tmp_path / "demo", "--seeds", "2", "--json")
    assert code == 0, err
    rows = json.loads(out)["rows"]
    h = {(row["method"], row["rate"]): row["H_mean"] for row in rows}
    assert all(h["clip-pzsl", rate] > h["clip", rate] + 18 for rate in (0.1, 0.3, 0.5))
    assert any(file.endswith("index.html") for file in json.loads(out)["files"])
    code, out, err = pzsl("demo", "--out", tmp_path / "demo", "--seeds", "2")  # finished runs stay
    assert code == 0, err
    assert sum(line.startswith("clip-pzsl ") for line in out.splitlines()) == 4
