"""Augmented views: each follows from seed, id and number, and lies in the cache with its kind."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from quick_processes import run_python

from pzsl.annotation import annotate
from pzsl.encoders import load_encoder
from pzsl.encoders.openclip import OpenClipEncoder
from pzsl.encoders.preprocessing import Preparation
from pzsl.errors import UsageError, UserError
from pzsl.extraction import extract, views
from pzsl.extraction.views import Augmentation, ImageReader, choose_views
from pzsl.store import load_cache, merge_parts
from pzsl.training import train
from pzsl.training.config import Source, expand
from pzsl.training.task import make_task

SIZE = (24, 20)


def picture(seed: int = 0, width: int = 60, height: int = 50) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def pixels(images: list[Image.Image]) -> np.ndarray:
    return np.stack([np.asarray(image) for image in images])


# --- the policies --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "policy", "kinds"),
    [
        (4, "mixed", ("weak", "weak", "strong", "strong")),
        (3, "mixed", ("weak", "weak", "strong")),
        (1, "mixed", ("weak",)),
        (2, "weak", ("weak", "weak")),
        (2, "strong", ("strong", "strong")),
    ],
)
def test_a_policy_says_which_views_are_weak(count, policy, kinds):
    chosen = choose_views(count, policy, seed=3)
    assert chosen == Augmentation(kinds, 3)
    told = chosen.record()
    assert (told["kinds"], told["seed"]) == (list(kinds), 3)
    assert set(told) == {"kinds", "seed", *kinds}


def test_no_views_are_none_and_wrong_wishes_are_named():
    assert choose_views(0) is None
    with pytest.raises(UsageError, match="--views should be at least 0, not -1"):
        choose_views(-1)
    with pytest.raises(UsageError, match=r"Unknown --view-policy 'weaker'.* 'weak'"):
        choose_views(2, "weaker")


def test_a_view_follows_from_seed_id_and_number():
    image, both = picture(), Augmentation(("weak", "strong"), seed=5)
    found = pixels(both.views(image, "a.jpg", SIZE))
    assert np.array_equal(found, pixels(both.views(image, "a.jpg", SIZE)))
    more = Augmentation(("weak", "strong", "strong", "weak"), seed=5)
    assert np.array_equal(found, pixels(more.views(image, "a.jpg", SIZE))[:2])
    for other in (
        both.views(image, "b.jpg", SIZE),
        Augmentation(both.kinds, seed=6).views(image, "a.jpg", SIZE),
    ):
        assert not any(np.array_equal(a, b) for a, b in zip(found, pixels(other), strict=True))
    same_kind = Augmentation(("strong",) * 6, seed=5).views(image, "a.jpg", SIZE)
    assert len({view.tobytes() for view in same_kind}) == 6


@pytest.mark.parametrize("mode", ["RGB", "L", "LA", "P", "RGBA", "CMYK", "1", "I;16"])
@pytest.mark.parametrize("size", [(60, 50), (1, 1), (1, 40), (300, 7)])
def test_images_of_any_mode_and_size_have_views(mode, size):
    image = picture(0, *size)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    else:
        image = image.convert(mode)
    before = image.tobytes()
    for number, view in enumerate(Augmentation(("weak", "strong") * 5).views(image, "x", SIZE)):
        assert (view.mode, view.size) == ("RGB", SIZE), number
    assert image.tobytes() == before


def test_a_weak_view_is_a_part_of_the_image_and_a_strong_one_lacks_a_part():
    red = Image.new("RGB", (50, 40), (200, 30, 40))
    weak = pixels(Augmentation(("weak",) * 8).views(red, "x", SIZE))
    assert (weak == (200, 30, 40)).all()
    strong = pixels(Augmentation(("strong",) * 8).views(red, "x", SIZE))
    grey = (strong == views.GREY).all(axis=-1).mean(axis=(1, 2))
    assert (grey > 0).sum() >= 6 and (grey < 0.9).all()


def test_weak_views_are_mirrored_half_of_the_time():
    ramp = Image.fromarray(np.tile(np.arange(0, 240, 2, dtype=np.uint8), (60, 1))).convert("RGB")
    found = pixels(Augmentation(("weak",) * 200).views(ramp, "x", SIZE))[..., 0].astype(int)
    mirrored = found[:, 0, 0] > found[:, 0, -1]
    assert 0.35 < mirrored.mean() < 0.65


@given(
    width=st.integers(1, 4000),
    height=st.integers(1, 4000),
    kind=st.sampled_from(["weak", "strong"]),
    seed=st.integers(0, 10**6),
)
def test_a_crop_lies_in_the_image_and_keeps_as_much_as_its_policy_says(width, height, kind, seed):
    policy = views.KINDS[kind]
    left, upper, right, lower = views._crop((width, height), policy, np.random.default_rng(seed))
    assert 0 <= left < right <= width and 0 <= upper < lower <= height
    wide, high = (right - left) / width, (lower - upper) / height
    least, largest = policy.area
    # A crop that would stick out is cut off there.
    assert least / policy.ratio**0.5 - 1e-6 <= wide * high <= largest + 1e-6
    assert 1 / policy.ratio - 1e-6 <= wide / high <= policy.ratio + 1e-6


@pytest.mark.parametrize("number", range(len(views.ALL_DISTORTIONS)))
def test_a_distortion_of_no_strength_changes_nothing_and_one_of_full_strength_does(number):
    distort, image = views.ALL_DISTORTIONS[number], picture()
    assert np.array_equal(np.asarray(distort(image, 0.0)), np.asarray(image))
    for strength in (-1.0, 1.0):
        changed = distort(image, strength)
        assert (changed.mode, changed.size) == ("RGB", image.size)
        assert not np.array_equal(np.asarray(changed), np.asarray(image))


# --- in the cache --------------------------------------------------------------------------------


@pytest.fixture
def photos(tmp_path) -> Path:
    """Three class folders of six noisy images each; one class is unseen."""
    for label, folder in enumerate(("ash", "beech", "cedar", "elm")):
        (tmp_path / "photos" / folder).mkdir(parents=True)
        for number in range(6):
            picture(10 * label + number).save(tmp_path / "photos" / folder / f"{number}.png")
    return tmp_path / "photos"


@pytest.fixture
def options(photos, tiny_weights) -> dict[str, object]:
    """The small random encoder on the photos, in batches that don't divide them."""
    small = {"model": "tiny", "pretrained": str(tiny_weights), "workers": 2, "batch_size": 5}
    return {"dataset": "folder", "root": photos, **small}


