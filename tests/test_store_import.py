"""Features of other tools as caches, and the commands `pzsl import` and `pzsl inspect`."""

from __future__ import annotations

import json
import zipfile

import caches
import numpy as np
import pytest

from pzsl.cli import main
from pzsl.errors import UserError
from pzsl.exchange import import_npz
from pzsl.store import CacheWriter, load_cache


def arrays() -> dict[str, np.ndarray]:
    """A file of seven images and four classes, as other tools write it."""
    head = caches.header()
    return {
        "image_features": caches.images(7).astype(np.float16),
        "labels": head.labels.astype(np.int32),
        "class_names": np.array(head.classes),
        "text_features": caches.text()[:, 0],
        "unseen": ~head.seen,
        "split": head.splits,
        "model": np.array("ViT-B-32"),
        "pretrained": np.array("openai"),
    }


def write(folder, **changes):
    path = folder / "pets.npz"
    kept = {name: value for name, value in (arrays() | changes).items() if value is not None}
    np.savez(path, **kept)
    return path


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


# --- arrays in -----------------------------------------------------------------------------------


def test_text_embeddings_of_each_prompt_need_their_texts(tmp_path):
    text = caches.text()
    given = {"text_features": text}
    with pytest.raises(UserError, match=r"has \(4, \d, 5\): add 'templates', the text of each"):
        import_npz(write(tmp_path, **given), tmp_path / "pets.h5")
    templates = np.array([f"{number} {{}}" for number in range(text.shape[1])])
    path = import_npz(write(tmp_path, **given, templates=templates), tmp_path / "pets.h5")
    assert load_cache(path).text.shape == text.shape


def test_arrays_become_a_cache(tmp_path):
    path = import_npz(write(tmp_path), tmp_path / "new" / "pets.h5")
    cache = load_cache(path)
    given = arrays()
    assert cache.dataset == "pets" and cache.classes == caches.CLASSES
    assert cache.templates == ("(imported)",) and cache.text.shape == (4, 1, 5)
    assert cache.paths == tuple(f"image/{row:06d}" for row in range(7))
    np.testing.assert_array_equal(cache.labels, given["labels"])
    np.testing.assert_array_equal(cache.splits, given["split"])
    np.testing.assert_array_equal(cache.seen, ~given["unseen"])
    np.testing.assert_allclose(cache.images, given["image_features"], atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(cache.images, axis=1), 1, atol=3e-7)
    np.testing.assert_allclose(cache.label_embeddings(), given["text_features"], atol=1e-6)
    assert cache.logit_scale == 100 and cache.provenance["weights_hash"] == ""
    assert cache.provenance["model"] == "ViT-B-32" and cache.provenance["pretrained"] == "openai"
    assert cache.provenance["origin"]["file"] == "pets.npz"


def test_names_of_images_are_taken_where_there_are_some(tmp_path):
    path = import_npz(write(tmp_path, paths=np.array(list("abcdefg"))), tmp_path / "pets.h5")
    assert load_cache(path).paths == tuple("abcdefg")


def test_an_import_cut_short_is_gone_on_with(tmp_path, monkeypatch):
    source, out = write(tmp_path), tmp_path / "pets.h5"
    with monkeypatch.context() as patch:
        patch.setattr("pzsl.exchange.vectors.CHUNK", 2)
        write_rows, calls = CacheWriter.write, []

        def third_time_fails(self, *given):
            calls.append(given)
            if len(calls) == 3:
                raise KeyboardInterrupt
            write_rows(self, *given)

        patch.setattr(CacheWriter, "write", third_time_fails)
        with pytest.raises(KeyboardInterrupt):
            import_npz(source, out)
    np.testing.assert_array_equal(
        load_cache(import_npz(source, out)).images,
        load_cache(import_npz(source, tmp_path / "plain.h5")).images,
    )


