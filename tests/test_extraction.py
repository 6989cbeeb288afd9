"""Stage one: what is encoded is stored whole, whatever happens on the way."""

from __future__ import annotations

import functools
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from quick_processes import run_python
from safetensors.torch import save_file

import pzsl
from pzsl.cli import main
from pzsl.cli.extract import _text as summary
from pzsl.datasets import load_dataset
from pzsl.datasets.shapes.dataset import ShapesReader
from pzsl.encoders import encode_classes, load_encoder, load_templates
from pzsl.errors import UsageError, UserError
from pzsl.evaluation import evaluate
from pzsl.extraction import extract, judge_cache, load_inputs, zero_shot
from pzsl.extraction.image_files import image_files
from pzsl.store import CacheWriter, load_cache

ROOT = Path(__file__).parents[1]
SPLIT_FIELDS = ("images", "text", "labels", "splits", "seen")


@pytest.fixture(scope="module")
def loaded():
    """`load_encoder` that loads each encoder once."""
    return functools.cache(load_encoder)


@pytest.fixture(autouse=True)
def _load_encoders_once(loaded, monkeypatch):
    monkeypatch.setattr(load_inputs, "load_encoder", loaded)


@pytest.fixture
def tiny(tiny_weights):
    """Options that choose the small random encoder."""
    return {"model": "tiny", "pretrained": str(tiny_weights), "workers": 2}


@pytest.fixture
def photos(tmp_path):
    """Four class folders of seven noisy images each."""
    random = np.random.default_rng(0)
    for folder in ("ash", "beech", "cedar", "elm"):
        (tmp_path / "photos" / folder).mkdir(parents=True)
        for number in range(7):
            pixels = random.integers(0, 256, (50, 70, 3), dtype=np.uint8)
            image = Image.fromarray(pixels)
            image.save(tmp_path / "photos" / folder / f"{number}.jpg", quality=95)
    return tmp_path / "photos"


def assert_same(one, two):
    """Two caches hold the same, bit for bit."""
    one, two = load_cache(one), load_cache(two)
    assert one.paths == two.paths
    for field in SPLIT_FIELDS:
        assert np.array_equal(getattr(one, field), getattr(two, field)), field
    assert one.fingerprint == two.fingerprint


def run_cli(*words, check=True, code="", timeout=120):
    """Run the real command in a process of its own; `code` is run before it."""
    program = f"import sys\nfrom pzsl.cli import main\n{code}\nmain()"
    command = ["-c", program] if code else ["-m", "pzsl"]
    done = run_python(*command, *words, timeout=timeout)
    assert not check or done.returncode == 0, done.stderr
    return done


# --- the whole way -------------------------------------------------------------------------------


def test_the_command_prints_one_json_document_and_says_first_what_matters(
    pzsl, photos, tiny_weights, tmp_path
):
    out = tmp_path / "cache" / "photos.h5"
    words = ["--dataset", "folder", "--root", photos, "--model", "tiny", "--batch-size", 8]
    words += ["--pretrained", tiny_weights, "--out", out, "--json"]
    code, printed, said = pzsl("extract", *words)
    assert code == 0, said
    result = json.loads(printed)
    assert result["cache"] == str(out)
    assert (result["images"], result["classes"], result["resumed"]) == (28, 4, 0)
    assert result["failed"] == []
    assert result["images_per_second"] > 0
    assert set(result["zero_shot"]) == {"S", "U", "H", "T1"}
    lines = said.splitlines()
    assert lines[0].startswith("Data set folder (root ")
    assert "28 images, 4 classes, 3 seen and 1 unseen" in lines[0]
    for word in ("tiny", tiny_weights.name, "fp32 on cpu", "batches of 8"):
        assert word in lines[1]
    assert "8 built-in templates (default.txt)" in lines[2]
    assert lines[3].startswith("Held out for tests: 1 class and ")
    assert lines[4] == f"Cache: {out}, float32."
    cache = load_cache(out)
    assert cache.provenance["model"] == "tiny"
    assert cache.provenance["origin"]["root"] == str(photos)