def test_each_view_is_cached_with_its_kind_beside_the_clean_image(options, photos, tmp_path):
    plain = load_cache(extract(**options, out=tmp_path / "plain.h5")["cache"])
    cache = load_cache(extract(**options, out=tmp_path / "x.h5", views=3, view_seed=4)["cache"])
    assert np.array_equal(cache.images, plain.images)
    assert cache.view_kinds == ("weak", "weak", "strong")
    assert cache.views.shape == (24, 3, cache.images.shape[1])
    encoder = load_encoder("tiny", str(options["pretrained"]))
    augmentation = choose_views(3, seed=4)
    train = cache.splits == "trainval"
    assert 0 < train.sum() < 24
    for row, path in enumerate(cache.paths):
        expected = np.repeat(cache.images[row][None], 3, axis=0)
        if train[row]:
            shown = augmentation.views(Image.open(photos / path), path, (64, 64))
            batch = torch.stack([encoder.preprocess(view) for view in shown])
            expected = encoder.encode_images(batch).numpy()
        np.testing.assert_allclose(cache.views[row], expected, atol=2e-6)
    distance = np.linalg.norm(cache.views[train] - cache.images[train][:, None], axis=-1)
    assert (distance > 5e-5).all()


def test_views_of_16_bit_grey_are_as_bright_as_the_image(tmp_path):
    grey = np.tile(np.linspace(0, 65535, 60).astype(np.uint16), (50, 1))
    Image.fromarray(grey).save(tmp_path / "grey.png")
    data = SimpleNamespace(
        reader=lambda path: Image.open(tmp_path / path),
        paths=("grey.png",),
        splits=np.array(["trainval"]),
    )
    mean, std = (0.5,) * 3, (0.5,) * 3
    prepare = Preparation({"size": 16, "mean": mean, "std": std, "interpolation": "bicubic"})
    clean, *found = ImageReader(data, prepare, choose_views(8, "weak"))("grey.png").float()
    assert len(found) == 8
    assert all(abs(view.mean() - clean.mean()) < 50 for view in found)