def test_equal_class_names_are_numbered_as_their_vectors_come_along(tmp_path, capsys):
    names = np.array(["crane", "crane (2)", "crane", "fish"])
    cache = load_cache(import_npz(write(tmp_path, class_names=names), tmp_path / "pets.h5"))
    assert cache.classes == ("crane", "crane (2)", "crane (3)", "fish")
    assert "class name 'crane' occurs again: kept as 'crane (3)'" in capsys.readouterr().err


NOT_UNIT = caches.images(7)
NOT_UNIT[4] *= 3
BAD = {
    "it lacks 'unseen' (C,); it has image_features (7, 5), ": {"unseen": None},
    "unknown arrays 'feats' (3,): leave them out; known: image_features (N, D), labels (N,)": {
        "feats": np.zeros(3)
    },
    "'labels' should have shape (7,), but has (6,)": {"labels": np.zeros(6, int)},
    "'text_features' should have shape (4, 5), but has (4, 6)": {
        "text_features": caches.unit(0, 4, 6)
    },
    "'image_features' should have shape (N, D), but has (7,)": {"image_features": np.ones(7)},
    "'model' should have shape (), but has (1,)": {"model": np.array(["a"])},
    "'labels' should hold whole numbers, but is float64": {"labels": np.zeros(7)},
    "'unseen' should hold bool, but is int64": {"unseen": np.zeros(4, int)},
    "'class_names' should hold text, but is int64": {"class_names": np.arange(4)},
    "'labels' go from 1 to 4, but rows of 'class_names' count from 0: subtract 1": {
        "labels": np.array([1, 2, 3, 4, 1, 2, 3])
    },
    "row 0 ('image/000000') has label 7, outside 0..3": {"labels": np.full(7, 7)},
    "is in split 'train'; known: trainval, test_seen, test_unseen": {"split": np.full(7, "train")},
    "'image_features', row 4 has length 3 instead of 1 (1 of 7 rows): divide each row": {
        "image_features": NOT_UNIT
    },
    "'text_features', row 0 holds NaN": {"text_features": np.full((4, 5), np.nan)},
    "without pickle": {"class_names": np.array(list(caches.CLASSES), dtype=object)},
    "image 'a' occurs more than once (rows 0 and 1)": {"paths": np.full(7, "a")},
}


@pytest.mark.parametrize("words", BAD)
def test_arrays_that_make_no_sense_are_named_and_nothing_is_written(tmp_path, words):
    source = write(tmp_path, **BAD[words])
    with pytest.raises(UserError) as error:
        import_npz(source, tmp_path / "out" / "pets.h5")
    line = str(error.value)
    assert words in line and line.startswith(str(source)) and "\n" not in line
    assert not (tmp_path / "out").exists()


def test_files_that_are_no_npz_are_answered_in_one_line(tmp_path):
    path = tmp_path / "pets.npz"
    with pytest.raises(UserError, match="no such file"):
        import_npz(path, tmp_path / "pets.h5")
    whole = write(tmp_path).read_bytes()
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("labels.npy", "no array")
    np.save(tmp_path / "one.npy", np.zeros(3))
    others = [(tmp_path / name).read_bytes() for name in ("other.zip", "one.npy")]
    for content in (b"", b"text", whole[:300], whole[:-30], whole[:400] + whole[500:], *others):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"pets.npz: ") as error:
            import_npz(path, tmp_path / "pets.h5")
        assert "\n" not in str(error.value)


def test_an_existing_cache_is_kept_unless_asked(tmp_path):
    source, out = write(tmp_path), tmp_path / "pets.h5"
    import_npz(source, out)
    before = out.stat().st_mtime_ns
    assert import_npz(source, out) == out and out.stat().st_mtime_ns == before
    write(tmp_path, paths=np.array(list("abcdefg")))
    with pytest.raises(UserError, match=r"exists already, with other settings .*other /image/p"):
        import_npz(source, out)
    assert out.stat().st_mtime_ns == before
    import_npz(source, out, overwrite=True)
    assert load_cache(out).paths == tuple("abcdefg")