def test_the_summary_has_a_line_for_each_matter_and_leaves_out_what_did_not_happen():
    seconds = {"read": 6.4, "encode": 3.6, "write": 0.0, "all": 5.3}
    result = {"cache": "x.h5", "images": 4000, "classes": 40, "resumed": 0, "failed": []}
    result |= {"zero_shot": dict.fromkeys("SUH") | {"T1": 97.7}, "seconds": seconds}
    assert summary(result | {"images_per_second": 76.1}).splitlines() == [
        "cache      x.h5",
        "images     4,000 of 40 classes",
        "zero-shot  S -  U -  H -  T1 97.70",
        "time       5.3 s (read 64%, encode 36%), 76.1 images a second",
    ]
    again = summary(result | {"images_per_second": None, "resumed": 4000})
    assert "4,000 of them from an earlier run" in again and "time" not in again


def test_every_row_is_the_embedding_of_its_own_image(photos, tiny, tmp_path):
    result = extract("folder", photos, out=tmp_path / "x.h5", batch_size=8, **tiny)
    cache = load_cache(result["cache"])
    encoder = load_encoder("tiny", tiny["pretrained"])
    for row in (0, 7, 15, 27):
        image = Image.open(photos / cache.paths[row])
        alone = encoder.encode_images(encoder.preprocess(image)[None])[0].numpy()
        np.testing.assert_allclose(cache.images[row], alone, atol=2e-6)
    text = encode_classes(encoder, cache.classes, load_templates("folder")).numpy()
    assert np.array_equal(cache.text, text)
    assert cache.logit_scale == pytest.approx(encoder.identity.logit_scale)
    assert cache.provenance["preprocessing"] == encoder.identity.preprocessing
    assert cache.provenance["weights_hash"] == encoder.identity.weights_hash


def test_shapes_are_drawn_and_encoded_with_their_own_templates(tiny, tmp_path):
    result = pzsl.extract(out=tmp_path / "x.h5", limit=40, **tiny)
    cache = load_cache(result["cache"])
    assert (result["dataset"], len(cache.paths), len(cache.classes)) == ("shapes", 40, 400)
    assert cache.templates == load_templates("shapes")


def test_half_floats_are_the_rounded_embeddings(photos, tiny, tmp_path):
    extract("folder", photos, out=tmp_path / "x.h5", **tiny)
    extract("folder", photos, out=tmp_path / "y.h5", dtype="float16", **tiny)
    whole, half = load_cache(tmp_path / "x.h5"), load_cache(tmp_path / "y.h5")
    assert np.array_equal(half.images, whole.images.astype(np.float16).astype(np.float32))


def test_the_users_templates_are_used_and_stored(photos, tiny, tmp_path):
    (tmp_path / "own.txt").write_text("a leaf of {}\n")
    extract("folder", photos, out=tmp_path / "x.h5", templates=tmp_path / "own.txt", **tiny)
    assert load_cache(tmp_path / "x.h5").templates == ("a leaf of {}",)


def test_classes_that_the_encoder_reads_alike_are_reported(photos, tiny, tmp_path, capsys):
    sentences = {"ash": ["red circle"], "beech": ["blue square"], "elm": ["a green triangle"]}
    (tmp_path / "own.json").write_text(json.dumps({**sentences, "cedar": ["red circle"]}))
    extract("folder", photos, out=tmp_path / "x.h5", descriptions=tmp_path / "own.json", **tiny)
    told = "The text vectors of 'ash' and 'cedar' are equal (1 such pair)"
    assert told in capsys.readouterr().err


def test_a_limit_is_spread_evenly_over_the_data_set():
    data = load_dataset("shapes")
    few = load_inputs.take_evenly(data, 900)
    assert len(few.paths) == len(set(few.paths)) == 900
    assert set(few.splits) == set(data.splits)
    assert len(np.unique(few.labels)) == 400
    assert load_inputs.take_evenly(data, 10**6) is data


