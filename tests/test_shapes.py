"""The built-in data set: which images there are, how they are drawn, what they are good for."""

from __future__ import annotations

from statistics import fmean

import numpy as np
import pytest

from pzsl.annotation import annotate
from pzsl.datasets.shapes.dataset import COMPOSITIONS, draw_indexed, load_shapes, seen_mask
from pzsl.datasets.shapes.drawing import out_of_focus
from pzsl.errors import UsageError
from pzsl.extraction import extract
from pzsl.training import train


def smoothed(image: np.ndarray) -> np.ndarray:
    """The obvious way: each pixel's weighted mean, pixels beyond the border as the nearest one."""
    height, width, _ = image.shape
    result = np.empty(image.shape)
    for y, x in np.ndindex(height, width):
        total = np.zeros(3)
        for dy, dx in np.ndindex(3, 3):
            near = min(max(y + dy - 1, 0), height - 1), min(max(x + dx - 1, 0), width - 1)
            total += (1, 2, 1)[dy] * (1, 2, 1)[dx] * image[near].astype(float)
        result[y, x] = total / 16
    return np.floor(result + 0.5)


def test_out_of_focus_is_a_weighted_mean_of_the_neighbours():
    image = np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8)
    blurred = out_of_focus(image)
    assert blurred.dtype == np.uint8
    assert np.array_equal(blurred, smoothed(image))
    white = np.full((4, 4, 3), 255, dtype=np.uint8)
    assert np.array_equal(out_of_focus(white), white)


def test_the_splits_have_the_images_that_are_promised():
    data = load_shapes()
    assert (len(data.paths), len(set(data.paths)), len(data.classes)) == (7800, 7800, 400)
    assert int(data.seen.sum()) == 300
    counts = {split: int((data.splits == split).sum()) for split in set(data.splits.tolist())}
    assert counts == {"trainval": 4800, "test_seen": 1800, "test_unseen": 1200}
    assert np.array_equal(data.seen[data.labels], data.splits != "test_unseen")


def facts(data):
    """Of each image its class's name and its split."""
    names = np.array(data.classes)[data.labels].tolist()
    return dict(zip(data.paths, zip(names, data.splits.tolist(), strict=True), strict=True))


def test_a_closed_set_has_the_same_images_of_the_seen_classes():
    whole, closed = load_shapes(), load_shapes(unseen=0)
    assert closed.seen.all()
    assert closed.classes == tuple(np.array(whole.classes)[whole.seen])
    kept = {path: known for path, known in facts(whole).items() if known[1] != "test_unseen"}
    assert len(kept) == 6600
    assert list(facts(closed).items()) == list(kept.items())


def test_another_share_of_unseen_classes_is_refused():
    with pytest.raises(UsageError, match=r"--unseen 0\.3: shapes has its own 100"):
        load_shapes(unseen=0.3)


def test_an_image_is_its_drawing_out_of_focus():
    data = load_shapes(seed=5)
    path = data.paths[1234]
    name, _, number = path.partition("/")
    composition = COMPOSITIONS[int(number) // 1000]
    assert "_".join(composition) == name
    drawn = draw_indexed(composition, 5, int(number))
    assert np.array_equal(np.asarray(data.reader(path)), out_of_focus(drawn))
    assert not np.array_equal(np.asarray(data.reader(path)), drawn)


def test_every_word_of_an_unseen_name_is_in_seen_names():
    seen = seen_mask()
    words = {word for one, known in zip(COMPOSITIONS, seen, strict=True) if known for word in one}
    assert {word for one in COMPOSITIONS for word in one} == words


@pytest.mark.slow
def test_co_reg_learns_more_from_clips_annotation_than_clip_knows(tmp_path):
    cache = tmp_path / "closed.h5"
    extract(dataset="shapes", views=4, unseen=0, out=cache)
    annotate(cache, rule="ratio")
    methods = ["clip", "co-reg"]
    found = train(cache, method=methods, noise=["annotated"], seeds=3, runs=tmp_path / "runs")
    clip, co_reg = (
        fmean(row["S"] for row in found["runs"] if row["method"] == name) for name in methods
    )
    assert co_reg >= clip + 5