def test_views_of_test_images_cost_no_encoding(options, tmp_path, monkeypatch):
    made, encoded = [], []
    make, encode = Augmentation.views, OpenClipEncoder.encode_images
    monkeypatch.setattr(
        Augmentation,
        "views",
        lambda self, image, name, size: made.append(name) or make(self, image, name, size),
    )
    monkeypatch.setattr(
        OpenClipEncoder,
        "encode_images",
        lambda self, batch: encoded.append(len(batch)) or encode(self, batch),
    )
    cache = load_cache(extract(**options, out=tmp_path / "x.h5", views=2)["cache"])
    train = cache.splits == "trainval"
    assert sorted(made) == sorted(np.array(cache.paths)[train])
    assert sum(encoded) == 24 + 2 * train.sum()


KILL = """
import os, signal, sys
from pzsl.cli import main
from pzsl.store import CacheWriter
write, calls = CacheWriter.write, []
def armed(*args, **options):
    write(*args, **options)
    calls.append(1)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
CacheWriter.write = armed
main()
"""


@pytest.mark.slow  # `test_extraction` kills a run with views, too
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_run_ends_in_the_same_bits(options, tmp_path):
    words = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    out = tmp_path / "x.h5"
    killed = run_python("-c", KILL, "extract", *words, "--views", "3", "--out", out)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    for change in ({"views": 2}, {"views": 3, "view_policy": "weak"}, {"views": 3, "view_seed": 1}):
        with pytest.raises(UserError, match=r"was started with other settings \(.*augmentation"):
            extract(**options, out=out, **change)
    result = extract(**options, out=out, views=3)
    assert (result["resumed"], result["encoded"]) == (10, 14)
    whole = load_cache(extract(**options, out=tmp_path / "whole.h5", views=3)["cache"])
    assert np.array_equal(load_cache(out).views, whole.views)
    assert load_cache(out).fingerprint == whole.fingerprint


def test_an_image_that_can_not_be_read_takes_its_views_along(options, photos, tmp_path):
    whole = load_cache(extract(**options, out=tmp_path / "whole.h5", views=2)["cache"])
    train = np.flatnonzero(whole.splits == "trainval")
    (photos / whole.paths[train[1]]).write_bytes(b"no image")
    some = extract(**options, out=tmp_path / "some.h5", views=2, on_error="skip")
    assert [one["path"] for one in some["failed"]] == [whole.paths[train[1]]]
    keep = np.delete(np.arange(24), train[1])
    assert np.array_equal(load_cache(some["cache"]).views, whole.views[keep])


def test_shards_have_views_too(options, tmp_path):
    whole = load_cache(extract(**options, out=tmp_path / "whole.h5", views=2)["cache"])
    out = tmp_path / "x.h5"
    for number in (1, 2):
        extract(**options, out=out, views=2, shard=f"{number}/2")
    merge_parts([], out)
    assert np.array_equal(load_cache(out).views, whole.views)
    assert load_cache(out).view_kinds == whole.view_kinds
    assert load_cache(out).fingerprint == whole.fingerprint


def test_a_run_is_given_the_views_of_its_images_and_their_kinds(options, tmp_path):
    path = Path(extract(**options, out=tmp_path / "x.h5", views=2)["cache"])
    cache = load_cache(path)
    (config,) = expand(
        Source("folder", cache.fingerprint, "tiny"),
        ["able"],
        ["default"],
        ["uniform"],
        [0.5],
        [0],
        [0],
    )
    task = make_task(cache, config, torch.device("cpu"))
    assert task.problem.view_kinds == ("weak", "strong")
    assert np.array_equal(task.problem.views[:], cache.views[task.rows])
    annotate(path)
    assert load_cache(path).view_kinds == ("weak", "strong")
    short = {"epochs": 2, "min_steps": 2, "calibrate": False}
    given = {"noise": ["annotated"], "seeds": 1, "settings": short}
    done = train(path, method=["able"], runs=tmp_path / "runs", **given)
    assert done["runs"][0]["H"] is not None
