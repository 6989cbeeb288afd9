"""The data set `folder`: a user's own class folders, and how they are split."""

from __future__ import annotations

import json
import os
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pzsl.datasets import load_dataset
from pzsl.datasets.own.folder import draw_share, load_folder
from pzsl.errors import UsageError, UserError


def make(root, classes, suffix=".png"):
    """Class folders with images of one colour: {folder: number of images}."""
    for number, (folder, count) in enumerate(classes.items()):
        (root / folder).mkdir(parents=True)
        for index in range(count):
            image = Image.new("RGB", (8, 8), (10 * number, 10 * index, 99))
            image.save(root / folder / f"{index:03d}{suffix}")
    return root


def split_of(data):
    return dict(zip(data.paths, data.splits.tolist(), strict=True))


@pytest.fixture
def root(tmp_path):
    return make(tmp_path / "birds", {f"class_{letter}": 10 for letter in "abcdefgh"})


# --- what is found -------------------------------------------------------------------------------


def test_classes_are_the_folders_with_spaces_for_underscores(root):
    data = load_dataset("folder", root=root)
    assert data.classes == tuple(f"class {letter}" for letter in "abcdefgh")
    assert data.paths[:2] == ("class_a/000.png", "class_a/001.png")
    assert data.labels.tolist() == [label for label in range(8) for _ in range(10)]
    assert dict(data.origin)["root"] == str(root.resolve())


def test_the_reader_opens_the_image_of_a_path(root):
    data = load_folder(root)
    image = data.reader("class_c/004.png")
    assert image.convert("RGB").getpixel((3, 3)) == (20, 40, 99)


def test_hidden_files_and_other_types_are_left_alone_and_suffixes_have_any_case(root):
    (root / ".cache").mkdir()
    (root / "__MACOSX").mkdir()
    (root / "class_a" / "@eaDir").mkdir()
    (root / "class_a" / "@eaDir" / "thumb.png").write_bytes(b"")
    (root / "class_a" / ".hidden.png").write_bytes(b"")
    (root / "class_a" / "notes.txt").write_text("no image")
    (root / "readme.md").write_text("no class")
    (root / "class_a" / "b.JPG").write_bytes(b"")
    (root / "class_a" / "A.jpeg").write_bytes(b"")
    found = [path for path in load_folder(root).paths if path.startswith("class_a/")]
    assert found[-2:] == ["class_a/A.jpeg", "class_a/b.JPG"]
    assert len(found) == 12


def test_a_folder_that_is_named_like_an_image_is_listed_so_that_reading_it_can_fail(root):
    (root / "class_a" / "album.jpg").mkdir()
    assert "class_a/album.jpg" in load_folder(root).paths


def test_links_inside_the_root_are_followed_and_links_out_of_it_refused(root, tmp_path):
    (root / ".store").mkdir()
    Image.new("RGB", (8, 8)).save(root / ".store" / "kept.png")
    (root / "class_a" / "link.png").symlink_to(root / ".store" / "kept.png")
    assert "class_a/link.png" in load_folder(root).paths
    outside = tmp_path / "secret.png"
    Image.new("RGB", (8, 8)).save(outside)
    (root / "class_a" / "out.png").symlink_to(outside)
    with pytest.raises(UserError, match=r"out\.png.*leads out of the root"):
        load_folder(root)


def test_a_class_folder_that_is_a_link_out_of_the_root_is_refused(root, tmp_path):
    make(tmp_path / "other", {"elsewhere": 2})
    (root / "linked").symlink_to(tmp_path / "other" / "elsewhere")
    with pytest.raises(UserError, match="leads out of the root"):
        load_folder(root)


def test_images_deeper_in_a_class_folder_are_of_it_and_other_files_are_counted(root, capsys):
    (root / "class_a" / "young" / "small").mkdir(parents=True)
    for path in ("class_a/young/small/1.png", "class_a/young/2.jfif"):
        Image.new("RGB", (8, 8)).save(root / path, "JPEG" if path.endswith("jfif") else "PNG")
    for path in ("readme.txt", "class_b/a.heic", "class_b/b.HEIC"):
        (root / path).write_bytes(b"x")
    data = load_folder(root)
    assert len(data.paths) == 82 and "class_a/young/small/1.png" in data.paths
    data.reader("class_a/young/2.jfif")
    told = capsys.readouterr().err
    assert "2 images of its class in folders within it" in told
    assert "left out: 3 files of other kinds (2 .heic, 1 .txt)" in told


