"""The cache: what goes in comes out, in any order, after any interruption, byte for byte."""

from __future__ import annotations

import pickle
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import caches
import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quick_processes import PythonProcess, run_python

from pzsl.errors import UserError
from pzsl.store import CacheWriter, inspect_cache, load_cache
from pzsl.store.hdf5 import write_checksums


@pytest.fixture(autouse=True)
def fixed_time(monkeypatch):
    """Files are compared byte for byte, so all are made at one time."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")


# --- round trip ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("each", [0, 2])
def test_what_was_written_is_read_back(tmp_path, dtype, each):
    head = caches.candidates(caches.header(attributes=caches.unit(4, 4, 6)))
    cache = load_cache(caches.make(tmp_path / "pets.h5", head, dtype=dtype, views=each))

    for name in ("dataset", "split_hash", "classes", "templates", "paths", "logit_scale"):
        assert getattr(cache, name) == getattr(head, name)
    for name in ("seen", "labels", "splits", "attributes", "candidate_offsets", "candidate_labels"):
        np.testing.assert_array_equal(getattr(cache, name), getattr(head, name))
    assert (cache.labels.dtype, cache.seen.dtype, cache.splits.dtype.kind) == ("i8", "?", "U")
    np.testing.assert_array_equal(cache.images, caches.images(7).astype(dtype))
    np.testing.assert_array_equal(cache.text, caches.text())
    assert cache.images.dtype == cache.text.dtype == np.float32
    if each:
        np.testing.assert_array_equal(cache.views, caches.views(7, each).astype(dtype))
    else:
        assert cache.views is None
    provenance = cache.provenance
    assert provenance["preprocessing"] == {"size": 64, "mean": [0.5, 0.5, 0.5]}
    assert provenance["created"] == "2023-11-14T22:13:20+00:00"
    assert {"pzsl", "python", "numpy", "h5py"} <= set(provenance["versions"])
    for name in ("model", "pretrained", "weights_hash", "precision", "origin"):
        assert provenance[name] == getattr(head, name)


def test_the_file_is_what_the_schema_says(tmp_path):
    with h5py.File(caches.make(tmp_path / "pets.h5", views=2)) as file:
        shapes = {}
        file.visititems(
            lambda name, item: shapes.update({name: item.shape}) if hasattr(item, "shape") else None
        )
        assert shapes == {
            "checksum": (1 + 11,),
            "image/features": (7, 5),
            "image/views": (7, 2, 5),
            "image/label": (7,),
            "image/path": (7,),
            "image/split": (7,),
            "image/done": (7,),
            "class/id": (4,),
            "class/name": (4,),
            "class/seen": (4,),
            "text/done": (4,),
            "text/features": (4, 2, 5),
            "text/template": (2,),
        }
        assert file["class/name"].asstr()[1] == "weißer Hund"
        assert file["image/features"].compression is None and file["image/features"].chunks is None
        assert file.attrs["schema"] == 1 and file.attrs["normalised"]


def test_a_finished_cache_takes_no_more_rows_and_says_so(tmp_path):
    path = caches.make(tmp_path / "pets.h5")
    before = path.read_bytes()
    with CacheWriter(path, caches.header()) as writer:
        assert writer.whole
        with pytest.raises(UserError, match="it is finished: overwrite=True"):
            writer.write_text(caches.text())
        with pytest.raises(UserError, match="finished"):
            writer.write(np.arange(7), caches.images(7))
    with CacheWriter(path, caches.header(), overwrite=True) as writer:
        writer.write_text(caches.text())
        writer.write(np.arange(7), caches.images(7))
        writer.finish()
        with pytest.raises(UserError, match="finished"):
            writer.write(np.arange(7), caches.images(7))
    assert path.read_bytes() == before


def test_float32_features_are_mapped_and_nobody_can_change_the_file_through_them(tmp_path):
    cache = load_cache(caches.make(tmp_path / "pets.h5"))
    assert isinstance(cache.images, np.memmap)
    assert cache.images.flags.aligned and not cache.images.flags.writeable
    assert not isinstance(cache.labels, np.memmap) and not isinstance(cache.text, np.memmap)


def test_compressed_files_of_other_tools_are_read_too(tmp_path):
    path = caches.make(tmp_path / "pets.h5")
    with h5py.File(path, "r+") as file:
        names = file["image/path"].asstr()[()]
        del file["image/features"], file["image/path"], file["image/done"], file["checksum"]
        del file.attrs["checksums"]
        file.create_dataset("image/features", data=caches.images(7), chunks=(2, 5), shuffle=True)
        file.create_dataset("image/path", data=names, dtype=h5py.string_dtype())
    cache = load_cache(path)
    np.testing.assert_array_equal(cache.images, caches.images(7))
    assert cache.paths == caches.header().paths


def test_label_embeddings_are_the_renormalised_mean_over_templates(tmp_path):
    cache = load_cache(caches.make(tmp_path / "pets.h5"))
    for label, vectors in zip(cache.label_embeddings(), caches.text(), strict=True):
        mean = sum(vectors) / len(vectors)
        np.testing.assert_allclose(label, mean / np.sqrt((mean**2).sum()), rtol=1e-6)
    assert cache.label_embeddings().dtype == np.float32


def test_an_unchecked_cache_reads_names_on_first_use_and_behaves_as_any_other(tmp_path):
    path = caches.make(tmp_path / "pets.h5")
    cache = load_cache(path, check=False)
    assert "paths" not in vars(cache)
    assert cache.paths == caches.header().paths
    assert cache.splits.tolist() == caches.header().splits.tolist()
    assert replace(cache, dataset="x").paths == cache.paths
    assert pickle.loads(pickle.dumps(load_cache(path, check=False))).labels.shape == (7,)
    with pytest.raises(AttributeError, match="no attribute 'speed'"):
        _ = cache.speed


def test_names_stay_those_of_the_opened_cache_when_the_file_is_replaced(tmp_path):
    path = caches.make(tmp_path / "pets.h5")
    cache = load_cache(path, check=False)
    other = caches.header(paths=tuple("abcdefg"))
    caches.make(path, other, overwrite=True)
    assert cache.paths == caches.header().paths
    assert load_cache(path).paths == tuple("abcdefg")


def test_the_fingerprint_follows_the_contents_and_nothing_else(tmp_path, monkeypatch):
    base = load_cache(caches.make(tmp_path / "a.h5")).fingerprint
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1800000000")
    assert load_cache(caches.make(tmp_path / "b.h5")).fingerprint == base
    assert inspect_cache(tmp_path / "b.h5")["fingerprint"] == base
    head = caches.header()
    others = [
        replace(head, logit_scale=51.0),
        replace(head, classes=("a", *head.classes[1:])),
        replace(head, paths=("a", *head.paths[1:])),
        replace(head, templates=("x {}", "{}")),
        replace(head, labels=np.where(head.labels == 2, 0, head.labels)),
        replace(head, splits=np.where(head.splits == "trainval", "test_seen", head.splits)),
        replace(head, attributes=caches.unit(4, 4, 6)),
        caches.candidates(head),
    ]
    marks = {
        load_cache(caches.make(tmp_path / f"{i}.h5", o)).fingerprint: i
        for i, o in enumerate(others)
    }
    assert len(marks) == len(others) and base not in marks
    path = tmp_path / "a.h5"
    with h5py.File(path, "r+") as file:
        file["image/features"][6] = -file["image/features"][6]
    write_checksums(path)
    assert load_cache(path).fingerprint != base


# --- any order, any interruption -----------------------------------------------------------------


class InterruptedWriteError(Exception):
    """Stands for a crash in the middle of a write."""


class Breaking:
    """A file that dies in its n-th write, part of which still reaches the disk."""

    def __init__(self, file, writes: int, share: float):
        self._file, self._writes, self._share = file, writes, share

    def __getattr__(self, name):
        return getattr(self._file, name)

    def write(self, data) -> int:
        if self._writes == 0:
            self._file.write(data[: int(len(data) * self._share)])
            raise InterruptedWriteError
        self._writes -= 1
        return self._file.write(data[:11])  # a short write, as the system may do at any time


@st.composite
def histories(draw):
    """A number of images, the order and batches they come in, and where the writer dies."""
    count = draw(st.integers(1, 12))
    order = draw(st.permutations(range(count)))
    cuts = draw(st.lists(st.integers(0, count), max_size=4).map(sorted))
    batches = [order[a:b] for a, b in zip([0, *cuts], [*cuts, count], strict=True)]
    crashes = draw(st.lists(st.tuples(st.integers(0, 40), st.floats(0, 1)), max_size=4))
    return count, batches, crashes


@given(histories(), st.sampled_from(["float32", "float16"]), st.sampled_from([0, 2]))
@settings(max_examples=30)
def test_any_order_and_any_interruption_give_the_same_bytes(history, dtype, each):
    count, batches, crashes = history
    head = caches.candidates(caches.header(count))
    options = {"dtype": dtype, "views": each}
    with TemporaryDirectory() as folder:
        expected = caches.make(Path(folder) / "plain.h5", head, **options).read_bytes()
        path = Path(folder) / "pets.h5"
        for writes, share in [*crashes, (10**9, 1.0)]:
            try:
                with CacheWriter(path, head, **options) as writer:
                    finished = set(range(count)) - set(writer.pending.tolist())
                    assert writer.resumed == len(finished)
                    writer._file = Breaking(writer._file, writes, share)
                    if writer.text_pending:
                        writer.write_text(caches.text())
                    for batch in batches:
                        rows = np.array([row for row in batch if row not in finished], np.int64)
                        extra = caches.views(count, each)[rows] if each else None
                        writer.write(rows, caches.images(count)[rows], extra)
                    writer.finish()
                    break
            except InterruptedWriteError:
                assert not path.exists()
        assert path.read_bytes() == expected
        assert sorted(file.name for file in Path(folder).iterdir()) == ["pets.h5", "plain.h5"]


def test_rows_whose_write_returned_are_never_pending_again(tmp_path):
    path = tmp_path / "pets.h5"
    with CacheWriter(path, caches.header()) as writer:
        writer.write(np.array([5, 2]), caches.images(7)[[5, 2]])
    with CacheWriter(path, caches.header()) as writer:
        assert writer.resumed == 2 and writer.text_pending
        assert writer.pending.tolist() == [0, 1, 3, 4, 6]
        writer.write_text(caches.text())
        assert not writer.text_pending


def test_text_marked_done_that_lost_its_data_is_encoded_again(tmp_path):
    path = tmp_path / "pets.h5"
    with CacheWriter(path, caches.header()) as writer:
        caches.fill(writer, 7)
    with h5py.File(path.with_name("pets.h5.partial"), "r+") as file:
        file["text/features"][3, 1] = 0
    with CacheWriter(path, caches.header()) as writer:
        assert writer.text_pending and writer.resumed == 7
        caches.fill(writer, 7)
        writer.finish()
    assert path.read_bytes() == caches.make(tmp_path / "x.h5").read_bytes()


@pytest.mark.parametrize("name", ["image/features", "image/views"])
def test_a_row_marked_done_that_lost_its_data_is_encoded_again(tmp_path, name):
    path = tmp_path / "pets.h5"
    with CacheWriter(path, caches.header(), views=2) as writer:
        caches.fill(writer, 7, 2)
    with h5py.File(path.with_name("pets.h5.partial"), "r+") as file:
        file[name][4] = 0
    with CacheWriter(path, caches.header(), views=2) as writer:
        assert writer.pending.tolist() == [4] and writer.resumed == 6
        caches.fill(writer, 7, 2)
        writer.finish()
    assert path.read_bytes() == caches.make(tmp_path / "x.h5", views=2).read_bytes()


SLOW_WRITER = """
import os, signal, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import caches
from pzsl.store import CacheWriter

