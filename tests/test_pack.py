"""A packed folder answers as its run does, with everything else gone, or says what is wrong."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import caches
import numpy as np
import pytest
import torch
import yaml
from problems import write_cache
from safetensors.torch import load_file

import pzsl
from pzsl import load_cache, pack, predict, train
from pzsl.errors import UserError
from pzsl.inference.encoder import embed_names
from pzsl.inference.model import open_model
from pzsl.inference.packing.model_card import model_card
from pzsl.inference.packing.read_folder import (
    ABOUT,
    FILES,
    FORMAT,
    ONNX,
    SUMS,
    open_packed,
    sums_of,
)
from pzsl.inference.record import read_record
from pzsl.inference.restore import restore
from pzsl.locks import unlock
from pzsl.methods import METHODS, load_method
from pzsl.store.hdf5 import locked

SHORT = {"min_steps": 4, "epochs": 2}


def one_run(folder: Path, method: str = "clip-pzsl", **words) -> Path:
    """A run on made vectors."""
    cache = write_cache(folder / "toy.h5")
    given = {"rate": 0.3, "seeds": 1, "workers": 1, "settings": SHORT, **words}
    result = train(cache, method=method, runs=folder / "runs", **given)
    return Path(result["runs"][0]["path"])


def calibrated(method: str) -> dict:
    """Settings of a run; few methods choose gamma, which is kept alike whatever the method."""
    return SHORT | {"calibrate": method in ("clip", "clip-pzsl", "co-reg")}


def scores(run: Path | str, names: tuple[str, ...] = ()) -> np.ndarray:
    """Scores of fixed images, with some names added."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.nn.functional.normalize(torch.randn(90, 16, generator=generator), dim=-1)
    text = drawn[: len(names)] if names else None
    scorer = open_model(run).scorer(names, text)
    with torch.no_grad():
        scorer.method.observe_queries(lambda: [drawn])
        return (scorer.method.scores(drawn) - scorer.gamma).numpy()


@pytest.fixture(scope="module")
def packed(tmp_path_factory) -> Path:
    """A packed folder whose run and cache are gone."""
    folder = tmp_path_factory.mktemp("pack")
    pack(one_run(folder), folder / "model")
    moved = folder / "elsewhere" / "model"
    moved.parent.mkdir()
    shutil.move(folder / "model", moved)
    shutil.rmtree(folder / "runs")
    (folder / "toy.h5").unlink()
    return moved


def told_of_images(folder: Path, method: str, images: int) -> None:
    """State with a row for each training image is declared, and the model card says so."""
    state = load_file(folder / "model.safetensors")
    held = {name for name, value in state.items() if value.shape[:1] == (images,)}
    assert held == set(load_method(method)[0].kept_state)
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert (f"the embeddings of all {images} training images" in card) == bool(held)
    assert ("no single image's" in card) != bool(held)
    queues = [values for name, values in state.items() if name.rpartition(".")[2] == "queue"]
    assert len(queues) == {"pico": 1, "co-reg": 2}.get(method, 0)
    assert not any(values.any() for values in queues)  # they hold single images' keys in training


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_packed_run_scores_the_same_with_cache_and_run_gone(tmp_path, method):
    run = one_run(tmp_path, method, settings=calibrated(method))
    pack(run, tmp_path / "model")
    names = ("new one", "another") if method != "oracle" else ()
    before, with_names = scores(run), scores(run, names)
    images = int((load_cache(tmp_path / "toy.h5").splits == "trainval").sum())
    (tmp_path / "toy.h5").unlink()
    shutil.rmtree(tmp_path / "runs")
    moved = shutil.move(tmp_path / "model", tmp_path / "moved")
    told_of_images(moved, method, images)
    assert np.abs(scores(moved) - before).max() <= 1e-6
    assert np.abs(scores(moved, names) - with_names).max() <= 1e-6


@pytest.mark.parametrize("classifier", ["zlap", "tip-adapter", "pico"])
def test_the_state_of_conse_is_that_of_its_classifier(tmp_path, classifier):
    run = one_run(tmp_path, "conse", settings=calibrated("conse") | {"classifier": classifier})
    pack(run, tmp_path / "model")
    state = load_file(tmp_path / "model" / "model.safetensors")
    assert np.abs(scores(tmp_path / "model") - scores(run)).max() <= 1e-6
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert ("no single image's" in card) == (classifier == "pico")
    if classifier == "pico":
        assert not state["classifier.queue"].any()
    else:
        assert state["classifier.keys"].any()


def test_presets_are_packed_too(tmp_path):
    for preset in ("paper", "transductive"):
        (tmp_path / f"of {preset}").mkdir()
        run = one_run(tmp_path / f"of {preset}", preset=preset)
        pack(run, tmp_path / preset)
        assert np.abs(scores(tmp_path / preset) - scores(run)).max() <= 1e-6