def test_the_default_encoder_is_tiny_for_shapes_and_vit_b_32_for_photographs():
    assert load_inputs.default_model("shapes") == "tiny"
    assert load_inputs.default_model("folder") == "ViT-B-32"


# --- resuming ------------------------------------------------------------------------------------


@pytest.fixture
def drawn(monkeypatch):
    """The images that were drawn, in any order."""
    paths, draw = [], ShapesReader.__call__

    def spy(reader, path):
        paths.append(path)
        return draw(reader, path)

    monkeypatch.setattr(ShapesReader, "__call__", spy)
    return paths


# Each kills the process that runs the command, at another moment.
MOMENTS = {
    "before the texts": "before('write_text', 1)",
    "after the texts": "after('write_text', 1)",
    "before the first block is written": "before('write', 1)",
    "after the third block": "after('write', 3)",
    "before the cache gets its name": "before('finish', 1)",
}
BOMB = """
import os, signal
from pzsl.store import CacheWriter

def bomb(name, count, late):
    calls, method = [], getattr(CacheWriter, name)
    def armed(*args, **options):
        calls.append(name)
        if len(calls) == count and late:
            method(*args, **options)
        if len(calls) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return method(*args, **options)
    setattr(CacheWriter, name, armed)

def before(name, count): bomb(name, count, False)
def after(name, count): bomb(name, count, True)
"""


def kill_and_resume(moment, tiny_weights, tmp_path, drawn):
    """Kill the command at a moment; going on ends in the very cache of an unharmed run."""
    (tmp_path / "one.txt").write_text("a photo of a {}.\n")
    options = {"limit": 60, "batch_size": 16, "views": 2, "templates": tmp_path / "one.txt"}
    options |= {"model": "tiny", "pretrained": tiny_weights}
    words = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    out = tmp_path / "killed.h5"
    killed = run_cli("extract", *words, "--out", out, check=False, code=BOMB + MOMENTS[moment])
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not out.exists()
    result = extract(out=out, **options)
    assert result["resumed"] + result["encoded"] == 60
    assert len(drawn) == len(set(drawn)) == result["encoded"]
    cache = load_cache(out)
    assert not set(drawn) & set(cache.paths[: result["resumed"]])
    extract(out=tmp_path / "whole.h5", **options)
    assert_same(out, tmp_path / "whole.h5")
    return result


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_run_is_gone_on_with_and_ends_in_the_same_bits(tiny_weights, tmp_path, drawn):
    result = kill_and_resume("after the third block", tiny_weights, tmp_path, drawn)
    assert result["resumed"] == 48


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_run_killed_at_any_moment_ends_in_the_same_bits(moment, tiny_weights, tmp_path, drawn):
    kill_and_resume(moment, tiny_weights, tmp_path, drawn)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_runs_killed_by_the_clock_again_and_again_end_in_the_same_bits(tiny_weights, tmp_path):
    options = {"limit": 600, "batch_size": 16, "model": "tiny", "pretrained": str(tiny_weights)}
    words = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    out = tmp_path / "killed.h5"
    clock = (
        "import os, random, signal, threading\nfrom pzsl.extraction import pipeline\n"
        "run = pipeline.run\n"
        "def timed(*args):\n"
        "    threading.Timer({}, os.kill, (os.getpid(), signal.SIGKILL)).start()\n"
        "    return run(*args)\n"
        "pipeline.run = timed\n"
    )
    for delay in (0.1, 0.43, 0.77, 0.26, 0.58):
        code = clock.format(delay)
        killed = run_cli("extract", *words, "--out", out, check=False, code=code)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    result = extract(out=out, **options)
    assert result["resumed"] > 0
    extract(out=tmp_path / "whole.h5", **options)
    assert_same(out, tmp_path / "whole.h5")


