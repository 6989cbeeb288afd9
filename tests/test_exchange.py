"""Features in and out: `pzsl export`, `pzsl import` of each kind, attributes as labels."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import caches
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file
from scipy.io import loadmat
from standin import add_features, plant, write_splits

from pzsl.cli import main
from pzsl.datasets import load_dataset
from pzsl.datasets.own.rows import read_rows
from pzsl.encoders import load_encoder
from pzsl.encoders.prompts import encode_classes, load_templates
from pzsl.errors import UsageError, UserError
from pzsl.exchange import Labelling, export_any, import_any
from pzsl.store import CacheWriter, load_cache
from pzsl.training import train
from pzsl.training.candidate_sets import candidate_sets
from pzsl.training.config import Source, expand
from pzsl.training.label_embeddings import label_vectors

UNKNOWN_SCORES = {"S": None, "U": None, "H": None, "T1": None}


def run(monkeypatch, capsys, *words: object) -> tuple[int, str, str]:
    """Run `pzsl` with these words: exit code, stdout, stderr."""
    monkeypatch.setattr("sys.argv", ["pzsl", *map(str, words)])
    code = 0
    try:
        main()
    except SystemExit as end:
        code = int(end.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


# --- out and in again ----------------------------------------------------------------------------

SHAPES = {
    "plain": ({}, {}),
    "half floats": ({}, {"dtype": "float16"}),
    "views": ({}, {"views": 3}),
    "attributes": ({"attributes": np.linspace(0, 1, 12, dtype=np.float32).reshape(4, 3)}, {}),
    "unlabelled": ({"labels": np.array([0, 1, -1, 3, 0, 1, 2])}, {}),
}


def test_a_logit_scale_that_is_taken_for_granted_is_said(tmp_path, capsys):
    path = tmp_path / "mine.npz"
    export_any(caches.make(tmp_path / "pets.h5"), path)
    with np.load(path) as file:
        given = dict(file)
    import_any(path, tmp_path / "a.h5")
    assert "logit scale" not in capsys.readouterr().err
    given.pop("logit_scale")
    np.savez(path, **given)
    import_any(path, tmp_path / "b.h5")
    assert "mine.npz: no logit scale is given: 100 is taken" in capsys.readouterr().err
    assert load_cache(tmp_path / "b.h5").logit_scale == 100


def test_all_missing_and_all_unknown_arrays_are_named_at_once(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, images=np.ones((2, 3), "f4"), labels=np.arange(2), text=np.ones((2, 3), "f4"))
    with pytest.raises(UserError, match=r"mine.npz: it lacks 'image_features' \(N, D\)") as lacking:
        import_any(path, tmp_path / "a.h5")
    for name in ("class_names", "text_features", "unseen", "split", "model", "pretrained"):
        assert f"'{name}' (" in str(lacking.value)
    assert "it has images (2, 3), labels (2,), text (2, 3)." in str(lacking.value)
    export_any(caches.make(tmp_path / "pets.h5"), path, overwrite=True)
    with np.load(path) as file:
        np.savez(tmp_path / "more.npz", **file, seen=np.ones(2), note=np.array("mine"))
    with pytest.raises(UserError, match=r"unknown arrays 'seen' \(2,\), 'note' \(\): leave them"):
        import_any(tmp_path / "more.npz", tmp_path / "b.h5")


@pytest.mark.parametrize("kind", SHAPES)
def test_what_is_exported_as_npz_comes_back_bit_for_bit(tmp_path, kind):
    changes, options = SHAPES[kind]
    head = caches.candidates(caches.header()) if kind == "unlabelled" else caches.header()
    head = replace(head, **changes)
    path = caches.make(tmp_path / "pets.h5", head, **options)
    result = export_any(path)
    assert result["files"] == [str(tmp_path / "pets.npz")]
    assert import_any(result["files"][0], tmp_path / "back.h5") == {
        **{key: result[key] for key in ("images", "classes", "zero_shot")},
        "cache": str(tmp_path / "back.h5"),
    }
    there, back = load_cache(path), load_cache(tmp_path / "back.h5")
    for name in ("images", "text", "views", "attributes", "labels", "splits", "seen"):
        np.testing.assert_array_equal(getattr(there, name), getattr(back, name))
    assert back.fingerprint == there.fingerprint
    for name in ("model", "pretrained", "weights_hash", "preprocessing", "precision"):
        assert back.provenance[name] == there.provenance[name]
    origin = back.provenance["origin"]
    assert origin.items() >= there.provenance["origin"].items() and origin["file"] == "pets.npz"


def test_an_edited_file_does_not_keep_the_split_hash_of_what_was_exported(tmp_path, capsys):
    path = caches.make(tmp_path / "pets.h5", caches.header())
    with np.load(export_any(path)["files"][0]) as file:
        arrays = dict(file)
    without = {name: array for name, array in arrays.items() if name != "split_check"}
    arrays["labels"][[0, 2]] = arrays["labels"][[2, 0]]
    for name, edited in (("edited", arrays), ("older", without)):
        np.savez(tmp_path / f"{name}.npz", **edited)
        import_any(tmp_path / f"{name}.npz", tmp_path / f"{name}.h5")
        assert ("were edited since" in capsys.readouterr().err) == (name == "edited")
    hashes = [load_cache(tmp_path / f"{name}.h5").split_hash for name in ("pets", "edited")]
    assert hashes[0] != hashes[1]
    assert load_cache(tmp_path / "older.h5").split_hash == hashes[0]  # no one can tell


def test_real_features_come_back_bit_for_bit(real_data, tmp_path):
    source = real_data / "clip_features" / "caltech69.npz"
    first = import_any(source, tmp_path / "a.h5")
    (file,) = export_any(first["cache"], tmp_path / "b.npz")["files"]
    again = import_any(file, tmp_path / "b.h5")
    assert again["zero_shot"] == first["zero_shot"]
    assert load_cache(tmp_path / "a.h5").fingerprint == load_cache(tmp_path / "b.h5").fingerprint


def test_an_exported_file_needs_no_pickle_and_has_plain_arrays(tmp_path):
    head = caches.candidates(caches.header(attributes=np.eye(4, 2, dtype=np.float32)))
    path = caches.make(tmp_path / "pets.h5", head, views=1)
    (file,) = export_any(path)["files"]
    with np.load(file, allow_pickle=False) as arrays:
        assert all(arrays[name].dtype.kind in "fiubU" for name in arrays.files)
        assert arrays["text_features"].shape == (4, 2, caches.DIM)
        assert arrays["templates"].tolist() == list(caches.TEMPLATES)


def test_the_command_exports_and_says_so_in_json(tmp_path, monkeypatch, capsys):
    pytest.importorskip("pyarrow")
    path = caches.make(tmp_path / "pets.h5")
    words = ["export", path, "--out", tmp_path / "new", "--format", "npz,parquet"]
    code, out, err = run(monkeypatch, capsys, *words, "--json")
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert found["files"] == [str(tmp_path / "new" / f"pets.{kind}") for kind in ("npz", "parquet")]
    assert (found["cache"], found["images"], found["classes"]) == (str(path), 7, 4)
    assert set(found["zero_shot"]) == {"S", "U", "H", "T1"}
    code, out, err = run(monkeypatch, capsys, *words)
    assert code == 1 and "pets.npz exists already: replace it with --overwrite" in err
    code, out, err = run(monkeypatch, capsys, *words, "--overwrite")
    assert code == 0 and out.splitlines()[1:] == [f"wrote {file}" for file in found["files"]]
    assert [file.name for file in (tmp_path / "new").iterdir() if file.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"formats": ["csv"]}, "Unknown format 'csv'. Known: npz, parquet"),
        ({"formats": ["pqrquet"]}, "Did you mean 'parquet'"),
        ({"out": "x.csv"}, "--out x.csv ends in .csv: give a .npz or .parquet file or a folder"),
        ({"out": "x.npz", "formats": ["parquet"]}, "is one .npz file, but --format asks for parq"),
    ],
)
def test_a_wrong_export_is_explained(tmp_path, options, message):
    path = caches.make(tmp_path / "pets.h5")
    with pytest.raises(UsageError) as error:
        export_any(path, **options)
    assert message in str(error.value)


def test_an_unfinished_cache_is_not_exported(tmp_path):
    with CacheWriter(tmp_path / "pets.h5", caches.header()):
        pass
    with pytest.raises(UserError, match="not finished yet"):
        export_any(tmp_path / "pets.h5")
    assert not (tmp_path / "pets.npz").exists()


def test_a_parquet_file_has_a_row_for_each_image(tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    head = caches.candidates(caches.header(labels=np.array([0, 1, -1, 3, 0, 1, 2])))
    path = caches.make(tmp_path / "pets.h5", head)
    monkeypatch.setattr("pzsl.exchange.export.CHUNK", 3)
    (file,) = export_any(path, tmp_path / "x.parquet")["files"]
    table, cache = parquet.read_table(file), load_cache(path)
    assert table.column_names == ["path", "label", "split", "candidates", "embedding"]
    rows = table.to_pylist()
    assert tuple(row["path"] for row in rows) == cache.paths
    assert [row["label"] for row in rows][:4] == ["black cat", "weißer Hund", None, "fish"]
    assert [row["split"] for row in rows] == cache.splits.tolist()
    assert rows[1]["candidates"] == ["black cat", "weißer Hund"]
    embeddings = np.array([row["embedding"] for row in rows], dtype=np.float32)
    np.testing.assert_array_equal(embeddings, cache.images)
    assert [row.path for row in read_rows(Path(file))] == list(cache.paths)


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    path = caches.make(tmp_path / "pets.h5")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"pip install 'pzsl\[parquet\]', or use --format npz"):
        export_any(path, formats=["parquet"])
    assert [file.name for file in tmp_path.iterdir()] == ["pets.h5"]


# --- a matrix and a table ------------------------------------------------------------------------

ROWS = [
    ("a/1.jpg", "owl", "owl|cat", "trainval"),
    ("a/2.jpg", "", "cat|owl", "trainval"),
    ("b/3.jpg", "cat", "", "trainval"),
    ("b/4.jpg", "cat", "", "test_seen"),
    ("c/5.jpg", "auk", "", "test_unseen"),
]
CLASSES = ["owl", "cat", "auk"]


def write_table(folder: Path, rows=ROWS) -> Path:
    with (folder / "images.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "candidates", "split"])
        writer.writerows(rows)
    return folder / "images.csv"


@pytest.fixture
def given(tmp_path):
    """A table, a class list and class vectors in its order."""
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES))
    np.save(tmp_path / "text.npy", caches.unit(7, 3, 6))
    return Labelling(
        table=write_table(tmp_path),
        classes=tmp_path / "classes.txt",
        text=tmp_path / "text.npy",
    )


@pytest.mark.parametrize("ending", ["npy", "safetensors"])
def test_a_matrix_a_table_and_class_vectors_become_a_cache(tmp_path, given, ending, capsys):
    vectors, source = caches.unit(3, 5, 6), tmp_path / f"birds.{ending}"
    if ending == "npy":
        np.save(source, vectors)
    else:
        save_file({"features": vectors}, source)
    result = import_any(source, tmp_path / "b.h5", labelling=given)
    assert (result["images"], result["classes"]) == (5, 3) and result["zero_shot"]["S"] is not None
    cache = load_cache(tmp_path / "b.h5")
    np.testing.assert_array_equal(cache.images, vectors)
    np.testing.assert_array_equal(cache.text[:, 0], caches.unit(7, 3, 6))
    assert (cache.dataset, cache.classes) == ("birds", tuple(CLASSES))
    assert cache.paths == tuple(row[0] for row in ROWS)
    assert cache.labels.tolist() == [0, -1, 1, 1, 2] and cache.seen.tolist() == [True, True, False]
    assert cache.splits.tolist() == [row[3] for row in ROWS]
    assert cache.candidate_labels[: cache.candidate_offsets[2]].tolist() == [0, 1, 0, 1]
    origin = cache.provenance["origin"]
    assert {"features_sha256", "table_sha256", "text_sha256"} <= set(origin)
    before = (tmp_path / "b.h5").stat().st_mtime_ns
    capsys.readouterr()
    same = replace(given, templates=tmp_path / "none.txt", pretrained="openai")
    assert import_any(source, tmp_path / "b.h5", labelling=same) == result
    told = "--pretrained, --templates mean nothing here: --text brings the class vectors"
    assert told in capsys.readouterr().err
    assert (tmp_path / "b.h5").stat().st_mtime_ns == before


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_vectors_of_any_length_are_taken_only_to_be_normalised(tmp_path, given, dtype):
    vectors, source = caches.unit(3, 5, 6), tmp_path / "birds.npy"
    long = (vectors * np.array([[1], [1], [7], [0.1], [1]])).astype(dtype)
    np.save(source, long)
    with pytest.raises(UserError, match=r"birds.npy, row 2 has length 7 .*2 of 5.*--normalise"):
        import_any(source, tmp_path / "b.h5", labelling=given)
    import_any(source, tmp_path / "b.h5", labelling=given, normalise=True)
    cache = load_cache(tmp_path / "b.h5")
    np.testing.assert_allclose(cache.images, vectors, atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(cache.images, axis=1), 1, atol=3e-7)
    if dtype == np.float32:
        np.testing.assert_array_equal(cache.images[[0, 1, 4]], vectors[[0, 1, 4]])


def test_zero_and_infinite_vectors_are_refused_even_then(tmp_path, given):
    for fault, words in ((0.0, "is all zero"), (np.nan, "holds NaN")):
        vectors = caches.unit(3, 5, 6)
        vectors[3] = fault
        np.save(tmp_path / "birds.npy", vectors)
        with pytest.raises(UserError, match=f"row 3 {words}.*leave them out"):
            import_any(tmp_path / "birds.npy", tmp_path / "b.h5", labelling=given, normalise=True)


def test_class_names_can_be_encoded_by_the_model_of_the_features(tmp_path, given, tiny_weights):
    encoder = load_encoder("tiny", str(tiny_weights))
    dim = encoder.identity.dim
    np.save(tmp_path / "birds.npy", caches.unit(3, 5, dim))
    by_model = Labelling(given.table, model="tiny", pretrained=str(tiny_weights))
    import_any(tmp_path / "birds.npy", tmp_path / "b.h5", labelling=by_model)
    cache = load_cache(tmp_path / "b.h5")
    assert cache.classes == ("auk", "cat", "owl") and cache.templates == load_templates("table")
    expected = encode_classes(encoder, cache.classes, cache.templates).numpy()
    np.testing.assert_array_equal(cache.text, expected)
    assert cache.provenance["weights_hash"] == encoder.identity.weights_hash
    assert cache.logit_scale == pytest.approx(encoder.identity.logit_scale)
    np.save(tmp_path / "birds.npy", caches.unit(3, 5, 6))
    with pytest.raises(UserError, match=f"have 6 dimensions, those of tiny have {dim}"):
        import_any(tmp_path / "birds.npy", tmp_path / "c.h5", labelling=by_model)


FAULTS = {
    "has 4 rows, but": {"birds.npy": caches.unit(3, 4, 6)},
    "text.npy should have shape (3, 6), classes by dimensions": {"text.npy": caches.unit(7, 2, 6)},
    "text.npy, row 0 has length 2": {"text.npy": 2 * caches.unit(7, 3, 6)},
    "birds.npy: should be a matrix of floats, a row for each vector, but is (6,)": {
        "birds.npy": np.ones(6)
    },
    "numpy.atleast_2d(vectors).astype('float32')": {"birds.npy": np.ones(6)},
    "but is (5, 6) int64": {"birds.npy": np.ones((5, 6), int)},
    "without pickle": {"birds.npy": np.array([[print]], dtype=object)},
}


@pytest.mark.parametrize("words", FAULTS)
def test_a_matrix_that_does_not_fit_is_explained_and_nothing_is_written(tmp_path, given, words):
    np.save(tmp_path / "birds.npy", caches.unit(3, 5, 6))
    for name, array in FAULTS[words].items():
        np.save(tmp_path / name, array)
    with pytest.raises(UserError) as error:
        import_any(tmp_path / "birds.npy", tmp_path / "out" / "b.h5", labelling=given)
    assert words in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_files_that_are_no_matrix_are_answered_in_one_line(tmp_path, given):
    save_file({"a": np.ones((5, 6)), "b": np.ones(3)}, tmp_path / "two.safetensors")
    np.savez(tmp_path / "x.npz", a=np.ones(3))
    np.save(tmp_path / "whole.npy", caches.unit(3, 5, 6))
    contents = {
        "cut.npy": (tmp_path / "whole.npy").read_bytes()[:-9],
        "archive.npy": (tmp_path / "x.npz").read_bytes(),
        "text.safetensors": b"no tensors at all",
        "empty.safetensors": b"",
        "empty.npy": b"",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    for name in ("two.safetensors", *contents):
        with pytest.raises(UserError, match=rf"{name}: ") as error:
            import_any(tmp_path / name, tmp_path / "b.h5", labelling=given)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "Give one source"),
        (["x.npy", "--xlsa17", "SUN"], 2, "Give one source"),
        (["none.npy"], 1, "none.npy: no such file"),
        (["notes.txt"], 2, "come as .npz, .npy or .safetensors"),
        (["x.npy"], 2, "--table FILE.csv"),
        (["x.npy", "--table", "images.csv"], 2, "either --text FILE"),
        (["x.npy", "--table", "images.csv", "--text", "t.npy", "--model", "tiny"], 2, "either"),
        (["x.npy", "--table", "images.csv", "--text", "t.npy"], 2, "--text needs --classes"),
        (["x.npz", "--unseen-file", "u.txt"], 2, "--unseen-file means nothing to a .npz file"),
        (["--xlsa17", "SUN", "--model", "tiny"], 2, "--model means nothing to --xlsa17"),
        (["folder"], 2, "--table FILE.csv"),
    ],
)
def test_a_wrong_import_is_answered_in_one_line(
    tmp_path, monkeypatch, capsys, words, code, message
):
    monkeypatch.chdir(tmp_path)
    write_table(tmp_path)
    np.save("x.npy", caches.unit(3, 5, 6))
    Path("notes.txt").write_text("no features")
    Path("folder").mkdir()
    found, out, err = run(monkeypatch, capsys, "import", *words)
    assert (found, out, err.count("\n")) == (code, "", 1) and message in err


# --- clip-retrieval ------------------------------------------------------------------------------


@pytest.fixture
def inference(tmp_path):
    """The output folder of a run over five images in two parts, `_2` before `_10`."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    folder = tmp_path / "birds"
    vectors = caches.unit(3, 6, 6).astype(np.float16)
    names = [f"/data/birds/{row[0]}" for row in ROWS[::-1]] + ["/data/birds/more/9.jpg"]
    for part, rows in {"2": range(4), "10": range(4, 6)}.items():
        for sub in ("img_emb", "metadata"):
            (folder / sub).mkdir(parents=True, exist_ok=True)
        np.save(folder / "img_emb" / f"img_emb_{part}.npy", vectors[list(rows)])
        about = {"image_path": [names[row] for row in rows], "caption": ["a bird"] * len(rows)}
        parquet.write_table(pyarrow.table(about), folder / "metadata" / f"metadata_{part}.parquet")
    return folder, vectors