def test_predict_answers_the_same_from_the_folder(tmp_path, capsys):
    run = one_run(tmp_path)
    told = pack(run, tmp_path / "model")
    assert told["largest_difference"] <= 1e-6 and told["classes"] == 12
    np.save(tmp_path / "x.npy", np.array(load_cache(tmp_path / "toy.h5").images))
    given = {"images": [tmp_path / "x.npy"], "error_rate": 0.1}
    before = predict(run, **given)
    (tmp_path / "toy.h5").unlink()
    shutil.rmtree(tmp_path / "runs")
    capsys.readouterr()
    after = predict(tmp_path / "model", cache=tmp_path / "toy.h5", **given)
    assert "--cache means nothing here: a packed folder needs none" in capsys.readouterr().err
    del before["images_per_second"], after["images_per_second"]
    assert after == before


@pytest.mark.parametrize("name", [*FILES, SUMS])
def test_one_changed_byte_is_refused_in_one_line(pzsl, packed, tmp_path, name):
    copy = shutil.copytree(packed, tmp_path / "copy")
    np.save(tmp_path / "x.npy", np.eye(16, dtype=np.float32))
    words = ["predict", "--run", copy, tmp_path / "x.npy"]
    assert pzsl(*words)[0] == 0
    content = bytearray((copy / name).read_bytes())
    for place in (0, len(content) // 2, len(content) - 1):
        changed = content.copy()
        changed[place] ^= 1
        (copy / name).write_bytes(changed)
        code, out, err = pzsl(*words)
        assert (code, out) == (1, "") and "copy the packed folder again" in err
        assert len(err.strip().splitlines()) == 1 and "Traceback" not in err
    (copy / name).unlink()
    code, out, err = pzsl(*words)
    assert (code, out) == (1, "") and len(err.strip().splitlines()) == 1


def test_a_folder_of_a_version_with_other_numbers_is_reported(packed, tmp_path, capsys):
    copy = shutil.copytree(packed, tmp_path / "copy")
    about = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    about["run"]["results"] -= 1
    (copy / "config.json").write_text(json.dumps(about), encoding="utf-8")
    (copy / SUMS).write_text(sums_of(copy), encoding="utf-8")
    for folder, told in ((packed, 0), (copy, 1)):
        open_model(folder)
        assert capsys.readouterr().err.count("trained by another version of pzsl") == told


def test_the_card_is_one_that_the_hub_takes(packed):
    text = (packed / "README.md").read_text(encoding="utf-8")
    head = yaml.safe_load(text.split("---\n")[1])
    assert head["library_name"] == "pzsl"
    assert head["pipeline_tag"] == "zero-shot-image-classification"
    metrics = head["model-index"][0]["results"][0]["metrics"]
    assert {one["type"] for one in metrics} == {"S", "U", "H", "T1"}
    for part in ("## Limits", "## Figures", "expected calibration error", "class 11"):
        assert part in text


def test_the_card_claims_no_calibration_that_there_is_not(tmp_path, packed):
    record = read_record(one_run(tmp_path, "clip"))  # holds no images out
    card = model_card(restore(record), replace(record.config, noise="annotated"), {})
    assert "images with labels that the encoder itself predicted." in card
    assert "an uncalibrated softmax" in card and "--error-rate" not in card
    assert "candidate sets were made by the encoder" in card
    text = (packed / "README.md").read_text(encoding="utf-8")
    assert "are calibrated on images" in text and "marks what is unsure" in text
    assert "made by the encoder" not in text


def test_the_card_offers_what_predict_takes(tmp_path, packed):
    """New names where classes are known by prompts; --model where the encoder isn't recorded."""
    attributes = np.random.default_rng(2).standard_normal((12, 5)).astype(np.float32)
    (tmp_path / "a").mkdir()
    cache = write_cache(tmp_path / "a" / "toy.h5", attributes=attributes)
    given = {"rate": 0.3, "seeds": 1, "workers": 1, "settings": SHORT, "runs": tmp_path / "runs"}
    run = train(cache, method="clip", labels="attributes", **given)["runs"][0]["path"]
    pzsl.pack(run, tmp_path / "model")
    with pytest.raises(UserError, match="--class can't add to them"):
        embed_names(open_model(tmp_path / "model"), None, ("a new name",))
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert "--class" not in card and "named" not in card and "photos/\n" in card
    text = (packed / "README.md").read_text(encoding="utf-8")
    assert 'photos/ --class "a new name"' in text and "--model" not in text
    restored = restore(read_record(run))
    provenance = {**restored.cache.provenance, "model": "(imported)"}
    unnamed = replace(restored, cache=replace(restored.cache, provenance=provenance))
    assert "photos/ --model THE_ENCODER\n" in model_card(unnamed, read_record(run).config, {})


def test_features_of_another_encoder_are_told_of_by_run_and_packed_folder(tmp_path, capsys):
    side = np.eye(16)[0] * 4  # of the sphere, on which all images are
    cache = write_cache(tmp_path / "side.h5", centres=side + caches.unit(5, 12, 16))
    given = {"rate": 0.3, "seeds": 1, "workers": 1, "settings": SHORT, "runs": tmp_path / "runs"}
    run = train(cache, method="clip", **given)["runs"][0]["path"]
    pzsl.pack(run, tmp_path / "model")
    vectors = np.array(load_cache(read_record(run).cache).images)
    np.save(tmp_path / "same.npy", vectors[:20])
    np.save(tmp_path / "other.npy", vectors[:20, ::-1])
    for folder in (run, tmp_path / "model"):
        capsys.readouterr()
        pzsl.predict(folder, [tmp_path / "same.npy"])
        assert "another encoder" not in capsys.readouterr().err
        pzsl.predict(folder, [tmp_path / "other.npy"])
        assert "look like those of another encoder" in capsys.readouterr().err


def test_a_graph_with_other_scores_than_the_method_is_refused(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    scores = type(restore(read_record(run := one_run(tmp_path, "clip"))).method).scores

    def branching(self, images):
        """A branch that a trace follows once."""
        return scores(self, images) + (1.0 if images.mean() > -0.2 else 0.0)

    monkeypatch.setattr(type(restore(read_record(run)).method), "scores", branching)
    monkeypatch.setattr(torch, "randn", lambda *shape, **_: -torch.ones(shape))
    with pytest.raises(UserError, match=r"has no ONNX form: .* differ .* without --onnx"):
        pzsl.pack(run, tmp_path / "model", onnx=True)
    assert not (tmp_path / "model").exists()


def test_the_hub_s_names_are_fetched(packed, monkeypatch):
    import huggingface_hub

    asked = []

    def download(name, allow_patterns):
        asked.append(name)
        assert {*FILES, ONNX, SUMS} <= {*allow_patterns}  # all that the hashes are of
        return str(packed)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert open_model("hf-hub:somebody/scenes").classes == open_model(packed).classes
    assert asked == ["somebody/scenes"]

    def refuse(name, **words):
        raise OSError("no such model\nmore")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(UserError, match=r"no such model$"):
        open_model("hf-hub:somebody/scenes")


def test_what_is_there_is_not_replaced(pzsl, packed, tmp_path):
    run = one_run(tmp_path)
    words = ["pack", "--run", run, "--out"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all I have")
    code, out, err = pzsl(*words, tmp_path / "mine", "--overwrite")
    assert (code, out) == (1, "") and "not a packed folder" in err
    assert (tmp_path / "mine" / "thesis.txt").exists()
    code, out, _ = pzsl(*words, tmp_path / "model", "--json")
    assert code == 0 and set(FILES) < set(json.loads(out)["files"])
    assert pzsl(*words, tmp_path / "model")[0] == 1
    assert pzsl(*words, tmp_path / "model", "--overwrite")[0] == 0


@pytest.mark.parametrize(
    "change",
    [
        {"format": "x"},
        {"format": FORMAT + 1},
        {"run": {}},
        {"classes": 3},
        {"classes": ["heron"]},
        {"scale": "nan"},
        {"gamma": None},
        {"encoder": {}},
        {"dim": "x"},
    ],
    ids=str,
)
def test_a_folder_of_another_make_with_right_hashes_ends_in_one_line(change, packed, tmp_path):
    shutil.copytree(packed, tmp_path / "p")
    about = json.loads((tmp_path / "p" / ABOUT).read_text())
    for text in (json.dumps(about | change), "[" * 100_000):
        (tmp_path / "p" / ABOUT).write_text(text)
        (tmp_path / "p" / SUMS).write_text(sums_of(tmp_path / "p"))
        with pytest.raises(UserError, match=r"pack the run again|newer version") as error:
            open_model(tmp_path / "p").scorer((), None)
        assert "\n" not in str(error.value)


def test_two_do_not_pack_into_one_folder(tmp_path):
    run, held = one_run(tmp_path), locked(tmp_path / "model")
    with pytest.raises(UserError, match="another process is writing it"):
        pack(run, tmp_path / "model")
    unlock(held)
    pack(run, tmp_path / "model")
    assert not list(tmp_path.glob("model.*"))


def test_onnx_runtime_agrees(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    for method in ("clip-pzsl", "cc"):
        (tmp_path / f"of {method}").mkdir()
        run = one_run(tmp_path / f"of {method}", method)
        told = pzsl.pack(run, tmp_path / method, onnx=True)
        assert told["onnx_difference"] <= 1e-4
        session = onnxruntime.InferenceSession(str(tmp_path / method / ONNX))
        scorer = open_packed(tmp_path / method).scorer()
        for count in (1, 7):
            images = np.random.default_rng(count).standard_normal((count, 16)).astype(np.float32)
            images /= np.linalg.norm(images, axis=1, keepdims=True)
            with torch.no_grad():
                expected = scorer.method.scores(torch.from_numpy(images)).numpy()
            expected[:, : scorer.seen] -= scorer.gamma
            found = session.run(None, {"images": images})[0]
            assert np.abs(found - expected).max() <= 1e-4