def test_an_interrupted_run_keeps_what_is_done_and_says_so(
    photos, tiny, tmp_path, monkeypatch, capsys
):
    encoder = load_encoder("tiny", tiny["pretrained"])
    calls, encode = [], encoder.encode_images

    def interrupted(batch):
        calls.append(len(batch))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return encode(batch)

    monkeypatch.setattr(encoder, "encode_images", interrupted)
    monkeypatch.setattr(load_inputs, "load_encoder", lambda *_: encoder)
    options = {"batch_size": 7, "out": tmp_path / "x.h5", **tiny, "workers": 1}
    with pytest.raises(KeyboardInterrupt):
        extract("folder", photos, **options)
    assert "14 of 28 images are kept" in capsys.readouterr().err
    result = extract("folder", photos, **options)
    assert (result["resumed"], result["encoded"]) == (14, 14)
    assert calls in ([7] * 5, [7] * 6)  # two kept, one interrupted, perhaps one lost, two after


def test_a_run_with_another_encoder_does_not_go_on_with_the_cache(
    photos, tiny, tmp_path, monkeypatch
):
    def stop(*args, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(CacheWriter, "finish", stop)
        with pytest.raises(KeyboardInterrupt):
            extract("folder", photos, out=tmp_path / "x.h5", **tiny)
    state = load_weights(tiny["pretrained"])
    state["text_projection"] = state["text_projection"] * 2
    save_file(state, tmp_path / "other.safetensors")
    other = {**tiny, "pretrained": str(tmp_path / "other.safetensors")}
    with pytest.raises(UserError, match=r"weights_hash.*--overwrite"):
        extract("folder", photos, out=tmp_path / "x.h5", **other)
    result = extract("folder", photos, out=tmp_path / "x.h5", overwrite=True, **other)
    assert result["resumed"] == 0


def load_weights(file):
    from safetensors.torch import load_file

    return load_file(file)


def test_a_finished_cache_is_only_replaced_when_told(photos, tiny, tmp_path):
    extract("folder", photos, out=tmp_path / "x.h5", **tiny)
    for other in ({"dtype": "float16"}, {"test": 0}):
        with pytest.raises(UserError, match=r"exists already, .*--overwrite"):
            extract("folder", photos, out=tmp_path / "x.h5", **tiny, **other)
    assert extract("folder", photos, out=tmp_path / "x.h5", overwrite=True, **tiny)["images"] == 28


def test_a_finished_cache_is_whole_already(photos, tiny, tmp_path, capsys):
    first = extract("folder", photos, out=tmp_path / "x.h5", **tiny)
    before = (tmp_path / "x.h5").stat().st_mtime_ns
    again = extract("folder", photos, out=tmp_path / "x.h5", **tiny)
    assert (again["resumed"], again["encoded"], again["failed"]) == (28, 0, [])
    assert again["images_per_second"] is None and again["zero_shot"] == first["zero_shot"]
    assert f"{tmp_path / 'x.h5'} is already complete, nothing is encoded" in capsys.readouterr().err
    assert (tmp_path / "x.h5").stat().st_mtime_ns == before


# --- unreadable images ---------------------------------------------------------------------------


def spoil(file, how):
    """Make an image unreadable; returns what puts it right again."""
    content = file.read_bytes()
    file.unlink()
    if how == "folder":
        file.mkdir()
        return lambda: (file.rmdir(), file.write_bytes(content))
    spoilt = {"cut": content[: len(content) // 2], "empty": b"", "junk": b"not an image at all"}
    file.write_bytes(spoilt[how])
    return lambda: file.write_bytes(content)


@pytest.mark.parametrize("how", ["cut", "empty", "junk", "folder"])
def test_an_unreadable_image_fails_the_run_in_the_end_and_nothing_is_lost(
    photos, tiny, tmp_path, how
):
    whole = extract("folder", photos, out=tmp_path / "whole.h5", batch_size=4, **tiny)
    repair = spoil(photos / "cedar" / "2.jpg", how)  # row 16
    options = {"out": tmp_path / "x.h5", "batch_size": 4, **tiny}
    with pytest.raises(UserError) as caught:
        extract("folder", photos, **options)
    message = str(caught.value)
    assert message.startswith("folder: 1 of 28 images can't be read: 'cedar/2.jpg' (")
    assert "other 27 are encoded and kept" in message
    assert "--on-error skip" in message
    assert "\n" not in message
    assert not (tmp_path / "x.h5").exists()
    repair()
    result = extract("folder", photos, **options)
    assert (result["resumed"], result["encoded"]) == (27, 1)
    assert_same(tmp_path / "x.h5", whole["cache"])


def test_many_unreadable_images_are_reported_at_once(photos, tiny, tmp_path):
    paths = ["ash/0.jpg", *(f"beech/{number}.jpg" for number in range(7)), "elm/6.jpg"]
    for path in paths:
        spoil(photos / path, "junk")
    options = {"out": tmp_path / "x.h5", "batch_size": 4, **tiny}
    with pytest.raises(UserError) as caught:
        extract("folder", photos, **options)
    message = str(caught.value)
    assert "9 of 28 images can't be read: " in message
    assert [path in message for path in paths] == [True] * 3 + [False] * 6
    assert " and 6 more. The other 19 are encoded and kept" in message
    result = extract("folder", photos, on_error="skip", **options)
    assert (result["resumed"], result["encoded"], result["images"]) == (19, 0, 19)
    assert [row["path"] for row in result["failed"]] == paths


def test_a_finished_cache_without_some_images_is_taken_only_with_skip(photos, tiny, tmp_path):
    spoil(photos / "ash" / "0.jpg", "junk")
    options = {"out": tmp_path / "x.h5", **tiny}
    extract("folder", photos, on_error="skip", **options)
    with pytest.raises(UserError, match=r"exists already, without 1 of 28 images that couldn't"):
        extract("folder", photos, **options)
    again = extract("folder", photos, on_error="skip", **options)
    assert (again["resumed"], again["encoded"], again["images"]) == (27, 0, 27)
    assert again["failed"] == [{"path": "ash/0.jpg", "reason": "left out by an earlier run"}]


def test_unreadable_images_are_left_out_and_listed_when_told(photos, tiny, tmp_path):
    extract("folder", photos, out=tmp_path / "whole.h5", batch_size=4, **tiny)
    bad = {"ash/0.jpg": "cut", "beech/3.jpg": "empty", "cedar/2.jpg": "folder", "elm/6.jpg": "junk"}
    bad |= {f"elm/{number}.jpg": "empty" for number in range(3, 6)}  # a whole block
    for path, how in bad.items():
        spoil(photos / path, how)
    result = extract("folder", photos, out=tmp_path / "x.h5", batch_size=4, on_error="skip", **tiny)
    assert [row["path"] for row in result["failed"]] == sorted(bad)
    assert all(row["reason"] for row in result["failed"])
    whole, cache = load_cache(tmp_path / "whole.h5"), load_cache(tmp_path / "x.h5")
    assert result["images"] == len(cache.paths) == 28 - len(bad)
    assert cache.paths == tuple(path for path in whole.paths if path not in bad)
    rows = [whole.paths.index(path) for path in cache.paths]
    for field in ("images", "labels", "splits"):
        assert np.array_equal(getattr(cache, field), getattr(whole, field)[rows]), field


def test_the_command_answers_an_unreadable_image_in_one_line(
    photos, tiny_weights, tmp_path, monkeypatch, capsys
):
    spoil(photos / "ash" / "0.jpg", "junk")
    words = ["--dataset=folder", f"--root={photos}", "--model=tiny", f"--out={tmp_path / 'x.h5'}"]
    words = ["pzsl", "extract", *words, f"--pretrained={tiny_weights}"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1].startswith(
        "pzsl: folder: 1 of 28 images can't be read: 'ash/0.jpg' ("
    )
    monkeypatch.setattr(sys, "argv", [*words, "--on-error=skip"])
    with pytest.raises(SystemExit, match="0"):
        main()
    assert "left out   1 image that can't be read:\n  ash/0.jpg: " in capsys.readouterr().out


def test_a_data_set_without_one_readable_image_is_refused(photos, tiny, tmp_path):
    for file in photos.rglob("*.jpg"):
        spoil(file, "empty")
    with pytest.raises(UserError, match="no image could be read"):
        extract("folder", photos, out=tmp_path / "x.h5", on_error="skip", **tiny)


# --- wrong calls ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "--batch-size"),
        ({"limit": 0}, "--limit"),
        ({"on_error": "ignore"}, "fail or skip"),
        ({"dataset": "shaps"}, "Did you mean 'shapes'"),
        ({"dataset": "folder"}, "needs --root"),
        ({"root": "photos"}, "takes no option --root"),
        ({"model": "ViT-B-23"}, "Did you mean 'ViT-B-32'"),
        ({"device": "gpu"}, "--device|device 'gpu'"),
        ({"precision": "fp8"}, "Unknown precision"),
    ],
)
def test_a_wrong_call_is_answered_in_one_line_before_any_work(tmp_path, options, message):
    with pytest.raises(UsageError, match=message) as caught:
        extract(**{"out": tmp_path / "x.h5", **options})
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_an_unusable_place_for_the_cache_is_named(photos, tiny, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="--out"):
        extract("folder", photos, out=tmp_path / "file" / "x.h5", **tiny)


# --- zero-shot -----------------------------------------------------------------------------------


def test_zero_shot_is_the_evaluation_of_the_cosines_of_all_test_images(
    photos, tiny, tmp_path, monkeypatch
):
    result = extract("folder", photos, out=tmp_path / "x.h5", **tiny)
    cache = load_cache(tmp_path / "x.h5")
    test = cache.splits != "trainval"
    scores = cache.images[test] @ cache.label_embeddings().T
    expected = evaluate(scores, cache.labels[test], cache.seen)
    assert result["zero_shot"] == {name: expected[name] for name in ("S", "U", "H", "T1")}
    monkeypatch.setattr(judge_cache, "SCORES", 9)  # two images at a time
    assert zero_shot(cache) == pytest.approx(result["zero_shot"])


def test_zero_shot_without_test_images_is_unknown(photos, tiny, tmp_path):
    result = extract("folder", photos, out=tmp_path / "x.h5", unseen=0, test=0, **tiny)
    assert result["zero_shot"] == {"S": None, "U": None, "H": None, "T1": None}


def test_the_zero_shot_line_needs_no_torch():
    code = "import sys, pzsl.extraction\nassert not {'torch', 'open_clip'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


# --- real photographs ----------------------------------------------------------------------------


def test_the_bird_photographs_fill_every_row(real_data, tiny, tmp_path):
    result = extract("folder", real_data / "images" / "cub50", out=tmp_path / "x.h5", **tiny)
    cache = load_cache(tmp_path / "x.h5")
    assert (result["images"], result["classes"]) == (600, 50)
    np.testing.assert_allclose(np.linalg.norm(cache.images, axis=1), 1, atol=1e-5)
    assert len(np.unique(cache.images, axis=0)) == 600


@pytest.mark.slow
def test_the_bird_photographs_fill_every_row_with_a_vit_b_32(real_data, tmp_path):
    import open_clip

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = open_clip.create_model("ViT-B-32", pretrained=None).eval()
    file = tmp_path / "made-here.safetensors"
    save_file(model.state_dict(), file)
    root = real_data / "images" / "cub50"
    options = {"model": "ViT-B-32", "pretrained": str(file), "templates": tmp_path / "one.txt"}
    options["templates"].write_text("a photo of a {}, a bird.\n")
    result = extract("folder", root, out=tmp_path / "x.h5", **options)
    cache = load_cache(tmp_path / "x.h5")
    assert (result["images"], cache.images.shape) == (600, (600, 512))
    transform = open_clip.image_transform(224, is_train=False)
    row = 321
    image = transform(Image.open(root / cache.paths[row]))[None]
    with torch.no_grad():
        alone = model.encode_image(image, normalize=True)[0].numpy()
    np.testing.assert_allclose(cache.images[row], alone, atol=1e-5)


# --- image files that were replaced --------------------------------------------------------------


def repaint(file, **options):
    """Put another picture of the same pixels in a file's place."""
    pixels = np.random.default_rng(7).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, **options)


