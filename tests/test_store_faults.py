"""Everything that can be wrong with a cache, a header or a disk: one line, and nothing lost."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import caches
import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quick_processes import run_python

from pzsl.errors import UserError
from pzsl.store import CacheWriter, inspect_cache, load_cache
from pzsl.store.hdf5 import disk


@pytest.fixture
def path(tmp_path):
    return caches.make(tmp_path / "pets.h5", caches.candidates(caches.header()), views=2)


def complaint(path, **options) -> str:
    """The one line that loading a cache ends in; `pzsl inspect` has to say the same."""
    with pytest.raises(UserError) as error:
        load_cache(path, **options)
    line = str(error.value)
    assert "\n" not in line and line.startswith(str(path))
    if path.is_file():
        problems = inspect_cache(path)["problems"]
        assert problems and problems[0] in line
    return line


# --- files that are no caches --------------------------------------------------------------------


def test_a_missing_file_says_how_to_make_one(tmp_path):
    assert "no such file: make it with 'pzsl extract" in complaint(tmp_path / "no.h5")
    with pytest.raises(UserError, match="no such file"):
        inspect_cache(tmp_path / "no.h5")


def test_a_folder_is_no_cache(tmp_path):
    assert "this is a folder" in complaint(tmp_path)


@pytest.mark.parametrize("left", [100, 3000, -1])
def test_a_truncated_file_is_named_with_its_bytes(path, left):
    content = path.read_bytes()
    path.write_bytes(content[:left])
    size = len(content[:left])
    assert f"cut off: {size:,} of {len(content):,} bytes are there" in complaint(path)
    assert "extract it again with --overwrite" in complaint(path)


def test_empty_files_text_files_and_other_hdf5_files_are_told_apart(tmp_path):
    file = tmp_path / "x.h5"
    file.touch()
    assert "the file is empty" in complaint(file)
    file.write_text("path,label\n" * 50)
    assert "not an HDF5 file" in complaint(file)
    with h5py.File(file, "w") as other:
        other["a"] = 1
    assert "not a feature cache (it has no attribute 'schema')" in complaint(file)


def test_another_schema_version_is_named_with_the_remedy(path):
    for version, remedy in ((2, "update pzsl, or extract"), (0, ": extract or import it again")):
        with h5py.File(path, "r+") as file:
            file.attrs["schema"] = version
        line = complaint(path)
        assert f"schema version {version}, but this pzsl reads version 1" in line and remedy in line


REQUIRED = ["/image/features", "/image/label", "/image/path", "/image/split", "/class/name"]
REQUIRED += ["/class/seen", "/text/features", "/text/template"]


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_data_set_is_named(path, name):
    with h5py.File(path, "r+") as file:
        del file[name]
    assert f"the data set {name} is missing" in complaint(path, check=False)


def test_half_of_the_candidates_is_named(path):
    with h5py.File(path, "r+") as file:
        del file["/image/candidates/offsets"]
    assert "/image/candidates/labels is missing its other half" in complaint(path)


@pytest.mark.parametrize("name", ["model", "origin", "created"])
def test_a_missing_attribute_is_named(path, name):
    with h5py.File(path, "r+") as file:
        del file.attrs[name]
    assert f"the attribute '{name}' is missing" in complaint(path)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("/image/label", np.zeros(6, int), "should have shape (7,), but has (6,)"),
        ("/image/features", np.zeros(7), "should have shape (N, D), but has (7,)"),
        ("/image/views", np.zeros((7, 2, 4)), "should have shape (7, 2, 5), but has (7, 2, 4)"),
        ("/text/features", np.zeros((4, 2, 6)), "should have shape (4, 2, 5), but has (4, 2, 6)"),
        ("/text/template", np.array([b"a"] * 3), "should have shape (2,), but has (3,)"),
        ("/class/seen", np.ones(5, bool), "should have shape (4,), but has (5,)"),
        ("/image/candidates/offsets", np.zeros(7, int), "should have shape (8,), but has (7,)"),
        ("/image/label", np.zeros(7), "has the wrong type float64"),
        ("/image/path", np.zeros(7), "has the wrong type float64"),
        ("/class/seen", np.ones(4, int), "has the wrong type int64"),
    ],
)
def test_a_wrong_shape_or_type_is_named_with_what_was_expected(path, name, value, words):
    with h5py.File(path, "r+") as file:
        del file[name]
        file[name] = value
    line = complaint(path, check=False)
    assert name in line and words in line


def test_data_in_other_files_are_not_read(path, tmp_path):
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["labels"] = np.zeros(7, int)
    with h5py.File(path, "r+") as file:
        del file["/image/label"]
        file["/image/label"] = h5py.ExternalLink(str(other), "/labels")
    assert "/image/label lies in another file" in complaint(path)
    (tmp_path / "raw").write_bytes(bytes(56))
    with h5py.File(path, "r+") as file:
        del file["/image/label"]
        external = [(str(tmp_path / "raw"), 0, 56)]
        file["/image"].create_dataset("label", (7,), "<i8", external=external)
    assert "/image/label lies in another file" in complaint(path)


# --- contents ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["/image/features", "/image/views", "/text/features"])
@pytest.mark.parametrize(
    ("value", "words"),
    [(np.nan, "NaN"), (np.inf, "NaN or an infinite"), (3.0, "instead of 1"), (0.0, "is all zero")],
)
def test_embeddings_that_are_not_unit_vectors_are_named_with_file_and_row(path, name, value, words):
    with h5py.File(path, "r+") as file:
        file[name][2] = value
    line = complaint(path)
    row = "row 2 ('鳥')" if "text" in name else "row 2 ('鳥/2.jpg')"
    assert f"{name}, {row}" in line and words in line and "--overwrite" in line
    load_cache(path, check=False)


def test_half_floats_are_checked_as_well(tmp_path):
    path = caches.make(tmp_path / "pets.h5", dtype="float16")
    with h5py.File(path, "r+") as file:
        file["/image/features"][6, 0] = np.nan
    assert "row 6" in complaint(path)


def test_unfilled_rows_are_an_error_even_unchecked(path):
    with h5py.File(path, "r+") as file:
        file["/image/done"][[3, 5]] = 0
    assert "2 of 7 rows are not filled, the first is 3 ('fish/3.jpg')" in complaint(
        path, check=False
    )


def test_a_cache_in_the_making_says_so(tmp_path):
    path = tmp_path / "pets.h5"
    with CacheWriter(path, caches.header()) as writer:
        writer.write(np.array([0, 4]), caches.images(7)[[0, 4]])
    assert "not finished yet" in complaint(path)
    found = inspect_cache(path)
    assert found["cache"].endswith(".partial") and found["counts"]["done"] == 2
    assert found["problems"][0].startswith("5 of 7 rows are not filled")
    assert "resumes where it stopped" in found["problems"][-1]


BAD_HEADERS = {
    "class name 'black cat' occurs more than once (classes 0 and 2)": {
        "classes": ("black cat", "b", "black cat", "d")
    },
    "no class is seen": {"seen": np.zeros(4, bool), "splits": np.full(7, "test_unseen")},
    "'seen' should be (4,) for 4 classes, but is (3,)": {"seen": np.ones(3, bool)},
    "image 'a' occurs more than once (rows 0 and 4)": {"paths": tuple("abcdaef")},
    "row 1 ('weißer Hund/1.jpg') has label 4, outside 0..3": {
        "labels": np.array([0, 4, 2, 3, 0, 1, 2])
    },
    "row 6 ('鳥/6.jpg') has label -2": {"labels": np.array([0, 1, 2, 3, 0, 1, -2])},
    "row 2 ('鳥/2.jpg') is in split 'train'; known: trainval, test_seen, test_unseen": {
        "splits": np.array(["trainval", "test_seen", "train", "test_unseen", *["trainval"] * 3])
    },
    "row 3 ('fish/3.jpg') of the unseen class 'fish' is in split 'trainval'": {
        "splits": np.full(7, "trainval")
    },
    "'labels' should be (7,) for 7 images, but is (6,)": {"labels": np.zeros(6, np.int64)},
    "logit_scale is nan": {"logit_scale": float("nan")},
    "no prompt template": {"templates": ()},
    "attributes, row 1 ('weißer Hund') hold NaN": {
        "attributes": np.array([[1], [np.nan], [1], [1]], np.float32)
    },
    "have to be given together": {"candidate_labels": np.zeros(7, np.int32)},
}


@pytest.mark.parametrize("words", BAD_HEADERS)
def test_a_header_that_makes_no_sense_is_refused_before_anything_is_written(tmp_path, words):
    with pytest.raises(UserError) as error:
        CacheWriter(tmp_path / "pets.h5", caches.header(**BAD_HEADERS[words]))
    assert words in str(error.value) and "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "row", "value", "words"),
    [
        ("/class/name", 2, b"black cat", "class name 'black cat' occurs more than once"),
        ("/image/path", 2, b"black cat/0.jpg", "image 'black cat/0.jpg' occurs more than once"),
        ("/image/label", 2, 9, "row 2 ('鳥/2.jpg') has label 9, outside 0..3"),
        ("/image/split", 2, b"test_unseen", "of the seen class '鳥' is in split 'test_unseen'"),
        ("/image/candidates/labels", 0, 4, "row 0 ('black cat/0.jpg') has candidate 4"),
        ("/image/candidates/labels", 0, 3, "row 0 ('black cat/0.jpg') has no seen class among"),
        ("/image/candidates/offsets", 7, 8, "candidate offsets should be 8 ascending numbers"),
        ("/image/path", 2, b"\xff\xfe", "not valid UTF-8"),
        ("/class/name", 2, b"\xff\xfe", "not valid UTF-8"),
    ],
)
def test_contents_that_make_no_sense_are_named(path, name, row, value, words):
    with h5py.File(path, "r+") as file:
        file[name][row] = value
    assert words in complaint(path)


def test_test_images_need_no_candidates_and_training_images_do(tmp_path):
    head = caches.candidates(caches.header())
    sizes = np.diff(head.candidate_offsets)
    for row, fine in ((3, True), (4, False)):
        keep = np.repeat(np.arange(7), sizes) != row
        offsets = np.cumsum([0, *np.where(np.arange(7) == row, 0, sizes)])
        less = replace(
            head, candidate_offsets=offsets, candidate_labels=head.candidate_labels[keep]
        )
        if fine:
            assert len(load_cache(caches.make(tmp_path / "x.h5", less)).candidate_labels) == 10
        else:
            with pytest.raises(UserError, match=r"row 4 .* no seen class among its 0 candidates"):
                CacheWriter(tmp_path / "pets.h5", less)


@given(st.data())
@settings(max_examples=100)
def test_damaged_bytes_end_in_one_line_or_in_a_cache_that_is_valid(tmp_path_factory, data):
    whole = tmp_path_factory.getbasetemp() / "whole.h5"
    if not whole.exists():
        caches.make(whole, caches.candidates(caches.header()))
    content = bytearray(whole.read_bytes())
    first = 8
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(first, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = whole.with_name("damaged.h5")
    path.write_bytes(content)
    try:
        cache = load_cache(path)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        np.testing.assert_allclose(np.linalg.norm(cache.images, axis=1), 1, atol=1.1e-2)
        assert cache.labels.max() < len(cache.classes) and len(set(cache.paths)) == len(cache.paths)
    json.dumps(inspect_cache(path))


# --- what encoders hand over ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "features", "words"),
    [
        ([0, 1], np.zeros((3, 5)), r"/image/features should be \(2, 5\), but are \(3, 5\)"),
        ([0], np.zeros((1, 4)), r"/image/features should be \(1, 5\), but are \(1, 4\)"),
        ([7], np.ones((1, 5)), r"row 7 is outside 0..6"),
        ([-1], np.ones((1, 5)), r"row -1 is outside 0..6"),
        ([1], np.full((1, 5), np.nan), r"image 'weißer Hund/1.jpg' \(row 1\) holds NaN"),
        (
            [1],
            np.ones((1, 5)),
            r"image 'weißer Hund/1.jpg' \(row 1\) has length 2.236 instead of 1",
        ),
    ],
)
def test_bad_embeddings_are_refused_with_the_image_and_not_written(tmp_path, rows, features, words):
    with CacheWriter(tmp_path / "pets.h5", caches.header()) as writer:
        with pytest.raises(UserError, match=words):
            writer.write(np.array(rows), features)
        assert len(writer.pending) == 7
        with pytest.raises(UserError, match="0 views per image"):
            writer.write(np.array([0]), caches.images(1), caches.views(1, 1))
        with pytest.raises(UserError, match=r"text features should be \(4, 2, 5\)"):
            writer.write_text(caches.text()[:3])
        spoilt = caches.text()
        spoilt[2, 1, 0] = np.inf
        with pytest.raises(UserError, match=r"text features, row 2 .*NaN or an infinite"):
            writer.write_text(spoilt)
        assert writer.text_pending


def test_an_unknown_type_is_refused(tmp_path):
    with pytest.raises(UserError, match="can't store float64: use float32 or float16"):
        CacheWriter(tmp_path / "pets.h5", caches.header(), dtype="float64")


# --- disks ---------------------------------------------------------------------------------------


def mounted(folder, options: str):
    """Mount a small file system in memory for the time of a test."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    try:
        made = subprocess.run(command, check=False, capture_output=True).returncode == 0
    except OSError:
        made = False
    if not made:
        pytest.skip("no small file system can be mounted here (needs Linux and root)")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def small_disk(tmp_path):
    yield from mounted(tmp_path / "small", "size=1m")