def test_a_folder_above_class_folders_is_not_taken_for_a_class(root, tmp_path):
    (tmp_path / "all").mkdir()
    root.rename(tmp_path / "all" / "train")
    with pytest.raises(UserError, match=r"class folders, give --root .*train; .* a split of you"):
        load_folder(tmp_path / "all")


def test_images_beside_the_class_folders_are_counted_with_one_of_them(root, capsys):
    for name in ("loose.jpg", "more.PNG"):
        (root / name).write_bytes(b"x")
    load_folder(root)
    told = capsys.readouterr().err
    assert "left out: 2 images in no class folder, such as 'loose.jpg'" in told
    assert "other kinds" not in told


def test_all_faults_of_a_folder_are_reported_at_once(root, tmp_path):
    make(root, {"CLASS_a": 2})
    (root / "empty_one").mkdir()
    (root / "phone").mkdir()
    for name in ("1.heic", "2.HEIC", "3.mov"):
        (root / "phone" / name).write_bytes(b"x")
    for number in range(2):
        (root / "class_b" / f"out{number}.png").symlink_to(tmp_path / f"secret{number}.png")
    with pytest.raises(UserError) as caught:
        load_folder(root)
    told = str(caught.value)
    assert told.startswith(f"Folder '{root}': 5 faults:\n") and len(told.splitlines()) == 6
    for part in ("'class_a' and 'CLASS_a' both", "empty_one' holds no image", "out0.png' leads"):
        assert (
            part in told
            or part.replace("'class_a' and 'CLASS_a'", "'CLASS_a' and 'class_a'") in told
        )
    assert "phone' holds no image" in told and ", but 2 .heic, 1 .mov: add some" in told


# --- what is refused, in one line ----------------------------------------------------------------


def test_a_missing_root_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere.*no such folder"):
        load_folder(tmp_path / "nowhere")


def test_the_root_has_to_be_given():
    with pytest.raises(UsageError, match="needs --root"):
        load_dataset("folder")


def test_an_option_of_another_data_set_names_those_that_take_it():
    with pytest.raises(
        UsageError, match=r"'shapes' takes no option --root: it is for --dataset .*folder"
    ):
        load_dataset("shapes", root="photos")
    with pytest.raises(
        UsageError, match=r"'folder' takes no option --empty: it is for --dataset table\."
    ):
        load_dataset("folder", root="photos", empty="skip")


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(UserError, match="holds no class folders"):
        load_folder(tmp_path)


def test_one_class_only_is_refused(tmp_path):
    make(tmp_path / "one", {"alone": 4})
    with pytest.raises(UserError, match=r"one class only, 'alone'"):
        load_folder(tmp_path / "one")


@pytest.mark.parametrize("twin", ["class a", "CLASS a", "class__a"])
def test_two_folders_of_one_class_name_are_both_named(root, twin):
    make(root, {twin: 2})
    with pytest.raises(UserError) as caught:
        load_folder(root)
    assert "'class_a'" in str(caught.value)
    assert f"'{twin}'" in str(caught.value)


def test_a_class_folder_without_images_is_named(root):
    (root / "empty_one").mkdir()
    with pytest.raises(UserError, match="empty_one' holds no image"):
        load_folder(root)


@pytest.mark.skipif(sys.platform != "linux", reason="only there can a name be any bytes")
def test_a_name_that_is_not_utf8_is_refused_in_printable_letters(root):
    (root / "class_a" / os.fsdecode(b"caf\xe9.png")).write_bytes(b"")
    with pytest.raises(UserError, match="is not UTF-8") as caught:
        load_folder(root)
    str(caught.value).encode()


@pytest.mark.parametrize("share", [-0.1, 1.0, 2.0])
def test_shares_outside_of_their_range_are_refused(root, share):
    with pytest.raises(UsageError, match="--unseen"):
        load_folder(root, unseen=share)
    with pytest.raises(UsageError, match="--test-share"):
        load_folder(root, test=share)


# --- the seeded split ----------------------------------------------------------------------------


def test_the_split_has_the_shares_that_were_asked_for(root):
    data = load_folder(root, seed=3, unseen=0.25, test=0.2)
    assert (~data.seen).sum() == 2
    for label, seen in enumerate(data.seen):
        parts = data.splits[data.labels == label]
        expected = {"trainval": 8, "test_seen": 2} if seen else {"test_unseen": 10}
        assert dict(zip(*np.unique(parts, return_counts=True), strict=True)) == expected