def test_a_folder_of_clip_retrieval_is_matched_with_the_table(tmp_path, given, inference, capsys):
    folder, vectors = inference
    import_any(folder, tmp_path / "b.h5", labelling=given)
    cache = load_cache(tmp_path / "b.h5")
    assert cache.paths == tuple(row[0] for row in ROWS) and cache.dataset == "birds"
    np.testing.assert_allclose(cache.images, vectors[:5][::-1].astype(np.float32), atol=1e-3)
    assert "1 of 6 embeddings are not in the table: left out" in capsys.readouterr().err


def test_a_folder_that_does_not_fit_is_explained(tmp_path, given, inference):
    folder, vectors = inference

    def fails(words: str) -> None:
        with pytest.raises(UserError) as error:
            import_any(folder, tmp_path / "b.h5", labelling=given)
        assert words in str(error.value) and "\n" not in str(error.value)

    write_table(tmp_path, [*ROWS, ("d/1.jpg", "cat", "", "trainval")])
    fails("1 of 6 images of the table have no embedding ('d/1.jpg'; paths there are like '/data/bi")
    write_table(tmp_path)
    last = folder / "metadata" / "metadata_10.parquet"
    shutil.copy(folder / "metadata" / "metadata_2.parquet", last)
    fails("img_emb_10.npy has 2 rows, but metadata_10.parquet names 4 images")
    np.save(folder / "img_emb" / "img_emb_10.npy", vectors[:4])
    fails("2 images end in 'a/2.jpg' ('/data/birds/a/2.jpg', '/data/birds/a/2.jpg')")
    np.save(folder / "img_emb" / "img_emb_10.npy", caches.unit(1, 4, 5))
    fails("img_emb_10.npy has 5 dimensions, but img_emb_2.npy has 6")
    last.write_bytes(b"no table")
    fails("metadata_10.parquet is not a complete Parquet file")
    last.unlink()
    fails("metadata_10.parquet is missing: it names the images of img_emb_10.npy")
    shutil.rmtree(folder / "img_emb")
    fails("holds no img_emb/img_emb_*.npy")


