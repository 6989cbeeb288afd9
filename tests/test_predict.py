"""New images: files, folders, tables and features in, answers out, however it is interrupted."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from problems import write_cache

import pzsl
from pzsl import extract, load_cache, train
from pzsl.datasets.shapes.drawing import Composition, draw
from pzsl.encoders import Identity
from pzsl.errors import UsageError, UserError
from pzsl.exchange import import_npz
from pzsl.inference import answer_file
from pzsl.inference.answers import AnswerOptions
from pzsl.inference.encoder import check_texts, encoder_of
from pzsl.inference.model import open_model
from pzsl.inference.new_names import new_names
from pzsl.inference.predict import _question_digest
from pzsl.inference.record import read_record
from pzsl.inference.restore import restore
from pzsl.inference.sources import find_images

SHORT = {"min_steps": 4, "epochs": 2}


@pytest.fixture(scope="module")
def trained_on_shapes(tmp_path_factory) -> Path:
    """A run of `clip-pzsl` on some of the built-in images."""
    folder = tmp_path_factory.mktemp("shapes")
    cache = extract("shapes", out=folder / "shapes.h5", limit=400)["cache"]
    given = {"rate": 0.1, "seeds": 1, "workers": 1, "settings": SHORT}
    result = train(cache, runs=folder / "runs", **given)
    return Path(result["runs"][0]["path"])


@pytest.fixture
def drawings(tmp_path) -> Path:
    """Ten drawings, each in a file named after what it shows."""
    folder = tmp_path / "drawings"
    folder.mkdir()
    for number, shape in enumerate(("star", "circle", "heart", "ring", "cross")):
        for texture in ("plain", "striped"):
            pixels = draw(Composition("red", texture, shape), np.random.default_rng(number))
            Image.fromarray(pixels).save(folder / f"red {texture} {shape}.png")
    return folder


def test_predict_names_what_is_in_new_images(pzsl, trained_on_shapes, drawings):
    code, out, err = pzsl("predict", "--run", trained_on_shapes, drawings, "--top", 3, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["classes"] == 400 and len(found["images"]) == 10 and not found["failed"]
    hits = 0
    for image in found["images"]:
        shares = [each["probability"] for each in image["classes"]]
        assert len(shares) == 3 and shares == sorted(shares, reverse=True)
        hits += Path(image["path"]).stem in [each["name"] for each in image["classes"]]
    assert hits >= 7  # of ten, among 400 classes


def test_predict_takes_a_name_that_training_never_met(pzsl, trained_on_shapes, drawings):
    words = ["--class", "red star", "--class", "red plain circle", "--top", "401", "--json"]
    code, out, err = pzsl("predict", "--run", trained_on_shapes, drawings, *words)
    assert code == 0 and "already" in err  # the second name is one of the 400
    found = json.loads(out)
    assert found["classes"] == 401
    place = {}
    for image in found["images"]:
        names = [each["name"] for each in image["classes"]]
        place[Path(image["path"]).stem] = names.index("red star")
        assert [each["seen"] for each in image["classes"] if each["name"] == "red star"] == [False]
    best = min(place, key=place.__getitem__)
    assert best.endswith("star") and place[best] < 10


def test_predict_prints_what_it_can_and_then_says_what_it_could_not(
    pzsl, trained_on_shapes, drawings
):
    (drawings / "broken.png").write_bytes(b"\x89PNG no image")
    code, out, err = pzsl("predict", "--run", trained_on_shapes, drawings)
    assert code == 1 and "red plain star" in out
    assert "1 of 11 images can't be read" in err.strip().splitlines()[-1]
    code, out, err = pzsl("predict", "--run", trained_on_shapes, drawings / "none.png")
    assert (code, out) == (1, "") and "none.png" in err


def test_predict_refuses_another_encoder(pzsl, trained_on_shapes, drawings, tiny_weights):
    words = ["--pretrained", tiny_weights]
    code, out, err = pzsl("predict", "--run", trained_on_shapes, drawings, *words)
    assert (code, out) == (1, "") and "other weights" in err.strip().splitlines()[-1]


def test_predict_refuses_the_run_s_weights_with_other_settings(trained_on_shapes):
    run = open_model(trained_on_shapes)
    recorded = run.encoder["preprocessing"]
    for changed in ({"mean": [0.48, 0.46, 0.41]}, {"clean_texts": "canonicalize"}):
        encoder = {**run.encoder, "preprocessing": {**recorded, **changed}}
        with pytest.raises(UserError, match=f"{next(iter(changed))} .*, now"):
            encoder_of(replace(run, encoder=encoder))
    old = {name: value for name, value in recorded.items() if name != "fill_color"}
    encoder = encoder_of(replace(run, encoder={**run.encoder, "preprocessing": old}))
    labels = run.scorer((), None).method.problem.seen
    check_texts(run, encoder, labels)  # as with another activation, which the weights don't show
    with pytest.raises(UserError, match="-quickgelu"):
        check_texts(run, encoder, labels.roll(1, dims=1))


def test_images_in_linked_folders_are_found_once_each(drawings, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / ".hidden").mkdir(parents=True)
    for name in ("a.png", ".hidden/b.png", "notes.txt"):
        (elsewhere / name).write_bytes(b"")
    (drawings / "linked").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(drawings)
    names = find_images([drawings]).names
    assert len(names) == 11 and str(drawings / "linked" / "a.png") in names


def test_files_of_other_kinds_are_counted_and_links_to_nothing_fail_by_themselves(
    trained_on_shapes, drawings, capsys
):
    for name in ("a.HEIC", "b.heic", "c.avif", "noending", ".hidden"):
        (drawings / name).write_bytes(b"")
    (drawings / "gone.jpg").symlink_to(drawings / "nowhere.jpg")
    found = pzsl.predict(trained_on_shapes, [drawings], top=1)
    assert "4 files of other kinds (2 .heic, 1 .avif, 1 without" in capsys.readouterr().err
    assert [Path(each["path"]).name for each in found["failed"]] == ["gone.jpg"]
    assert found["answered"] == 10


def test_images_of_one_name_keep_apart_and_those_named_again_are_reported(
    drawings, tmp_path, capsys
):
    tables = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        tables.append(tmp_path / name / "table.csv")
        tables[-1].write_text(f"path\n1.png\nof {name}.png\n", encoding="utf-8")
        (tmp_path / name / "1.png").touch()
    source = find_images([*tables, tables[0]])
    full = [str(tmp_path / name / "1.png") for name in ("one", "two")]
    assert source.names == (full[0], "of one.png", full[1], "of two.png")
    assert "2 images named again" in capsys.readouterr().err
    file = next(drawings.iterdir())
    assert len(find_images([drawings, file]).names) == 10
    assert "1 image named again" in capsys.readouterr().err


def test_a_folder_that_cannot_be_listed_is_reported(drawings, capsys, monkeypatch):
    scan, closed = os.scandir, drawings / "closed"
    closed.mkdir()

    def refuse(folder):
        if Path(folder) == closed:
            raise PermissionError(13, "Permission denied", str(folder))
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    assert len(find_images([drawings]).names) == 10
    assert "closed' is left out: it can't be read (Permission" in capsys.readouterr().err


# --- one damaged image costs its own answer only -------------------------------------------------


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_decompression_bomb_is_named_and_all_others_are_answered(
    trained_on_shapes, drawings, monkeypatch
):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5000)  # the drawings have fewer
    Image.new("1", (90, 90)).save(drawings / "bomb.png")
    (drawings / "empty.png").touch()
    found = pzsl.predict(trained_on_shapes, [drawings], top=1)
    assert [Path(each["path"]).name for each in found["failed"]] == ["bomb.png", "empty.png"]
    assert "decompression bomb" in found["failed"][0]["reason"]
    assert found["answered"] == len(found["images"]) == 10


# --- tables of answers ---------------------------------------------------------------------------


def read_any(file: Path) -> list[dict]:
    """The rows of a table of answers, lists as lists."""
    if file.suffix == ".csv":
        with file.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        return [{**row, "classes": row["classes"].split("|")} for row in rows]
    if file.suffix == ".parquet":
        return pd.read_parquet(file).to_dict("records")
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines()]
    return json.loads(text)


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".json", ".jsonl"])
def test_answers_go_into_a_table_of_any_kind(trained_on_shapes, drawings, tmp_path, ending):
    (drawings / "broken.png").write_bytes(b"no image")
    out = tmp_path / f"answers{ending}"
    told = pzsl.predict(trained_on_shapes, [drawings], top=3, out=out)
    assert told["images"] == [] and told["answered"] == 10 and len(told["failed"]) == 1
    expected = pzsl.predict(trained_on_shapes, [drawings], top=3)["images"]
    rows = {row["path"]: row for row in read_any(out)}
    assert len(rows) == 11 and not out.with_name(out.name + ".partial").exists()
    for image in expected:
        row = rows[image["path"]]
        assert list(row["classes"]) == [each["name"] for each in image["classes"]]
        assert row["label"] == image["classes"][0]["name"]
        assert float(row["probability"]) == image["classes"][0]["probability"]
    broken = rows[str(drawings / "broken.png")]
    assert broken["label"] == "" and "identify" in broken["failed"]
    with pytest.raises(UserError, match="exists already"):
        pzsl.predict(trained_on_shapes, [drawings], out=out)


def test_what_was_cut_off_is_gone_on_with(trained_on_shapes, drawings, tmp_path, monkeypatch):
    whole, out = tmp_path / "whole.csv", tmp_path / "cut.csv"
    pzsl.predict(trained_on_shapes, [drawings], out=whole, batch_size=2)
    write = answer_file.AnswerFile.write
    written = []

    def stop(self, answers):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(1)
        write(self, answers)

    monkeypatch.setattr(answer_file.AnswerFile, "write", stop)
    with pytest.raises(KeyboardInterrupt):
        pzsl.predict(trained_on_shapes, [drawings], out=out, batch_size=2)
    monkeypatch.undo()
    partial = tmp_path / "cut.csv.partial"
    lines = partial.read_bytes().splitlines(keepends=True)
    assert len(lines) == 7 and not out.exists()  # what was asked, and six answers
    partial.write_bytes(b"".join(lines)[:-9])  # as a power cut leaves it
    told = pzsl.predict(trained_on_shapes, [drawings], out=out, batch_size=2)
    assert told["resumed"] == 5 and told["answered"] == 10
    assert out.read_bytes() == whole.read_bytes()


def test_answers_to_another_question_are_not_gone_on_with(
    pzsl, trained_on_shapes, drawings, tmp_path
):
    out = tmp_path / "a.csv"
    (tmp_path / "a.csv.partial").write_text('{"asked": "something else"}\n{"path": "x"}\n')
    words = ["predict", "--run", trained_on_shapes, drawings, "--out", out]
    code, text, err = pzsl(*words, "--class", "red star")
    assert code == 0 and "another question" in err and "10 images, 401 classes" in text


def test_answers_of_another_encoder_are_not_gone_on_with():
    """Of an imported cache, no hash is known that the encoder could be compared with."""
    run, source = SimpleNamespace(identity="run"), SimpleNamespace(digest="images")
    digests = {
        _question_digest(run, (), source, AnswerOptions(5, None), encoder)
        for encoder in (
            None,
            *(
                SimpleNamespace(identity=Identity("ViT", tag, value, {"size": size}, "fp32", 4, 1))
                for tag, value, size in [("a", "1", 8), ("b", "1", 8), ("b", "2", 8), ("b", "2", 9)]
            ),
        )
    }
    assert len(digests) == 4  # the same weights by another name are the same


def test_a_changed_file_is_another_question_and_hidden_files_are_none(drawings):
    before = find_images([drawings])
    digest = before.digest
    (drawings / "__MACOSX").mkdir()
    for name in ("._a.png", "__MACOSX/b.png"):
        (drawings / name).write_bytes(b"what archivers leave behind")
    assert find_images([drawings]).digest == digest and len(before.names) == 10
    with Path(before.files[3]).open("ab") as file:
        file.write(b" ")
    assert find_images([drawings]).names == before.names
    assert find_images([drawings]).digest != digest


def test_a_table_says_which_images(trained_on_shapes, drawings, tmp_path):
    table = tmp_path / "list.csv"
    table.write_text("Filename;anything\nred plain star.png;1\nred plain ring.png;2\nno.png;3\n")
    found = pzsl.predict(trained_on_shapes, [table], root=drawings)
    names = [each["path"] for each in found["images"]]
    assert names == ["red plain star.png", "red plain ring.png"]
    assert [each["path"] for each in found["failed"]] == ["no.png"]
    table.write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="no column 'path': its columns are a, b"):
        pzsl.predict(trained_on_shapes, [table])


def test_a_table_without_the_folder_of_its_images_says_where_they_are(
    pzsl, trained_on_shapes, drawings
):
    table = drawings.parent / "lists" / "labels.csv"
    table.parent.mkdir()
    table.write_text("path,label\nred plain star.png,x\nred plain ring.png,y\n")
    words = ("predict", "--run", trained_on_shapes, table, "--out", table.parent / "out.csv")
    code, out, err = pzsl(*words)
    assert (code, out) == (1, "") and not (table.parent / "out.csv").exists()
    told = f"none of its 2 images is below {table.parent}, such as 'red plain star.png': give their"
    assert told in err and "give their folder as --root" in err
    table.write_text(f"path\n{drawings.name}/red plain star.png\n")
    code, _, err = pzsl(*words)
    assert code == 1 and f"they are below {drawings.parent}: give that as --root" in err
    assert pzsl(*words, "--root", drawings.parent)[0] == 0


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("t.csv", "path,note\na.jpg,ok\nb.jpg,blurred, dark\nc.jpg,ok\n", "line 3: 3 fields"),
        ("t.csv", 'path,note\na.jpg,"open\nb.jpg,ok\n', "line 2: a quote is opened"),
        ("t.csv", 'path,note\n"a.jpg,ok\nb.jpg",ok\n', "line 3: .* closed too late"),
        ("t.csv", "path,path\na.jpg,b.jpg\n", "two columns are called 'path'"),
        ("t.jsonl", '{"path": "a.jpg"}\n{"path": "b.jpg",}\n', "line 2: not JSON"),
        ("t.jsonl", '{"path": "a.jpg"}\n"b.jpg"\n', "line 2: expected an object"),
        ("t.json", '[{"path": "a.jpg"}, {"path": ["b.jpg"]}]', "entry 2: .* a list in place"),
    ],
)
def test_a_malformed_row_of_a_table_of_images_is_refused(tmp_path, name, content, fault):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=fault):
        find_images([tmp_path / name])


def test_rows_without_an_answer_of_their_own_are_counted(tmp_path, capsys):
    (tmp_path / "a.jpg").touch()
    (tmp_path / "t.csv").write_text("path;note\na.jpg;1\n;2\na.jpg;3\n./a.jpg;4\nb.jpg;5\n")
    assert find_images([tmp_path / "t.csv"]).names == ("a.jpg", "b.jpg")
    told = capsys.readouterr().err
    assert "t.csv: separated by semicolons; 1 row without a path left out; 2 rows left" in told


# --- features, and caches that were imported -----------------------------------------------------


@pytest.fixture(scope="module")
def toy_run(tmp_path_factory) -> Path:
    """A run on made vectors, of an encoder that nobody has."""
    folder = tmp_path_factory.mktemp("toy")
    cache = write_cache(folder / "toy.h5")
    result = train(cache, rate=0.3, seeds=1, workers=1, settings=SHORT, runs=folder / "runs")
    return Path(result["runs"][0]["path"])


def test_features_are_answered_without_an_encoder(pzsl, toy_run, tmp_path):
    record = read_record(toy_run)
    vectors = np.array(load_cache(record.cache).images)
    np.save(tmp_path / "x.npy", (3 * vectors).astype(np.float64))
    words = ["predict", "--run", toy_run, tmp_path / "x.npy", "--top", "1", "--json"]
    code, out, err = pzsl(*words)
    assert code == 0, err
    found = json.loads(out)["images"]
    trained = restore(record)
    with torch.no_grad():
        scores = trained.method.scores(torch.from_numpy(vectors))
    scores[:, : trained.seen] -= trained.gamma
    best = [trained.names[label] for label in scores.argmax(dim=1)]
    assert [each["classes"][0]["name"] for each in found] == best
    assert found[7]["path"].endswith("x.npy[7]")


def test_options_of_an_encoder_mean_nothing_to_features(toy_run, tmp_path, capsys):
    vectors = np.array(load_cache(read_record(toy_run).cache).images[:3])
    np.save(tmp_path / "x.npy", vectors)
    plain = pzsl.predict(toy_run, [tmp_path / "x.npy"])["images"]
    assert "nothing here" not in capsys.readouterr().err
    np.save(tmp_path / "x.npy", vectors * np.float32(0.992))  # near unit length, but not of it
    told = pzsl.predict(toy_run, [tmp_path / "x.npy"], root=tmp_path, model="tiny")["images"]
    assert np.allclose(
        [each["probability"] for image in told for each in image["classes"]],
        [each["probability"] for image in plain for each in image["classes"]],
        atol=1e-6,
    )
    err = capsys.readouterr().err
    assert "--root means nothing here" in err and "--model means nothing here" in err


def test_a_new_name_that_is_nearly_another_is_reported(capsys):
    new_names(("red fox", "heron", "kite", "kites"), ("red-fox", "zebra", "zebras"))
    told = capsys.readouterr().err.splitlines()
    assert [line.count("one letter apart") for line in told] == [1, 1]
    assert "'red fox' and 'red-fox'" in told[0] and "'zebra' and 'zebras'" in told[1]


@pytest.mark.parametrize("name", ["owl,hawk", "owl, hawk", "owl; hawk", "owl|hawk"])
def test_a_new_name_that_reads_like_a_list_is_reported(name, capsys):
    """Other options take lists with commas; a name may hold one, as those of ImageNet do."""
    assert new_names(("red fox", "heron"), (name,)) == (name,)
    told = f"'{name}' is added as one class: if it is a list, repeat --class for each name."
    assert told in capsys.readouterr().err
    new_names(("tench, Tinca tinca", "heron"), (name,))
    new_names(("red fox", "heron"), ("owl", "tit or mouse"))
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("vectors", "fault"),
    [
        (np.ones((3, 5), np.float32), "5 dimensions.* have 16"),
        (np.zeros((3, 16), np.float32), "row 0 is all zero"),
        (np.ones(3, np.float32), "a row for each vector"),
        (np.ones((0, 16), np.float32), "holds no row"),
        (np.ones((3, 16), np.int64), "matrix of floats.*astype"),
    ],
)
def test_features_that_do_not_fit_are_refused(toy_run, tmp_path, vectors, fault):
    np.save(tmp_path / "x.npy", vectors)
    with pytest.raises(UserError, match=fault):
        pzsl.predict(toy_run, [tmp_path / "x.npy"])
    with pytest.raises(UsageError, match="Images are paths, not ndarray: save"):
        pzsl.predict(toy_run, [vectors])
    with pytest.raises(UsageError, match="alone"):
        pzsl.predict(toy_run, [tmp_path / "x.npy", tmp_path])


def test_images_of_an_imported_cache_need_the_name_of_its_encoder(
    trained_on_shapes, tmp_path, drawings
):
    cache = load_cache(read_record(trained_on_shapes).cache)
    names, splits = np.array(cache.classes), cache.splits
    np.savez(
        tmp_path / "x.npz",
        image_features=cache.images,
        labels=cache.labels,
        class_names=names,
        text_features=cache.label_embeddings(),
        unseen=~cache.seen,
        split=splits,
        model="(imported)",
        pretrained="",
    )
    imported = import_npz(tmp_path / "x.npz", tmp_path / "imported.h5")
    run = train(imported, method="clip", rate=0.1, seeds=1, workers=1, runs=tmp_path / "runs")
    folder = Path(run["runs"][0]["path"])
    with pytest.raises(UserError, match="name it with --model"):
        pzsl.predict(folder, [drawings])
    found = pzsl.predict(folder, [drawings], model="tiny", classes=["red star"])
    assert found["classes"] == 401 and found["answered"] == 10
    with pytest.raises(UserError, match="name the encoder that made them"):
        toy = write_cache(tmp_path / "toy.h5")
        other = train(toy, method="clip", rate=0.1, seeds=1, workers=1, runs=tmp_path / "runs")
        pzsl.predict(other["runs"][0]["path"], [drawings], model="tiny")


def test_a_transductive_run_looks_at_all_images_of_one_call(tmp_path):
    cache = write_cache(tmp_path / "toy.h5")
    given = {"preset": "transductive", "settings": SHORT, "runs": tmp_path / "runs"}
    run = train(cache, rate=0.3, seeds=1, workers=1, **given)["runs"][0]["path"]
    vectors = np.array(load_cache(cache).images)
    np.save(tmp_path / "x.npy", vectors)
    found = pzsl.predict(run, [tmp_path / "x.npy"], top=1)["images"]
    trained = restore(read_record(run))
    images = torch.from_numpy(vectors)
    with torch.no_grad():
        trained.method.observe_queries(lambda: [images])
        scores = trained.method.scores(images)
    scores[:, : trained.seen] -= trained.gamma
    best = [trained.names[label] for label in scores.argmax(dim=1)]
    assert [each["classes"][0]["name"] for each in found] == best