def test_the_split_follows_from_the_seed_alone(root):
    assert split_of(load_folder(root, seed=1)) == split_of(load_folder(root, seed=1))
    assert split_of(load_folder(root, seed=1)) != split_of(load_folder(root, seed=2))


def test_adding_images_to_a_class_moves_no_image_of_another(root):
    before = split_of(load_folder(root))
    for index in range(100, 107):
        Image.new("RGB", (8, 8)).save(root / "class_d" / f"{index}.png")
    after = split_of(load_folder(root))
    assert {p: s for p, s in after.items() if "class_d" not in p} == {
        p: s for p, s in before.items() if "class_d" not in p
    }


def test_without_unseen_classes_and_without_test_images(root):
    assert load_folder(root, unseen=0).seen.all()
    assert "test_seen" not in load_folder(root, test=0).splits


def test_two_classes_of_one_image_each_give_one_seen_and_one_unseen(tmp_path):
    data = load_folder(make(tmp_path / "two", {"a": 1, "b": 1}))
    assert sorted(data.splits.tolist()) == ["test_unseen", "trainval"]


@given(
    names=st.sets(st.text(min_size=1, max_size=5), min_size=1, max_size=30),
    share=st.floats(0, 1, exclude_max=True),
    seed=st.integers(0, 9),
)
@settings(max_examples=50)
def test_a_drawn_share_is_never_all_and_at_least_one_of_several(names, share, seed):
    drawn = draw_share(names, share, seed)
    assert drawn <= names
    assert len(drawn) < len(names)
    if share and len(names) > 1:
        assert len(drawn) >= 1
        assert abs(len(drawn) - share * len(names)) <= 1


@given(names=st.sets(st.text(min_size=1, max_size=5), min_size=4, max_size=30), seed=st.integers())
def test_one_more_name_moves_at_most_one_of_the_others(names, seed):
    extra = max(names)
    fewer = names - {extra}
    assert len(draw_share(names, 0.3, seed) - {extra} ^ draw_share(fewer, 0.3, seed)) <= 1


# --- the split file ------------------------------------------------------------------------------


def write_split(tmp_path, content):
    file = tmp_path / "split.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def test_a_split_file_is_followed(root, tmp_path):
    given = {"unseen": ["class b", "class_g"], "test_seen": ["class_a/000.png", "class_c/001.png"]}
    data = load_folder(root, splits=write_split(tmp_path, given))
    assert [name for name, seen in zip(data.classes, data.seen, strict=True) if not seen] == [
        "class b",
        "class g",
    ]
    split = split_of(data)
    assert {path for path, part in split.items() if part == "test_seen"} == set(given["test_seen"])
    assert dict(data.origin)["splits"] == "split.json"


def test_what_a_split_file_leaves_out_is_seeded(root, tmp_path):
    data = load_folder(root, splits=write_split(tmp_path, {"unseen": ["class b"]}))
    assert (data.splits == "test_seen").sum() == 7 * 2
    given = {"test_seen": ["class_a/000.png"]}
    seeded = load_folder(root, seed=5)
    if not seeded.seen[0]:
        given = {"test_seen": ["class_b/000.png"]}
    data = load_folder(root, splits=write_split(tmp_path, given), seed=5)
    assert np.array_equal(data.seen, seeded.seen)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ([], "should be"),
        ({"unseen": ["class b"], "train": []}, "should be"),
        ({"unseen": "class b"}, "'unseen' should be a list"),
        ({"unseen": [1]}, "'unseen' should be a list"),
        ({"unseen": ["class x"]}, "no class 'class x'"),
        ({"test_seen": ["class_a/999.png"]}, "no image 'class_a/999.png'"),
        ({"test_seen": ["../secret.png"]}, "no image '../secret.png'"),
        ({"unseen": ["class a"], "test_seen": ["class_a/000.png"]}, "of an unseen class"),
        (
            {"unseen": [], "test_seen": [f"class_a/{i:03d}.png" for i in range(10)]},
            "all images of 'class_a'",
        ),
        ({"unseen": [f"class {letter}" for letter in "abcdefgh"]}, "no class is seen"),
    ],
)
def test_a_split_file_that_does_not_fit_is_answered_in_one_line(root, tmp_path, content, message):
    file = write_split(tmp_path, content)
    with pytest.raises(UserError, match=message) as caught:
        load_folder(root, splits=file)
    assert "\n" not in str(caught.value)


def test_a_missing_split_file_is_named(root, tmp_path):
    with pytest.raises(UserError, match=r"none\.json.*can't be read"):
        load_folder(root, splits=tmp_path / "none.json")
