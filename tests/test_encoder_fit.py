"""An encoder that does not know the images is named wherever its results are used."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import caches
import numpy as np
import pytest
from problems import write_cache

from pzsl import annotate, labels, predict, refine, report, train
from pzsl.evaluation import (
    EncoderFit,
    copied_images,
    encoder_fit,
    noise_doubt,
    other_encoder_doubt,
)
from pzsl.exchange.npz import npz_arrays
from pzsl.progress import gravest
from pzsl.store import CacheWriter, load_cache

WARNING = "The encoder does not seem to fit these images"


def write(path, good: bool, labelled: bool):
    """A cache of 90 images of three classes, whose embeddings know the classes or do not."""
    count = 90
    head = caches.header(count)
    labels = np.arange(count, dtype=np.int64) % 3
    splits = np.where(np.arange(count) % 5 == 0, "test_seen", "trainval")
    paths = tuple(f"{row}.jpg" for row in range(count))
    sets = [sorted({int(label), (int(label) + 1) % 3}) for label in labels]
    shown = labels if labelled else np.where(splits == "trainval", -1, labels)
    head = caches.header(
        count,
        labels=shown,
        splits=splits,
        paths=paths,
        candidate_offsets=np.cumsum([0, *map(len, sets)], dtype=np.int64),
        candidate_labels=np.concatenate(sets).astype(np.int32),
    )
    text = caches.text()
    mean = text.mean(axis=1)
    vectors = mean[labels] if good else mean[(labels + 2) % 3]
    vectors = vectors + 0.05 * caches.unit(9, count, caches.DIM)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with CacheWriter(path, head) as writer:
        writer.write_text(text)
        writer.write(np.arange(count), vectors.astype(np.float32), None)
        writer.finish()
    return path


@pytest.mark.parametrize("labelled", [True, False])
def test_agreement_is_held_against_chance(tmp_path, labelled):
    good = encoder_fit(load_cache(write(tmp_path / "good.h5", True, labelled)))
    bad = encoder_fit(load_cache(write(tmp_path / "bad.h5", False, labelled)))
    assert good.warning is None and good.agreement > 0.9
    assert bad.chance == pytest.approx(1 / 3 if labelled else 2 / 3)
    assert good.images == bad.images == 72 and bad.agreement < 0.1
    assert WARNING in bad.warning and "for 0 % of 72" in bad.warning


def test_the_worst_warning_is_that_of_the_worst_share():
    fits = [EncoderFit(share, 0.2, 500).warning for share in (0.03, 0.1, 0.2)]
    assert gravest(fits) == fits[0] == gravest(fits[::-1])
    noises = [noise_doubt(share) for share in (0.6, 0.95, 1.0)]
    assert gravest(noises) == noises[2]


def test_few_images_and_hard_data_are_no_reason_to_warn():
    assert EncoderFit(0.0, 0.5, 10).warning is None
    assert EncoderFit(0.08, 0.31, 500).warning is not None
    assert EncoderFit(0.2, 0.01, 500).warning is None  # a hundred kinds of aircraft
    assert EncoderFit(0.012, 0.01, 500).warning is not None


def real_features(real_data):
    """Unit embeddings of each real data set of one encoder."""
    files = sorted((real_data / "clip_features").glob("*.npz"))
    images = {file.stem: np.load(file)["image_features"].astype(np.float32) for file in files}
    return {name: x / np.linalg.norm(x, axis=1, keepdims=True) for name, x in images.items()}


def test_other_photographs_are_not_taken_for_another_encoder_s(real_data):
    sets = real_features(real_data)
    for trained, images in [(a, b) for a in sets.values() for b in sets.values()]:
        mean, others = trained.mean(axis=0), images[:, ::-1]
        assert other_encoder_doubt(mean, images) is None
        alone = [other_encoder_doubt(mean, image[None]) for image in images[::20]]
        assert not any(alone)
        assert "another encoder" in other_encoder_doubt(mean, others)
        assert "another encoder" in other_encoder_doubt(mean, others[:20])


def test_embeddings_without_a_side_in_common_are_not_doubted():
    images = caches.unit(1, 50, 64)
    assert other_encoder_doubt(images.mean(axis=0), -images) is None


def test_train_refine_and_report_tell_of_it(tmp_path, capsys):
    cache = write(tmp_path / "bad.h5", False, True)
    options = {"settings": {"epochs": 1, "min_steps": 2}, "workers": 1, "runs": tmp_path / "runs"}
    (row,) = train(cache, method="cc", rate=0.3, seeds=1, **options)["runs"]
    assert WARNING in capsys.readouterr().err
    refine(row["path"], tmp_path / "labels.csv")
    assert WARNING in capsys.readouterr().err
    found = report(tmp_path / "runs", tmp_path / "report", formats=["csv"])
    assert any(WARNING in line for line in found["warnings"])
    cache = write(tmp_path / "good.h5", True, True)
    train(cache, method="cc", rate=0.3, seeds=1, **options)
    assert WARNING not in capsys.readouterr().err


def test_an_estimate_is_held_against_what_is_plausible():
    assert noise_doubt(None) is noise_doubt(0.5) is noise_doubt(0.65, drawn=0.6) is None
    assert "of 90 % of the training images" in noise_doubt(0.9)
    assert noise_doubt(0.75, drawn=0.6) is not None


def test_sets_that_the_encoder_made_are_reported_and_do_not_sharpen_probabilities(tmp_path, capsys):
    cache = write_cache(tmp_path / "c.h5", unseen=0, spread=0.8)
    annotate(cache)
    capsys.readouterr()
    folder = tmp_path / "runs"
    (row,) = train(cache, noise="annotated", seeds=1, workers=1, runs=folder)["runs"]
    told = "made by the encoder (pzsl annotate), and agree with it where it is wrong"
    assert told in capsys.readouterr().err
    refine(row["path"], tmp_path / "labels.csv")
    assert told in capsys.readouterr().err
    np.save(tmp_path / "new.npy", load_cache(cache).images[:5])
    predict(row["path"], [tmp_path / "new.npy"])
    assert told in capsys.readouterr().err
    metrics = json.loads(Path(row["path"], "metrics.json").read_text())
    assert metrics["temperature"] >= 1
    assert metrics["expected_calibration_error"] is not None


def test_an_implausible_estimate_is_reported_by_train_refine_and_report(
    tmp_path, capsys, monkeypatch
):
    for limit in ("PLAUSIBLE", "BESIDE"):
        monkeypatch.setattr(import_module("pzsl.evaluation.encoder_fit"), limit, -1)
    cache = write(tmp_path / "c.h5", True, False)
    options = {"settings": {"epochs": 1, "min_steps": 2}, "workers": 1, "runs": tmp_path / "runs"}
    for _ in range(2):  # a finished run says it again
        (row,) = train(cache, noise="file", seeds=1, **options)["runs"]
        assert "not plausible" in capsys.readouterr().err
    refine(row["path"], tmp_path / "labels.csv")
    assert "not plausible" in capsys.readouterr().err
    found = report(tmp_path / "runs", tmp_path / "report", formats=["csv"])
    assert any("not plausible" in line for line in found["warnings"])


def test_a_picture_that_is_trained_on_and_tested_on_is_reported(tmp_path, pzsl):
    cache = load_cache(write(tmp_path / "good.h5", True, True))
    assert not copied_images(cache)
    arrays = npz_arrays(cache)
    images = np.array(arrays["image_features"])
    images[5] = images[1] + 1e-7  # row 5 is tested on, row 1 is trained on
    np.savez(tmp_path / "copied.npz", **arrays | {"image_features": images})
    code, _, err = pzsl("import", tmp_path / "copied.npz", "--out", tmp_path / "copied.h5")
    assert code == 0 and "1 of 18 test images have the embedding of a training image" in err
    assert "'5.jpg' that of '1.jpg'" in err and "training image with" not in err
    _, _, err = pzsl("import", tmp_path / "copied.npz", "--out", tmp_path / "copied.npz")
    assert "this file is read: write to another one" in err


@pytest.mark.parametrize("labelled", [True, False])
def test_copies_of_a_picture_with_no_class_in_common_are_reported(labelled):
    cache = SimpleNamespace(
        labels=np.array([0, 0, 1, 2, 2]) if labelled else np.full(5, -1),
        candidate_offsets=np.arange(0, 12, 2),
        candidate_labels=np.array([0, 1, 0, 2, 1, 2, 2, 3, 2, 3]),
        annotation={},
        splits=np.array(["trainval"] * 5),
        images=caches.unit(1, 5, 8),
        paths=tuple("abcde"),
    )
    assert not copied_images(cache)
    cache.images[[1, 3]] = cache.images[0]  # b is like a, d is of no class of a's
    (line,) = copied_images(cache)
    assert line.startswith("1 training image with the embedding of another one")
    assert "such as 'd' and 'a'" in line


def test_labels_tells_of_it_once_whether_it_trains_or_not(tmp_path, capsys):
    bad = write(tmp_path / "bad.h5", False, True)
    trained = labels(cache=bad, out=tmp_path / "a.csv", runs=tmp_path / "runs")
    assert capsys.readouterr().err.count(WARNING) == 1
    labels(trained["run"], tmp_path / "b.csv")
    assert capsys.readouterr().err.count(WARNING) == 1