# --- real features -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "images", "classes", "s", "u", "h"),
    [
        ("caltech69", 4306, 69, 95.68, 90.84, 93.20),
        ("imagenet1k_fewshot", 6984, 1000, 57.78, 63.89, 60.68),
    ],
)
def test_real_features_score_as_published(
    real_data, tmp_path, monkeypatch, capsys, name, images, classes, s, u, h
):
    source = real_data / "clip_features" / f"{name}.npz"
    out = tmp_path / f"{name}.h5"
    code, printed, _ = run(monkeypatch, capsys, "import", source, "--out", out, "--json")
    result = json.loads(printed)
    assert code == 0 and result["cache"] == str(out)
    assert (result["images"], result["classes"]) == (images, classes)
    for measure, value in {"S": s, "U": u, "H": h}.items():
        assert result["zero_shot"][measure] == pytest.approx(value, abs=0.05)
    assert run(monkeypatch, capsys, "inspect", out)[0] == 0


# --- commands ------------------------------------------------------------------------------------


def test_import_prints_what_frozen_clip_scores(tmp_path, monkeypatch, capsys):
    source = write(tmp_path)
    monkeypatch.chdir(tmp_path)
    code, out, err = run(monkeypatch, capsys, "import", source)
    assert code == 0 and err == ""
    first, _, names, numbers = out.splitlines()
    assert first.split() == ["cache/pets.h5:", "7", "images,", "4", "classes"]
    assert names.split() == ["S", "U", "H", "T1"] and len(numbers.split()) == 4
    assert run(monkeypatch, capsys, "import", source) == (0, out, "")
    write(tmp_path, model=np.array("RN50"))
    code, out, err = run(monkeypatch, capsys, "import", source)
    assert (code, out) == (1, "") and "--overwrite" in err and err.count("\n") == 1
    assert run(monkeypatch, capsys, "import", source, "--overwrite")[0] == 0


def test_inspect_says_what_is_there_and_where_it_comes_from(tmp_path, monkeypatch, capsys):
    head = caches.candidates(caches.header(attributes=np.ones((4, 6), np.float32)))
    path = caches.make(tmp_path / "pets.h5", head, views=2)
    code, out, err = run(monkeypatch, capsys, "inspect", path)
    assert (code, err) == (0, "")
    for words in (
        "7 (trainval 4, test_seen 2, test_unseen 1)",
        "4 (3 seen, 1 unseen)",
        "5 (float32)",
        "views       2",
        "candidates  1.57 per image",
        "model: tiny",
        "preprocessing size: 64",
        "whole (fingerprint",
    ):
        assert words in out
    code, out, err = run(monkeypatch, capsys, "inspect", path, "--json")
    found = json.loads(out)
    assert (code, err, found["problems"], found["schema"]) == (0, "", [], 1)
    assert found["counts"]["splits"] == {"trainval": 4, "test_seen": 2, "test_unseen": 1}
    assert found["provenance"]["weights_hash"] == head.weights_hash


def test_inspect_ends_with_1_and_the_reason_where_a_cache_is_not_whole(
    tmp_path, monkeypatch, capsys
):
    path = tmp_path / "pets.h5"
    with CacheWriter(path, caches.header()) as writer:
        writer.write(np.arange(3), caches.images(7)[:3])
    code, out, _ = run(monkeypatch, capsys, "inspect", path)
    assert code == 1 and "done        3 of 7 images" in out and "not whole" in out
    code, out, err = run(monkeypatch, capsys, "inspect", path, "--json")
    found = json.loads(out)
    assert code == 1 and err.count("\n") == 1 and found["problems"][0] in err
    assert found["counts"]["done"] == 3 and found["counts"]["images"] == 7
    path.write_bytes(b"damaged")
    code, out, err = run(monkeypatch, capsys, "inspect", path)
    assert code == 1 and "not an HDF5 file" in out
    code, out, err = run(monkeypatch, capsys, "inspect", tmp_path / "none.h5")
    assert (code, out, err.count("\n")) == (1, "", 1) and "no such file" in err