@pytest.fixture
def read_only_disk(tmp_path):
    yield from mounted(tmp_path / "fixed", "size=1m,ro")


BIG = 20_000
"""Images that a 1 MB disk doesn't hold: 400 kB of features, and as much again of names."""


def test_a_disk_that_is_too_small_is_found_out_at_once(small_disk):
    head = caches.header(BIG)
    with pytest.raises(UserError, match=r"needs \d.* MB, but .* \d.* MB free") as error:
        CacheWriter(small_disk / "pets.h5", head, views=2)
    assert "--out" in str(error.value)
    assert not list(small_disk.iterdir())


def test_a_disk_too_small_for_the_names_alone_is_found_out_too(small_disk):
    head = caches.header(50_000)
    with pytest.raises(UserError, match=r"the disk is full|MB free"):
        CacheWriter(small_disk / "pets.h5", head)
    assert not list(small_disk.iterdir())


def test_a_disk_that_fills_up_ends_in_one_line_and_keeps_what_was_written(small_disk, tmp_path):
    count = 5000
    head, path = caches.header(count), small_disk / "pets.h5"
    with CacheWriter(path, head) as writer:
        writer.write_text(caches.text())
        writer.write(np.arange(1000), caches.images(count)[:1000])
        filler = small_disk / "filler"
        with pytest.raises(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        with pytest.raises(UserError, match=r"disk is full. Rows already written are kept"):
            for start in range(1000, count, 500):
                rows = np.arange(start, start + 500)
                writer.write(rows, caches.images(count)[rows])
        done = count - len(writer.pending)
        assert done >= 1000
    filler.unlink()
    with CacheWriter(path, head) as writer:
        assert writer.resumed == done
        caches.fill(writer, count, batch=1000)
        writer.finish()
    np.testing.assert_array_equal(load_cache(path).images, caches.images(count))


def test_a_read_only_disk_ends_in_one_line(read_only_disk):
    with pytest.raises(UserError, match=r"can't be written .*: choose another place with --out"):
        CacheWriter(read_only_disk / "pets.h5", caches.header())
    with pytest.raises(UserError, match=r"can't be written"):
        CacheWriter(read_only_disk / "below" / "pets.h5", caches.header())


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() == 0, reason="root may write to any folder"
)
def test_a_folder_without_permission_ends_in_one_line(tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        with pytest.raises(UserError, match="can't be written"):
            CacheWriter(tmp_path / "pets.h5", caches.header())
    finally:
        tmp_path.chmod(stat.S_IRWXU)


def test_an_output_that_is_a_folder_or_lies_below_a_file_ends_in_one_line(tmp_path):
    (tmp_path / "file").touch()
    for wrong in (tmp_path, tmp_path / "file" / "pets.h5"):
        with pytest.raises(UserError, match="is a folder, or lies below a file"):
            CacheWriter(wrong, caches.header())


def test_the_room_is_checked_where_no_small_disk_can_be_mounted(tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(UserError, match=r"needs 0.3 MB, but the disk has only 0.0 MB free"):
        CacheWriter(tmp_path / "pets.h5", caches.header())


LIMITED = """
import resource, sys
sys.path[:0] = sys.argv[1:3]
import caches
from pzsl.errors import UserError

resource.setrlimit(resource.RLIMIT_FSIZE, (2**11, 2**11))
try:
    caches.make(sys.argv[3])
except UserError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="this system has no limit for files")
def test_a_limit_for_files_is_found_out_before_hdf5_writes(tmp_path):
    root = Path(__file__).parents[1]
    done = run_python("-c", LIMITED, root / "tests", root, tmp_path / "pets.h5")
    assert done.returncode == 0, done.stderr
    assert "pets.h5.partial.new: the disk is full" in done.stdout
    assert not list(tmp_path.iterdir())


# --- checksums -----------------------------------------------------------------------------------

EVERYTHING = ["/image/features", "/image/views", "/image/label", "/image/split", "/class/seen"]
EVERYTHING += ["/text/features", "/class/attributes", "/class/name", "/image/candidates/labels"]


def rich(path, **options):
    head = caches.candidates(caches.header(attributes=caches.unit(4, 4, 6)))
    return caches.make(path, head, views=2, **options)


@pytest.mark.parametrize("name", EVERYTHING)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_one_flipped_bit_is_found_and_named(tmp_path, name, dtype):
    path = rich(tmp_path / "pets.h5", dtype=dtype)
    assert load_cache(path).fingerprint and inspect_cache(path)["checksums"]
    with h5py.File(path) as file:
        place = file[name].id.get_offset()
    content = bytearray(path.read_bytes())
    content[place] ^= 1  # the least bit of a number, which no other check can see
    path.write_bytes(content)
    line = complaint(path)
    if "features" in name or "views" in name or "attributes" in name:
        assert f"{name}, rows 0 to " in line and "checksum differs" in line


def test_a_changed_attribute_is_found(path):
    with h5py.File(path, "r+") as file:
        file.attrs["logit_scale"] = 50.5
    assert "its attributes, or the shapes of its data sets, are not what was written" in complaint(
        path
    )


def test_data_sets_that_came_or_went_are_found(path):
    with h5py.File(path, "r+") as file:
        del file["/image/views"]
    assert "its checksums do not belong to its data sets" in complaint(path)


def test_the_rows_of_the_damaged_megabyte_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr("pzsl.store.hdf5.checksums.BLOCK", 32)
    monkeypatch.setattr("pzsl.store.hdf5.layout.BLOCK", 32)
    path = caches.make(tmp_path / "pets.h5")
    load_cache(path)
    with h5py.File(path) as file:
        place = file["/image/features"].id.get_offset()
    content = bytearray(path.read_bytes())
    content[place + 5 * 5 * 4] ^= 1  # row 5 of 20 bytes a row: the fourth block, bytes 96 to 127
    path.write_bytes(content)
    assert "/image/features, rows 4 to 6, are not what was written" in complaint(path)


def test_caches_of_older_versions_without_checksums_are_read_and_say_so(path):
    fingerprint = load_cache(path).fingerprint
    with h5py.File(path, "r+") as file:
        del file["/checksum"]
    assert "the data set /checksum is missing" in complaint(path)
    with h5py.File(path, "r+") as file:
        del file.attrs["checksums"]
        for name, value in file.attrs.items():
            if isinstance(value, bytes):
                file.attrs[name] = value.decode()  # of any length, as they were written
    assert load_cache(path).fingerprint == fingerprint
    found = inspect_cache(path)
    assert (found["problems"], found["checksums"]) == ([], False)
    with CacheWriter(path, caches.candidates(caches.header()), views=2) as writer:
        assert writer.whole


# --- files that would hang, crash or fill the memory ----------------------------------------------


@pytest.mark.parametrize("free", [0, 4096, 8192, 12288, 16384, 20480, 65536])
def test_a_nearly_full_disk_ends_in_one_line_and_leaves_nothing(small_disk, free):
    filler = small_disk / "filler"
    with pytest.raises(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    os.truncate(filler, filler.stat().st_size - free)
    with pytest.raises(UserError, match="the disk is full"):
        caches.make(small_disk / "pets.h5", caches.header(300))
    assert [file.name for file in small_disk.iterdir()] == ["filler"]


LOADS = r"""
import sys
from pathlib import Path
from pzsl.errors import UserError
from pzsl.store import load_cache

path = Path(sys.argv[1])
content, first = path.read_bytes(), path.read_bytes().index(b"GCOL")
lines = 0
for place in range(first, first + 4096, 40):
    for damage in (bytes(64), b"\xff" * 8, b"\x01"):
        damaged = bytearray(content)
        damaged[place : place + len(damage)] = damage
        path.write_bytes(damaged)
        try:
            load_cache(path)
        except UserError as error:
            lines += 1
print(lines)
"""


def test_a_damaged_heap_of_an_older_cache_never_hangs(path):
    with h5py.File(path, "r+") as file:
        for name, value in file.attrs.items():
            if isinstance(value, bytes):
                file.attrs[name] = value.decode()
    load_cache(path, check=False)
    done = run_python("-c", LOADS, path, timeout=240)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 25  # the heap holds some 400 bytes: most places are unused


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_named_pipes_are_not_opened(path, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert "not a regular file, but a pipe or a device" in complaint(pipe)
    with h5py.File(path, "r+") as file:
        del file["/image"]
        file["/image"] = h5py.ExternalLink(str(pipe), "/image")
    assert "/image/features lies in another file, which isn't read" in complaint(path)


def test_soft_links_are_not_followed(path):
    with h5py.File(path, "r+") as file:
        file.move("/image/label", "/other")
        file["/image/label"] = h5py.SoftLink("/other")
    assert "/image/label lies in another file" in complaint(path)


@pytest.mark.parametrize("chunks", [None, (4, 1000)])
def test_declared_sizes_that_the_file_cannot_hold_take_no_memory(path, chunks):
    with h5py.File(path, "r+") as file:
        file.create_dataset("class/attributes", (4, 10**12), "<f4", chunks=chunks)
    told = "unpack to 16,000,000 MB" if chunks else "/class/attributes should have 16,000,000.0 MB"
    assert told in complaint(path)


@pytest.mark.parametrize("value", [b"abc", np.array([1, 2]), 7, h5py.Empty("f"), np.void(b"x")])
@pytest.mark.parametrize("name", ["model", "precision", "origin", "annotation", "logit_scale"])
def test_attributes_of_other_types_end_in_one_line(path, name, value):
    with h5py.File(path, "r+") as file:
        file.attrs[name] = value
    complaint(path)
    json.dumps(inspect_cache(path))


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", '"x"', "nan", '{"kinds": 5}', '{"a": {}}'])
@pytest.mark.parametrize("name", ["augmentation", "origin", "sources"])
def test_json_of_other_kinds_ends_in_one_line(path, name, text):
    with h5py.File(path, "r+") as file:
        file.attrs[name] = text[:60_000]
    complaint(path)
    json.dumps(inspect_cache(path))