def test_a_finished_cache_is_not_taken_for_that_of_other_images_of_the_same_names(
    photos, tiny, tmp_path
):
    options = {"out": tmp_path / "x.h5", **tiny}
    before = extract("folder", photos, **options)
    repaint(photos / "cedar" / "2.jpg", quality=60)
    with pytest.raises(UserError, match=r"1 of 28 have changed since, such as 'cedar/2\.jpg'"):
        extract("folder", photos, **options)
    after = extract("folder", photos, overwrite=True, **options)
    assert (before["encoded"], after["encoded"]) == (28, 28)
    assert extract("folder", photos, **options)["encoded"] == 0


def test_other_images_of_the_same_size_are_noticed_by_their_content(photos, tiny, tmp_path):
    for file in photos.glob("*/*.jpg"):
        Image.open(file).save(file.with_suffix(".bmp"))
        file.unlink()
    extract("folder", photos, out=tmp_path / "x.h5", **tiny)
    repaint(photos / "elm" / "3.bmp")
    with pytest.raises(UserError, match=r"1 of 28 have changed since, such as 'elm/3\.bmp'"):
        extract("folder", photos, out=tmp_path / "x.h5", **tiny)


def test_images_that_were_copied_are_the_same_ones(photos, tiny, tmp_path):
    extract("folder", photos, out=tmp_path / "x.h5", **tiny)
    for file in photos.glob("*/*.jpg"):
        content = file.read_bytes()
        file.unlink()
        file.write_bytes(content)
        os.utime(file, (1e9, 1e9))
    assert extract("folder", photos, out=tmp_path / "x.h5", **tiny)["encoded"] == 0


