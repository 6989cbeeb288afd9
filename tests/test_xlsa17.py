"""SUN, CUB, AWA2, aPY, FLO: as published, with files missing, with files damaged."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat
from standin import cells, plant, stand_in, write_splits

from pzsl.datasets import load_dataset
from pzsl.datasets.published.apy import assign_boxes, object_ids, read_boxes
from pzsl.datasets.published.listing import PROPOSED
from pzsl.datasets.published.matching import match_files
from pzsl.datasets.published.xlsa17 import load_apy, load_awa2, load_flo, load_sun
from pzsl.errors import UsageError, UserError

# name: (folder of the splits, what the tree starts with, images, classes, attributes)
PUBLISHED = {
    "sun": ("SUN", "images/", 14340, 717, 102),
    "cub": ("CUB", "CUB_200_2011/images/", 11788, 200, 312),
    "awa2": ("AWA2", "Animals_with_Attributes2/", 37322, 50, 85),
}


@pytest.fixture(scope="module")
def trees(tmp_path_factory, real_data):
    """A whole tree of each data set, at the real paths, made when it is first asked for."""
    made: dict[str, Path] = {}

    def tree(name: str) -> Path:
        if name not in made:
            folder, start, *_ = PUBLISHED[name]
            made[name] = tmp_path_factory.mktemp(name) / "tree"
            stand_in(made[name], real_data, folder, start)
        return made[name]

    return tree


# --- as published --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_image_is_found_and_all_counts_are_those_printed(trees, real_data, name):
    folder, _, images, classes, attributes = PUBLISHED[name]
    data = load_dataset(name, root=trees(name), splits=real_data / "xlsa17" / folder)
    counts = PROPOSED[name]
    assert (len(data.paths), len(data.classes)) == (images, classes)
    assert data.attributes.shape == (classes, attributes) and data.attributes.dtype == np.float32
    assert (int(data.seen.sum()), int((~data.seen).sum())) == counts[:2]
    assert [int((data.splits == s).sum()) for s in ("trainval", "test_seen", "test_unseen")] == [
        *counts[2:]
    ]
    assert dict(data.origin)["split"].startswith("xlsa17 proposed split")
    assert len(dict(data.origin)["split_file_sha256"]) == 64
    assert data.reader(data.paths[-1]).mode == "RGB"


@pytest.mark.parametrize("name", PUBLISHED)
def test_each_label_is_the_class_of_the_images_folder(trees, real_data, name):
    folder = PUBLISHED[name][0]
    data = load_dataset(name, root=trees(name), splits=real_data / "xlsa17")
    cells_of = loadmat(real_data / "xlsa17" / folder / "att_splits.mat")["allclasses_names"]
    published = [str(cell[0]) for cell in cells_of[:, 0]]
    for path, label in zip(data.paths, data.labels, strict=True):
        parts = path.split("/")[:-1]
        assert published[label] == ("_".join(parts[1:]) if name == "sun" else parts[-1])


def test_the_published_attributes_come_class_by_class(trees, real_data):
    data = load_dataset("cub", root=trees("cub"), splits=real_data / "xlsa17" / "CUB")
    att = loadmat(real_data / "xlsa17" / "CUB" / "att_splits.mat")["att"]
    assert data.classes[0] == "Laysan Albatross"
    np.testing.assert_array_equal(data.attributes[0], att[:, 0].astype(np.float32))
    np.testing.assert_allclose(np.linalg.norm(data.attributes, axis=1), 1, atol=1e-5)


def test_flo_takes_its_names_from_the_data_file(real_data, tmp_path):
    split = loadmat(real_data / "xlsa17" / "FLO" / "att_splits.mat")
    assert "allclasses_names" not in split
    # The publisher's labels aren't in our files; any that fit the split will do here.
    unseen = set(split["test_unseen_loc"].ravel().tolist())
    seen_labels, unseen_labels = iter(_forever(range(20, 102))), iter(_forever(range(20)))
    labels = [next(unseen_labels if i + 1 in unseen else seen_labels) for i in range(8189)]
    files = [f"/BS/Deep/Flowers/jpg/image_{i + 1:05d}.jpg" for i in range(8189)]
    folder = tmp_path / "tree" / "xlsa17" / "FLO"
    plant(tmp_path / "tree", [f"jpg/image_{i + 1:05d}.jpg" for i in range(8189)])
    folder.mkdir(parents=True)
    (folder / "att_splits.mat").write_bytes(
        (real_data / "xlsa17" / "FLO" / "att_splits.mat").read_bytes()
    )
    savemat(
        folder / "res101.mat",
        {"image_files": cells(files), "labels": np.array(labels)[:, None] + 1},
        do_compression=True,
    )
    data = load_flo(tmp_path / "tree")
    assert data.classes[0] == "pink primrose" and data.attributes.shape == (102, 1024)
    assert dict(data.origin)["split"].startswith("xlsa17 proposed split")
    assert [int((data.splits == s).sum()) for s in ("trainval", "test_seen", "test_unseen")] == [
        *PROPOSED["flo"][2:]
    ]


def test_apy_and_flo_without_their_list_of_images_say_what_to_get(real_data, tmp_path):
    for name in ("apy", "flo"):
        with pytest.raises(UserError, match=r"res101\.mat is missing.*labels.*published beside"):
            load_dataset(name, root=tmp_path, splits=real_data / "xlsa17")


def _forever(values):
    while True:
        yield from values


# --- a small set of our own making ---------------------------------------------------------------

PREFIX = "/BS/work/data//AWA/JPEGImages/"
NAMES = ["ox", "grizzly+bear", "seal", "mole"]


@pytest.fixture
def small(tmp_path):
    """A tree of 40 images of 4 animals, the last one unseen, with its split files inside."""
    return make_small(tmp_path / "tree")


def make_small(root: Path, **change) -> Path:
    files, labels, splits = [], [], []
    for label, name in enumerate(NAMES):
        for i in range(10):
            files.append(f"{name}/{name}_{i}.jpg")
            labels.append(label)
            splits.append("test_unseen" if label == 3 else "test_seen" if i < 2 else "trainval")
    plant(root, [f"JPEGImages/{file}" for file in files])
    given = {
        "files": [PREFIX + file for file in files],
        "labels": labels,
        "splits": splits,
        "names": NAMES,
        "attributes": np.arange(8.0).reshape(4, 2),
    }
    write_splits(root / "xlsa17" / "AWA2", **{**given, **change})
    return root


def test_the_conventions_of_the_files_are_undone(small):
    data = load_awa2(small)
    assert data.classes == ("ox", "grizzly bear", "seal", "mole")
    assert data.seen.tolist() == [True, True, True, False]
    assert data.paths[10] == "grizzly+bear/grizzly+bear_0.jpg"
    assert data.labels.tolist() == [i // 10 for i in range(40)]
    assert data.splits[:3].tolist() == ["test_seen", "test_seen", "trainval"]
    np.testing.assert_array_equal(data.attributes, np.arange(8.0).reshape(4, 2))
    assert "another split" in dict(data.origin)["split"]


@pytest.mark.parametrize("place", ["xlsa17/AWA2", "xlsa17/data/AWA2", "cvpr18xian/data/AWA2"])
def test_the_splits_are_found_where_the_archives_put_them(small, place):
    files = small / "xlsa17" / "AWA2"
    moved = small / "other"
    files.rename(moved)
    (small / place).parent.mkdir(parents=True, exist_ok=True)
    moved.rename(small / place)
    assert len(load_awa2(small).paths) == 40


@pytest.mark.parametrize("given", [".", "AWA2", "AWA2/att_splits.mat"])
def test_the_splits_may_be_given_by_folder_parent_or_file(small, tmp_path, given):
    (small / "xlsa17").rename(tmp_path / "splits")
    assert len(load_awa2(small, splits=tmp_path / "splits" / given).paths) == 40


def test_ids_and_split_hash_do_not_depend_on_where_the_tree_lies(small, tmp_path):
    first = load_awa2(small)
    splits = small / "xlsa17"
    deep = tmp_path / "a" / "b" / "Animals"
    deep.parent.mkdir(parents=True)
    (small / "JPEGImages").rename(deep)
    for root in (tmp_path / "a", deep):
        again = load_awa2(root, splits=splits)
        assert again.paths == first.paths and again.split_hash == first.split_hash
        assert again.reader(again.paths[0]).size == (16, 16)


def test_images_that_lie_elsewhere_in_the_tree_are_read_from_there(small):
    (small / "more").mkdir()
    file = small / "JPEGImages" / "seal" / "seal_3.jpg"
    expected = file.read_bytes()
    file.rename(small / "more" / "seal_3.jpg")
    data = load_awa2(small)
    assert data.reader.moved == {"seal/seal_3.jpg": "more/seal_3.jpg"}
    assert expected and data.reader("seal/seal_3.jpg").size == (16, 16)


def test_the_reader_can_be_sent_to_worker_processes(small):
    reader = load_awa2(small).reader
    assert pickle.loads(pickle.dumps(reader))("ox/ox_0.jpg").mode == "RGB"


def test_a_file_of_names_beside_the_split_or_given_is_taken(small, tmp_path):
    (small / "xlsa17" / "AWA2" / "names.tsv").write_text("ox\tmusk ox\n", "utf-8")
    assert load_awa2(small).classes[0] == "musk ox"
    own = tmp_path / "own.tsv"
    own.write_text("seal\tharbor seal\n", "utf-8")
    assert load_awa2(small, names=own).classes[:3] == ("ox", "grizzly bear", "harbor seal")


# --- what can be wrong with the tree -------------------------------------------------------------


def test_removed_images_are_counted_named_and_left_out_of_every_split_on_request(small, capsys):
    gone = ["ox/ox_0.jpg", "ox/ox_5.jpg", "seal/seal_1.jpg", "mole/mole_9.jpg"]
    for path in gone:
        (small / "JPEGImages" / path).unlink()
    with pytest.raises(UserError) as caught:
        load_awa2(small)
    text = str(caught.value)
    assert "4 of 40 images" in text and "ox/ox_0.jpg, ox/ox_5.jpg, seal/seal_1.jpg, ..." in text
    assert "--on-error skip" in text and "\n" not in text
    data = load_awa2(small, on_error="skip")
    assert "4 of 40 images" in capsys.readouterr().err
    assert len(data.paths) == 36 and not set(gone) & set(data.paths)
    assert [int((data.splits == s).sum()) for s in ("trainval", "test_seen", "test_unseen")] == [
        23,
        4,
        9,
    ]
    assert data.seen.tolist() == [True, True, True, False]
    assert dict(data.origin)["missing"] == "4"
    for path, label in zip(data.paths, data.labels, strict=True):
        assert NAMES[label] == path.split("/")[0]


def test_names_with_other_capitals_are_explained(small):
    for i in range(5):
        file = small / "JPEGImages" / "ox" / f"ox_{i}.jpg"
        file.rename(file.with_name(f"tmp{i}"))
        file.with_name(f"tmp{i}").rename(file.with_name(f"OX_{i}.JPG"))
    with pytest.raises(UserError, match=r"5 of 40.*5 of them are there under names with other cap"):
        load_awa2(small)
    assert len(load_awa2(small, on_error="skip").paths) == 35


def test_a_class_that_lost_all_its_training_images_stays_seen(small):
    for i in range(10):
        (small / "JPEGImages" / "ox" / f"ox_{i}.jpg").unlink()
    data = load_awa2(small, on_error="skip")
    assert data.seen[0] and len(data.classes) == 4 and 0 not in data.labels


@pytest.mark.parametrize("on_error", ["fail", "skip"])
def test_a_tree_without_any_image_is_never_taken(small, tmp_path, on_error):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"40 of 40 images.*Give the folder"):
        load_awa2(tmp_path / "empty", splits=small / "xlsa17", on_error=on_error)


def test_one_hundred_missing_images_of_sun(trees, real_data, tmp_path):
    paths = [f"images/{path}" for path in load_sun(trees("sun"), real_data / "xlsa17").paths]
    plant(tmp_path / "tree", paths[:10000] + paths[10100:])
    with pytest.raises(UserError, match="100 of 14340 images"):
        load_sun(tmp_path / "tree", real_data / "xlsa17")
    data = load_sun(tmp_path / "tree", real_data / "xlsa17", on_error="skip")
    assert len(data.paths) == 14240 and int(data.seen.sum()) == 645
    assert not set(data.paths) & {path.removeprefix("images/") for path in paths[10000:10100]}


def test_a_tree_of_sun397_is_recognised(real_data, tmp_path):
    plant(tmp_path, ["SUN397/a/abbey/sun_aaa.jpg", "SUN397/b/bar/sun_bbb.jpg"])
    with pytest.raises(UserError, match=r"looks like SUN397.*SUN Attribute"):
        load_sun(tmp_path, splits=real_data / "xlsa17")


def test_a_root_that_is_no_folder_and_an_unknown_way_with_errors(small, tmp_path):
    with pytest.raises(UserError, match="is not a folder"):
        load_awa2(tmp_path / "none")
    with pytest.raises(UsageError, match="use fail or skip"):
        load_awa2(small, on_error="ignore")


# --- what can be wrong with the split files ------------------------------------------------------


def test_missing_splits_say_how_to_get_them(tmp_path):
    with pytest.raises(UserError, match=r"att_splits\.mat is not in .*--splits.*fetch awa2"):
        load_awa2(tmp_path)


@pytest.mark.parametrize("file", ["att_splits.mat", "res101.mat"])
@pytest.mark.parametrize("content", [b"", b"no MATLAB file at all" * 20, None])
def test_a_damaged_file_is_named(small, file, content):
    path = small / "xlsa17" / "AWA2" / file
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if content is None else content)
    with pytest.raises(UserError, match=rf"{file}.*(not a complete MATLAB file|lacks)") as caught:
        load_awa2(small)
    assert "\n" not in str(caught.value)


def test_a_newer_matlab_format_is_reported(small):
    import h5py

    path = small / "xlsa17" / "AWA2" / "att_splits.mat"
    head = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["att"] = np.zeros((2, 4))
    with path.open("r+b") as raw:
        raw.write(head)
    with pytest.raises(UserError, match="save it again as version 7"):
        load_awa2(small)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("trainval_loc", [[1], [2]], "test_seen_loc lists an image that is listed before"),
        ("trainval_loc", [[3], [3]], "trainval_loc lists an image that is listed before"),
        ("trainval_loc", [[3]], "images are in no split"),
        ("trainval_loc", [[0]], "should count from 1"),
        ("trainval_loc", [[99]], "points to image 99.*different data sets"),
        ("trainval_loc", [[1.5]], "should hold whole numbers"),
        ("att", np.zeros((2, 5)), "5 columns for 4 class names"),
        ("att", np.full((2, 4), np.nan), "not finite"),
        ("att", None, "lacks att"),
    ],
)
def test_a_wrong_field_is_named(small, field, value, message):
    path = small / "xlsa17" / "AWA2" / "att_splits.mat"
    fields = {k: v for k, v in loadmat(path).items() if not k.startswith("__")}
    fields[field] = value
    savemat(path, {k: v for k, v in fields.items() if v is not None})
    with pytest.raises(UserError, match=message):
        load_awa2(small)


def test_a_label_beyond_the_classes_is_refused(tmp_path):
    root = make_small(tmp_path / "tree", labels=[4, *[0] * 29, *[3] * 10])
    with pytest.raises(UserError, match="label 5 is beyond the 4 classes"):
        load_awa2(root)


def test_training_images_of_an_unseen_class_are_refused(tmp_path):
    splits = ["trainval"] * 30 + ["test_unseen"] * 9 + ["trainval"]
    root = make_small(tmp_path / "tree", splits=splits)
    with pytest.raises(UserError, match="of a seen class 'mole' is in split 'test_unseen'"):
        load_awa2(root)


# --- aPY: boxes within images --------------------------------------------------------------------


@pytest.fixture
def apy(tmp_path):
    """Two VOC images with three objects, one Yahoo image; boxes beside them."""
    root = tmp_path / "tree"
    voc, yahoo = "VOCdevkit/VOC2008/JPEGImages", "ayahoo_test_images"
    plant(root, [f"{voc}/2008_000008.jpg", f"{voc}/2008_000015.jpg", f"{yahoo}/wolf_1.jpg"])
    files = ["2008_000008.jpg", "2008_000008.jpg", "2008_000015.jpg", "2008_000008.jpg"]
    write_splits(
        root / "xlsa17" / "APY",
        [*(f"/BS/aPY//VOC2008/JPEGImages/{file}" for file in files), f"/BS/aPY/{yahoo}/wolf_1.jpg"],
        [0, 1, 1, 1, 2],
        ["trainval", "trainval", "test_seen", "trainval", "test_unseen"],
        ["person", "pottedplant", "wolf"],
        np.eye(3),
    )
    boxes = root / "attribute_data"
    boxes.mkdir()
    (boxes / "apascal_train.txt").write_text(
        "2008_000008.jpg pottedplant 1 1 4 8 0 1\n2008_000008.jpg person 3 5 16 16 1 0\n", "utf-8"
    )
    (boxes / "apascal_test.txt").write_text(
        "2008_000008.jpg pottedplant 9 1 16 2 0 0\n2008_000015.jpg pottedplant 5 5 5 4 1\n", "utf-8"
    )
    return root


def test_apy_objects_of_one_image_have_ids_and_boxes_of_their_own(apy):
    data = load_apy(apy)
    assert data.classes == ("person", "potted plant", "wolf")
    image = data.paths[0]
    assert data.paths[1] == f"{image}#2" and data.paths[3] == f"{image}#3"
    sizes = [data.reader(path).size for path in data.paths]
    assert sizes == [(14, 12), (4, 8), (16, 16), (8, 2), (16, 16)]
    assert dict(data.origin)["regions"] == "3 boxes, 2 whole images"
    assert pickle.loads(pickle.dumps(data.reader))(data.paths[1]).size == (4, 8)


def test_apy_without_boxes_takes_whole_images_and_says_so(apy, capsys):
    for file in (apy / "attribute_data").iterdir():
        file.unlink()
    data = load_apy(apy)
    assert {data.reader(path).size for path in data.paths} == {(16, 16)}
    assert "whole images are encoded" in capsys.readouterr().err


def test_a_malformed_box_is_named(apy):
    file = apy / "attribute_data" / "ayahoo_test.txt"
    file.write_text("wolf_1.jpg wolf 1 2 3 4 0\nwolf_2.jpg wolf one 2 3 4\n", "utf-8")
    with pytest.raises(UserError, match="line 2: expected 'image class x1 y1 x2 y2"):
        read_boxes(apy)


def test_ids_of_objects_are_unique_and_boxes_go_to_the_right_class():
    ids = object_ids(["a", "b", "a", "a"])
    assert ids == ("a", "b", "a#2", "a#3")
    boxes = {("a", "x"): [(0, 0, 1, 1), (0, 0, 2, 2)], ("a", "y"): [(0, 0, 3, 3)]}
    assigned = assign_boxes(ids, ["x", "x", "y", "x"], boxes)
    assert assigned == {"a": (0, 0, 1, 1), "a#2": (0, 0, 3, 3), "a#3": (0, 0, 2, 2)}


# --- matching ------------------------------------------------------------------------------------


def test_the_longest_suffix_wins_and_then_the_file_nearest_to_the_root(tmp_path):
    plant(tmp_path, ["x/a/1.jpg", "y/b/1.jpg", "deep/er/y/b/1.jpg"])
    matches = match_files(tmp_path, ["/p/b/1.jpg", "/p/a/1.jpg"])
    assert matches.ids == ("b/1.jpg", "a/1.jpg")
    assert matches.found == ("y/b/1.jpg", "x/a/1.jpg")


def test_a_shared_file_name_does_not_stand_in_for_a_missing_image(tmp_path):
    plant(tmp_path, ["a/1.jpg"])
    matches = match_files(tmp_path, ["/p/a/1.jpg", "/p/b/1.jpg"])
    assert matches.found == ("a/1.jpg", None)


def test_a_link_in_a_circle_ends(tmp_path):
    plant(tmp_path, ["a/1.jpg"])
    try:
        (tmp_path / "a" / "again").symlink_to(tmp_path, target_is_directory=True)
    except OSError:
        pytest.skip("no symbolic links here")
    assert match_files(tmp_path, ["/p/1.jpg"]).files == 1


# --- through stage one ---------------------------------------------------------------------------


@pytest.fixture
def encoder(tiny_weights):
    """Options that choose the small random encoder."""
    return {"model": "tiny", "pretrained": str(tiny_weights), "workers": 2}


def test_missing_and_truncated_images_are_left_out_of_every_split(small, tmp_path, encoder):
    from pzsl.extraction import extract
    from pzsl.store import load_cache

    (small / "JPEGImages" / "ox" / "ox_0.jpg").unlink()
    for path in ("ox/ox_3.jpg", "mole/mole_4.jpg"):
        file = small / "JPEGImages" / path
        content = file.read_bytes()
        file.unlink()  # the stand-ins are hard links to one file
        file.write_bytes(content[: len(content) // 2])
    result = extract("awa2", small, out=tmp_path / "a.h5", on_error="skip", **encoder)
    assert result["images"] == 37
    assert [row["path"] for row in result["failed"]] == ["ox/ox_3.jpg", "mole/mole_4.jpg"]
    cache = load_cache(tmp_path / "a.h5")
    assert [int((cache.splits == s).sum()) for s in ("trainval", "test_seen", "test_unseen")] == [
        23,
        5,
        9,
    ]
    assert cache.attributes.shape == (4, 2) and cache.seen.tolist() == [True, True, True, False]
    assert cache.provenance["origin"]["missing"] == "1"
    assert "split_file_sha256" in cache.provenance["origin"]


@pytest.mark.slow
def test_all_of_sun_goes_through_stage_one(trees, real_data, tmp_path, encoder):
    from pzsl.extraction import extract
    from pzsl.store import load_cache

    out = tmp_path / "sun.h5"
    result = extract("sun", trees("sun"), out=out, splits=real_data / "xlsa17", **encoder)
    assert (result["images"], result["classes"], result["failed"]) == (14340, 717, [])
    cache = load_cache(out)
    assert cache.images.shape[0] == 14340 and cache.text.shape[:2] == (717, 2)
    assert cache.attributes.shape == (717, 102)