def test_keys_of_images_in_tars_are_matched_whole(tmp_path):
    from pzsl.exchange.clip_retrieval import find_rows

    assert find_rows(["0001", "a/0001"], ["0001", "x/a/0001"], "here").tolist() == [0, 1]
    with pytest.raises(UserError, match="1 of 1 images"):
        find_rows(["1.jpg"], ["x/11.jpg"], "here")


# --- xlsa17 with its features --------------------------------------------------------------------

NAMES = ["ox", "mole", "blue+whale", "bat"]
FEATURES = 3 * caches.unit(5, 40, 8)


@pytest.fixture
def awa2(tmp_path):
    """The two files of a small AWA2, its features 8-d and not normalised; 'bat' is unseen."""
    labels = [i // 10 for i in range(40)]
    files = [
        f"/BS/Animals_with_Attributes2//JPEGImages/{NAMES[c]}/{NAMES[c]}_{i % 10}.jpg"
        for i, c in enumerate(labels)
    ]
    splits = [
        "test_unseen" if c == 3 else "test_seen" if i % 5 == 0 else "trainval"
        for i, c in enumerate(labels)
    ]
    attributes = np.arange(8).reshape(4, 2)
    folder = tmp_path / "xlsa17" / "AWA2"
    write_splits(folder, files, labels, splits, NAMES, attributes, FEATURES)
    return folder


def test_published_features_become_a_cache_of_unit_vectors_with_attributes(
    awa2, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(monkeypatch, capsys, "import", "--xlsa17", awa2, "--json")
    result = json.loads(out)
    assert (code, result["cache"]) == (0, str(Path("cache") / "awa2-res101.h5"))
    assert (result["images"], result["classes"], result["zero_shot"]) == (40, 4, UNKNOWN_SCORES)
    cache = load_cache(result["cache"])
    np.testing.assert_allclose(cache.images, FEATURES / 3, atol=1e-6)
    np.testing.assert_array_equal(cache.attributes, np.arange(8).reshape(4, 2))
    assert cache.classes == ("ox", "mole", "blue whale", "bat") and cache.templates == ()
    assert (cache.dataset, cache.provenance["model"]) == ("awa2", "ResNet-101")
    plant(tmp_path / "tree", [f"JPEGImages/{path}" for path in cache.paths])
    data = load_dataset("awa2", root=tmp_path / "tree", splits=awa2)
    assert (data.paths, data.split_hash) == (cache.paths, cache.split_hash)
    code, out, _ = run(monkeypatch, capsys, "import", "--xlsa17", awa2)
    assert code == 0 and "no zero-shot scores" in out
    (file,) = export_any(result["cache"])["files"]
    import_any(file, "back.h5")
    assert load_cache("back.h5").fingerprint == cache.fingerprint


def test_features_that_are_not_there_or_do_not_fit_are_explained(awa2, tmp_path):
    def fails(words: str, folder: Path = awa2) -> None:
        with pytest.raises(UserError) as error:
            import_any(xlsa17=folder, out=tmp_path / "out" / "a.h5")
        assert words in str(error.value) and "\n" not in str(error.value)
        assert not (tmp_path / "out").exists()

    def again(features: np.ndarray | None) -> None:
        content = loadmat(awa2 / "att_splits.mat")
        splits = np.full(40, "test_unseen", dtype="<U11")
        for name in ("trainval", "test_seen"):
            splits[content[f"{name}_loc"].ravel().astype(int) - 1] = name
        files = [f"a/{i}.jpg" for i in range(40)]
        labels = [i // 10 for i in range(40)]
        write_splits(awa2, files, labels, splits, NAMES, content["att"].T, features)

    fails("holds no att_splits.mat: give the folder of a data set", awa2.parent)
    again(None)
    fails("res101.mat holds no 'features': take the published file, which has them, from http")
    again(FEATURES[:39])
    fails("'features' should be (dimensions x 40 images), but are (8, 39)")
    spoilt = FEATURES.copy()
    spoilt[7] = 0
    again(spoilt)
    fails("'features', row 7 is all zero (1 of 40 rows)")


def test_the_files_here_without_features_say_where_to_get_them(real_data, tmp_path):
    with pytest.raises(UserError, match=r"SUN.res101.mat holds no 'features'.*xlsa17.zip"):
        import_any(xlsa17=real_data / "xlsa17" / "SUN", out=tmp_path / "a.h5")


def test_training_without_text_asks_for_attributes(awa2, tmp_path):
    path = import_any(xlsa17=awa2, out=tmp_path / "a.h5")["cache"]
    grid = {"method": ["clip"], "rate": [0.3], "seeds": 1, "workers": 1, "runs": tmp_path / "runs"}
    for labels in ("text", "both"):
        with pytest.raises(UserError, match="holds no text embeddings: use --labels attributes"):
            train(path, labels=labels, **grid)
    with pytest.raises(UserError, match=r"no text embeddings, which instance-dep.*--noise uniform"):
        train(path, labels="attributes", noise=["instance"], **grid)
    assert not (tmp_path / "runs").exists()
    (row,) = train(path, labels="attributes", **grid)["runs"]
    assert all(0 <= row[name] <= 100 for name in ("S", "U", "H", "T1"))


REAL = {
    "SUN": (14340, 717, 102, (10320, 2580, 1440), ["clip"]),
    "CUB": (11788, 200, 312, (7057, 1764, 2967), ["clip", "clip-pzsl"]),
    "AWA2": (37322, 50, 85, (23527, 5882, 7913), ["clip"]),
}


@pytest.fixture(params=REAL)
def mapped(request, real_data, tmp_path):
    """Real splits, labels and attributes; features are a random linear map of the attributes."""
    source, folder = real_data / "xlsa17" / request.param, tmp_path / request.param
    folder.mkdir()
    for file in ("att_splits.mat", "res101.mat"):
        shutil.copy(source / file, folder / file)
    attributes = loadmat(folder / "att_splits.mat", variable_names=["att"])["att"].T
    labels = loadmat(folder / "res101.mat", variable_names=["labels"])["labels"].ravel() - 1
    random = np.random.default_rng(0)
    centres = attributes @ random.standard_normal((attributes.shape[1], 32))
    centres -= centres.mean(axis=0) - 0.3
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    noise = 0.05 * random.standard_normal((len(labels), 32))
    add_features(folder / "res101.mat", centres[labels] + noise)
    return folder


def test_real_attributes_flow_through_training_and_evaluation(mapped, tmp_path):
    images, classes, dims, splits, methods = REAL[mapped.name]
    path = import_any(xlsa17=mapped, out=tmp_path / "a.h5")["cache"]
    cache = load_cache(path)
    assert cache.images.shape == (images, 32) and cache.attributes.shape == (classes, dims)
    names = ("trainval", "test_seen", "test_unseen")
    assert tuple(int((cache.splits == name).sum()) for name in names) == splits
    result = train(
        path,
        method=methods,
        rate=[0.1],
        seeds=1,
        labels="attributes",
        settings={"epochs": 1, "min_steps": 4} if len(methods) > 1 else None,
        runs=tmp_path / "runs",
        workers=1,
    )
    for row in result["runs"]:
        assert row["T1"] > 95, row  # the known linear map is found from seen classes alone
    expected = slow_metrics(cache)
    for name, value in expected.items():
        assert result["runs"][0][name] == pytest.approx(value), name


def slow_metrics(cache) -> dict[str, float]:
    """Scores of `clip` with attributes as labels, class by class."""
    source = Source(cache.dataset, cache.fingerprint, "ResNet-101")
    (config,) = expand(source, ["clip"], ["default"], ["uniform"], [0.1], [0], [0], "attributes")
    rows = np.flatnonzero(cache.splits == "trainval")
    vectors = label_vectors(cache, "attributes", rows, candidate_sets(cache, config, rows))
    assert vectors.shape == (len(cache.classes), cache.images.shape[1])

    def accuracy(split: str, allowed: np.ndarray) -> float:
        hits = []
        for label in np.unique(cache.labels[cache.splits == split]):
            mine = (cache.labels == label) & (cache.splits == split)
            scores = np.where(allowed, cache.images[mine] @ vectors.T, -np.inf)
            hits.append((scores.argmax(axis=1) == label).mean())
        return 100 * float(np.mean(hits))

    everything = np.ones(len(cache.classes), dtype=bool)
    seen, unseen = accuracy("test_seen", everything), accuracy("test_unseen", everything)
    found = {"S": seen, "U": unseen, "H": 2 * seen * unseen / (seen + unseen)}
    return found | {"T1": accuracy("test_unseen", ~cache.seen)}


# --- a table with real candidate sets, from images to scores -------------------------------------


def test_real_candidate_sets_go_from_a_csv_through_extract_into_training(
    tmp_path, monkeypatch, capsys, tiny_weights
):
    monkeypatch.chdir(tmp_path)
    random, rows = np.random.default_rng(0), []
    for number, (name, split) in enumerate(
        [(n, s) for n in ("ash", "elm", "fir") for s in ["trainval"] * 4 + ["test_seen"] * 2]
        + [("oak", "test_unseen")] * 3
    ):
        pixels = random.integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(f"{number}.png")
        sets = "ash|elm" if name != "fir" else "fir"
        label = "" if number == 1 else name
        rows.append((f"{number}.png", label, sets if split == "trainval" else "", split))
    table = write_table(tmp_path, rows)
    words = ["extract", "--dataset", "table", "--table", table, "--model", "tiny", "--json"]
    code, out, err = run(monkeypatch, capsys, *words, "--pretrained", tiny_weights)
    assert code == 0, err
    cache = load_cache(json.loads(out)["cache"])
    assert cache.labels[1] == -1 and np.diff(cache.candidate_offsets)[:4].tolist() == [2, 2, 2, 2]
    words = ["train", "--cache", "cache/table.h5", "--noise", "file", "--seeds", 1, "--json"]
    words += ["--workers", 1, "--set", "min_steps=4,epochs=2"]
    code, out, err = run(monkeypatch, capsys, *words)
    assert code == 0, err
    (row,) = json.loads(out)["runs"]
    assert row["rate"] is None and set("SUH") <= set(row)
    metrics = json.loads((Path(row["path"]) / "metrics.json").read_text())
    assert metrics["mean_candidates"] == pytest.approx((8 * 2 + 4) / 12)
    assert metrics["truth_outside"] == 0
    write_table(tmp_path, [*rows[:4], ("4.png", "ash", "ash|elm", "tran"), *rows[5:]])
    words = ["extract", "--dataset", "table", "--table", table, "--out", "other.h5"]
    code, out, err = run(monkeypatch, capsys, *words)
    assert code == 1 and "images.csv, line 6: unknown split 'tran'" in err
