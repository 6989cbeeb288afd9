"""Augmented views: each follows from seed, id and number, and lies in the cache with its kind."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pzsl.errors import UsageError
from pzsl.extraction import views
from pzsl.extraction.views import Augmentation, choose_views

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


@pytest.mark.parametrize("number", range(len(views.ALL)))
def test_a_distortion_of_no_strength_changes_nothing_and_one_of_full_strength_does(number):
    distort, image = views.ALL[number], picture()
    if distort is not views._contrast:  # which always stretches to the full range
        assert np.array_equal(np.asarray(distort(image, 0.0)), np.asarray(image))
    for strength in (-1.0, 1.0):
        changed = distort(image, strength)
        assert (changed.mode, changed.size) == ("RGB", image.size)
        assert not np.array_equal(np.asarray(changed), np.asarray(image))