def test_a_run_is_not_resumed_with_other_images_in_the_place_of_encoded_ones(
    photos, tiny, tmp_path
):
    spoil(photos / "cedar" / "2.jpg", "junk")
    options = {"out": tmp_path / "x.h5", "batch_size": 4, **tiny}
    with pytest.raises(UserError, match="can't be read"):
        extract("folder", photos, **options)
    repaint(photos / "cedar" / "2.jpg")  # not encoded yet: the remedy of the message
    repaint(photos / "ash" / "1.jpg", quality=60)
    with pytest.raises(UserError, match=r"1 of 28 have changed since, such as 'ash/1\.jpg'"):
        extract("folder", photos, **options)


def test_a_cache_that_does_not_know_its_files_is_taken_as_before(photos, tiny, tmp_path):
    extract("folder", photos, out=tmp_path / "x.h5", **tiny)
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        del file["/image/file"], file["/checksum"], file.attrs["checksums"]
    repaint(photos / "ash" / "1.jpg", quality=60)
    assert extract("folder", photos, out=tmp_path / "x.h5", **tiny)["encoded"] == 0


def test_images_in_a_tar_file_and_objects_within_an_image_have_a_file(photos, tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for file in sorted(photos.glob("*/*.jpg")):
            tar.add(file, f"{file.parent.name}-{file.name}")
            label = tarfile.TarInfo(f"{file.parent.name}-{file.stem}.cls")
            label.size = len(file.parent.name)
            tar.addfile(label, io.BytesIO(file.parent.name.encode()))
    of_tar, of_folder = (
        image_files(load_dataset(name, root=root), {})
        for name, root in (("tar", tmp_path / "x.tar"), ("folder", photos))
    )
    assert of_tar.shape == (28, 2) and (of_tar >= 0).all()
    assert np.array_equal(of_tar, of_folder)
    assert image_files(load_dataset("shapes"), {}) is None