moment, left = sys.argv[3], int(sys.argv[4])

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

class Dying:
    def __init__(self, file):
        self.file = file
    def __getattr__(self, name):
        return getattr(self.file, name)
    def write(self, data):
        global left
        if moment == "write" and left == 0:
            self.file.write(data[: len(data) // 2])
            die()
        left -= 1
        return self.file.write(data)

if moment == "layout":
    Path.replace = die
writer = CacheWriter(Path(sys.argv[2]), caches.header(40), views=2)
writer._file = Dying(writer._file)
if moment == "wait":
    writer.write_text(caches.text())
    for row in writer.pending:
        writer.write([row], caches.images(40)[[row]], caches.views(40, 2)[[row]])
        print(row, flush=True)
        time.sleep(0.02)
caches.fill(writer, 40, 2)
if moment == "rename":
    Path.replace = die
if moment == "sync":
    os.fsync = die
writer.finish()
"""
MOMENTS = [
    ("layout", 0),
    ("write", 1),  # text
    ("write", 9),  # image embeddings of the third batch
    ("write", 10),  # its views
    ("write", 11),  # its marks
    ("wait", 11),
    ("sync", 0),
    ("rename", 0),
]


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is not known on Windows")
@pytest.mark.parametrize(("moment", "number"), MOMENTS)
def test_a_killed_writer_is_gone_on_with_and_ends_bit_for_bit_alike(tmp_path, moment, number):
    path = tmp_path / "pets.h5"
    tests = Path(__file__).parent
    child = PythonProcess("-c", SLOW_WRITER, tests, path, moment, str(number))
    if moment == "wait":
        for _ in range(number):
            child.next_line()
        child.kill()
    assert child.wait().returncode == -9
    assert not path.exists()

    with CacheWriter(path, caches.header(40), views=2) as writer:
        least = {"layout": 0, "write": (number - 3) // 3 * 3, "wait": number}.get(moment, 40)
        assert writer.resumed >= least
        assert moment != "layout" or writer.resumed == 0
        caches.fill(writer, 40, 2)
        writer.finish()
    expected = caches.make(tmp_path / "plain.h5", caches.header(40), views=2)
    assert path.read_bytes() == expected.read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["pets.h5", "plain.h5"]


def test_files_made_at_another_time_differ_in_nothing_but_created(tmp_path, monkeypatch):
    one = caches.make(tmp_path / "one.h5")
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    two = caches.make(tmp_path / "two.h5")
    first, second = load_cache(one).provenance["created"], load_cache(two).provenance["created"]
    assert first != second
    assert one.read_bytes().replace(first.encode(), second.encode()) == two.read_bytes()


# --- going on, beginning anew --------------------------------------------------------------------

CHANGES = {
    "model 'tiny', now 'ViT-B-32'": {"model": "ViT-B-32"},
    "pretrained": {"pretrained": "openai"},
    "weights_hash": {"weights_hash": "v" * 64},
    "preprocessing": {"preprocessing": {"size": 32}},
    "precision": {"precision": "fp16"},
    "logit_scale": {"logit_scale": 99.0},
    "dataset 'pets', now 'cars'": {"dataset": "cars"},
    "split_hash": {"split_hash": "6" * 64},
    "origin": {"origin": {"root": "/elsewhere"}},
    "other /text/template": {"templates": ("{}", "a {}")},
    "other /class/name": {"classes": ("a", "b", "c", "d")},
    "other /class/seen": {"seen": np.ones(4, bool), "splits": np.full(7, "trainval")},
    "other /image/path": {"paths": tuple("abcdefg")},
    "other /image/label": {"labels": np.array([0, 1, 2, 3, 0, 1, -1])},
    "other /image/split": {"splits": np.where(np.arange(7) % 4 == 3, "test_unseen", "trainval")},
    "now (7, 6)": {"dim": 6},
    "/class/attributes then or now only": {"attributes": np.ones((4, 2), np.float32)},
}


@pytest.mark.parametrize("words", CHANGES)
def test_an_unfinished_cache_of_another_run_is_refused_and_kept(tmp_path, words):
    path = tmp_path / "pets.h5"
    with CacheWriter(path, caches.header()) as writer:
        caches.fill(writer, 7)
    with pytest.raises(UserError) as error:
        CacheWriter(path, caches.header(**CHANGES[words]))
    assert words in str(error.value) and "--overwrite" in str(error.value)
    with CacheWriter(path, caches.header()) as writer:
        assert writer.resumed == 7
    with CacheWriter(path, caches.header(**CHANGES[words]), overwrite=True) as writer:
        assert writer.resumed == 0


@pytest.mark.parametrize("options", [{"dtype": "float16"}, {"views": 2}])
def test_other_storage_is_refused_too(tmp_path, options):
    with CacheWriter(tmp_path / "pets.h5", caches.header()):
        pass
    with pytest.raises(UserError, match=r"was started with other settings .*--overwrite"):
        CacheWriter(tmp_path / "pets.h5", caches.header(), **options)


def test_a_finished_cache_is_not_overwritten_unasked(tmp_path):
    path = caches.make(tmp_path / "pets.h5")
    before = path.read_bytes()
    with pytest.raises(
        UserError, match=r"exists already, .*other /class/name.*'pzsl inspect .*--overwrite"
    ):
        CacheWriter(path, caches.header(classes=("a", "b", "c", "d")))
    with CacheWriter(path, caches.header(), overwrite=True) as writer:
        assert writer.resumed == 0
        assert path.read_bytes() == before  # the old one stays until the new one is whole
    with CacheWriter(path, caches.header()) as writer:  # ... and the new one can be gone on with
        caches.fill(writer, 7)
        writer.finish()
    assert path.read_bytes() == before


def test_a_finished_cache_of_the_same_header_is_whole_already(tmp_path):
    path = caches.make(tmp_path / "pets.h5", views=2)
    before = path.read_bytes()
    with CacheWriter(path, caches.header(), views=2) as writer:
        assert (writer.whole, writer.resumed, len(writer.pending)) == (True, 7, 0)
        assert not writer.text_pending and writer.finish() == path
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["pets.h5"]
    for options in ({"dtype": "float16", "views": 2}, {"views": 3}, {}):
        with pytest.raises(UserError, match=r"exists already, .*(float32|views).*--overwrite"):
            CacheWriter(path, caches.header(), **options)
    assert path.read_bytes() == before


def test_a_finished_cache_without_unreadable_images_is_whole_already(tmp_path):
    path, head = tmp_path / "pets.h5", caches.candidates(caches.header())
    with CacheWriter(path, head) as writer:
        writer.write_text(caches.text())
        writer.write(np.arange(1, 7), caches.images(7)[1:])
        writer.finish(skip=[0])
    with CacheWriter(path, head) as writer:
        assert (writer.whole, writer.resumed) == (True, 6)
    with pytest.raises(UserError, match="exists already"):
        CacheWriter(path, caches.header())


def test_a_finished_cache_that_is_damaged_is_not_taken_for_whole(tmp_path):
    path = caches.make(tmp_path / "pets.h5")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UserError, match=r"cut off.*--overwrite"):
        CacheWriter(path, caches.header())
    with CacheWriter(tmp_path / "half.h5", caches.header()) as writer:
        writer.write(np.arange(3), caches.images(7)[:3])
    (tmp_path / "half.h5.partial").rename(tmp_path / "half.h5")
    with pytest.raises(UserError, match=r"exists already, .*4 of 7 rows are not filled"):
        CacheWriter(tmp_path / "half.h5", caches.header())


def test_a_cache_may_do_without_text_where_it_has_attributes(tmp_path):
    head = caches.header(templates=(), attributes=np.eye(4, 6, dtype=np.float32))
    path = tmp_path / "pets.h5"
    with CacheWriter(path, head) as writer:
        assert writer.text_pending
        writer.write_text(np.empty((4, 0, caches.DIM), np.float32))
        writer.write(np.arange(1, 7), caches.images(7)[1:])
        writer.finish(skip=[0])
    cache = load_cache(path)
    assert cache.text.shape == (4, 0, caches.DIM) and cache.templates == ()
    assert np.array_equal(cache.attributes, head.attributes)
    assert inspect_cache(path)["problems"] == [] and len(cache.fingerprint) == 64
    with pytest.raises(UserError, match=r"pets.h5 holds no text embeddings: use --labels attrib"):
        cache.label_embeddings()


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n", b"no HDF5 at all" * 99])
def test_an_unfinished_cache_that_does_not_open_is_set_aside(tmp_path, capsys, content):
    partial = tmp_path / "pets.h5.partial"
    partial.write_bytes(content)
    with CacheWriter(tmp_path / "pets.h5", caches.header()) as writer:
        assert writer.resumed == 0
        caches.fill(writer, 7)
        writer.finish()
    assert (tmp_path / "pets.h5.partial.broken").read_bytes() == content
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and "set aside as pets.h5.partial.broken" in said[0]
    load_cache(tmp_path / "pets.h5")


def test_two_writers_of_one_cache_are_refused_at_once(tmp_path):
    path = tmp_path / "pets.h5"
    with CacheWriter(path, caches.header()):
        with pytest.raises(UserError, match="another process is writing it"):
            CacheWriter(path, caches.header())
        tests = Path(__file__).parent
        code = (
            f"import sys; sys.path[:0] = [{str(tests)!r}, {str(tests.parent)!r}]\n"
            "import caches\nfrom pzsl.store import CacheWriter\n"
            f"CacheWriter({str(path)!r}, caches.header())"
        )
        ended = run_python("-c", code)
        assert "another process is writing it" in ended.stderr.splitlines()[-1]
        assert inspect_cache(path)["counts"]["done"] == 0  # looking is allowed meanwhile
    CacheWriter(path, caches.header()).close()


# --- finishing -----------------------------------------------------------------------------------


def test_a_missing_row_or_missing_text_is_an_error_and_nothing_is_lost(tmp_path):
    path = tmp_path / "pets.h5"
    with CacheWriter(path, caches.header()) as writer:
        writer.write(np.array([0, 1, 2]), caches.images(7)[:3])
        with pytest.raises(UserError, match="text embeddings are not written yet"):
            writer.finish()
        writer.write_text(caches.text())
        with pytest.raises(UserError, match=r"4 of 7 rows are not filled, the first is 3 \('fish/"):
            writer.finish()
        with pytest.raises(UserError, match="3 of 7 rows are not filled, the first is 4"):
            writer.finish(skip=[3])
    with CacheWriter(path, caches.header()) as writer:
        assert writer.resumed == 3


def test_skipped_rows_are_left_out_of_everything_and_named_in_the_origin(tmp_path):
    head = caches.candidates(caches.header())
    with CacheWriter(tmp_path / "pets.h5", head, views=2) as writer:
        writer.write_text(caches.text())
        rows = np.array([6, 5, 3, 2, 0])
        writer.write(rows, caches.images(7)[rows], caches.views(7, 2)[rows])
        writer.finish(skip=[4, 1])
    cache = load_cache(tmp_path / "pets.h5")
    keep = np.array([0, 2, 3, 5, 6])
    assert cache.paths == tuple(head.paths[row] for row in keep)
    np.testing.assert_array_equal(cache.images, caches.images(7)[keep])
    np.testing.assert_array_equal(cache.views, caches.views(7, 2)[keep])
    np.testing.assert_array_equal(cache.text, caches.text())
    np.testing.assert_array_equal(cache.labels, head.labels[keep])
    np.testing.assert_array_equal(cache.splits, head.splits[keep])
    for new, old in enumerate(keep):
        of = [
            labels[offsets[row] : offsets[row + 1]].tolist()
            for labels, offsets, row in (
                (cache.candidate_labels, cache.candidate_offsets, new),
                (head.candidate_labels, head.candidate_offsets, old),
            )
        ]
        assert of[0] == of[1]
    assert cache.split_hash != head.split_hash
    assert cache.provenance["origin"]["skipped"] == '["wei\\u00dfer Hund/1.jpg", "black cat/4.jpg"]'
    assert [file.name for file in tmp_path.iterdir()] == ["pets.h5"]


def test_skipping_every_row_is_an_error(tmp_path):
    with CacheWriter(tmp_path / "pets.h5", caches.header()) as writer:
        writer.write_text(caches.text())
        with pytest.raises(UserError, match="no image could be read"):
            writer.finish(skip=range(7))


def test_data_spoilt_after_they_were_written_do_not_become_a_cache(tmp_path):
    path = tmp_path / "pets.h5"
    with CacheWriter(path, caches.header()) as writer:
        caches.fill(writer, 7)
        with h5py.File(writer.partial, "r+", locking=False) as file:
            file["image/features"][2, 1] = np.nan
        with pytest.raises(UserError, match="row 2 of /image/features holds NaN"):
            writer.finish()
    with CacheWriter(path, caches.header()) as writer:
        assert writer.pending.tolist() == [2]
