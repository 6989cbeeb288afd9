"""Defaults that suit experiments are told where they meet one's own images, and only there."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from pzsl import extract, pack, predict, train

COLOURS = ("red", "blue", "green", "yellow", "black", "white")
HELD_OUT, ADDED, LEARNT = (
    "Held out for tests: ",
    "Wrong labels are added",
    "learnt from wrong labels",
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for name in COLOURS:
        (folder / name).mkdir()
        for size in range(20, 26):
            Image.new("RGB", (size, 20), name).save(folder / name / f"{size}.png")
    return folder


@pytest.fixture
def told(capsys):
    """Calls a function; returns what it gave, and what was told."""

    def call(function, *arguments, **words) -> tuple[dict, str]:
        capsys.readouterr()
        result = function(*arguments, **words)
        return result, capsys.readouterr().err

    return call


def encode(photos: Path, out: Path, **words) -> dict:
    return extract("folder", root=photos, model="tiny", out=out / "own.h5", **words)


def test_images_that_are_held_out_unasked_are_told_of(photos, tmp_path, told):
    _, lines = told(encode, photos, tmp_path)
    counts = "2 classes and 4 images of the others, drawn at random"
    assert HELD_OUT + counts in lines and "--unseen 0 --test-share 0" in lines
    for number, asked in enumerate(({"unseen": 0}, {"test": 0.5}, {"unseen": 0, "test": 0})):
        assert HELD_OUT not in told(encode, photos, tmp_path / str(number), **asked)[1]
    drawings = {"model": "tiny", "out": tmp_path / "shapes.h5", "limit": 400}
    assert HELD_OUT not in told(extract, "shapes", **drawings)[1]


def test_a_table_without_a_split_is_told_likewise_and_one_with_a_split_is_not(
    photos, tmp_path, told
):
    rows = [(file, file.parent.name) for file in sorted(photos.glob("*/*.png"))]
    plain, split = tmp_path / "plain.csv", tmp_path / "split.csv"
    plain.write_text("path,label\n" + "".join(f"{file},{name}\n" for file, name in rows))
    parts = ["test_seen" if file.stem == "20" else "trainval" for file, _ in rows]
    lines = [f"{file},{name},{part}\n" for (file, name), part in zip(rows, parts, strict=True)]
    split.write_text("path,label,split\n" + "".join(lines))
    words = {"model": "tiny", "out": tmp_path / "a.h5", "root": photos}
    assert HELD_OUT in told(extract, "table", table=plain, **words)[1]
    words["out"] = tmp_path / "b.h5"
    assert HELD_OUT not in told(extract, "table", table=split, **words)[1]


def test_sets_drawn_unasked_are_told_of_in_training_and_wherever_the_run_is_used(
    photos, tmp_path, told
):
    cache = encode(photos, tmp_path, unseen=0)["cache"]
    settings = {"epochs": 1, "min_steps": 2}
    given = {"seeds": 1, "workers": 1, "runs": tmp_path / "runs", "settings": settings}
    drawn, lines = told(train, cache, rate=0.3, **given)
    assert ADDED in lines and "--noise file learns from the labels as they are" in lines
    own, lines = told(train, cache, noise="file", **given)
    assert ADDED not in lines
    assert ADDED not in told(train, cache, noise="fixed-size:2", **given)[1]
    picture = [photos / "red" / "20.png"]
    swapped = train(cache, noise="noisy", rate=0, eta=0.2, **given)
    for number, (result, expected) in enumerate(((drawn, 1), (own, 0), (swapped, 1))):
        run = result["runs"][0]["path"]
        packed = tmp_path / f"packed-{number}"
        uses = (predict, run, picture), (pack, run, packed), (predict, packed, picture)
        assert [told(*use)[1].count(LEARNT) for use in uses] == [expected] * 3
