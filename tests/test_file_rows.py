"""Arrays that stay in several files act as arrays, and take no memory until rows are read."""

from __future__ import annotations

import json
import os
from itertools import pairwise
from pathlib import Path

import caches
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from problems import write_cache
from quick_processes import run_python

from pzsl.errors import UserError
from pzsl.files import state_of
from pzsl.store import CacheHeader, CacheWriter, Part, load_cache, merge_parts, part_path
from pzsl.store.hdf5 import FileRows, block_sums
from pzsl.store.hdf5 import checksums as sums_of_blocks
from pzsl.store.hdf5.file_rows import Section
from pzsl.training import train
from pzsl.training.features_in_blocks import StoredRows, load_rows

SIZES = (3, 1, 600, 40)
ARRAY = np.random.default_rng(0).standard_normal((sum(SIZES), 2, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> FileRows:
    """`ARRAY`, in four files with heads of different lengths."""
    return split(tmp_path_factory.mktemp("rows"), ARRAY)


def split(folder: Path, array: np.ndarray) -> FileRows:
    sections, start = [], 0
    for number, size in enumerate(SIZES):
        path, part = folder / f"{number}.bin", array[start : start + size]
        path.write_bytes(b"x" * number + part.tobytes())
        sections.append(Section(path, number, part.shape, part.dtype, state_of(path)))
        start += size
    return FileRows(sections)


@given(st.data())
def test_any_rows_are_those_of_the_whole_array(rows, data):
    places = st.integers(-len(ARRAY), len(ARRAY) - 1)
    ends = st.none() | st.integers(-700, 700)
    step = st.sampled_from([None, 1, 3, -2])
    kinds = [places, st.builds(slice, ends, ends, step), st.lists(places, max_size=20)]
    key = data.draw(st.one_of(kinds))
    key = np.array(key, np.int64) if isinstance(key, list) else key
    assert np.array_equal(rows[key], ARRAY[key])


def test_they_act_as_an_array_where_all_of_it_is_asked_for(rows):
    assert (rows.shape, rows.dtype, rows.nbytes) == (ARRAY.shape, ARRAY.dtype, ARRAY.nbytes)
    assert np.array_equal(rows[ARRAY[:, 0, 0] > 0], ARRAY[ARRAY[:, 0, 0] > 0])
    assert np.array_equal(rows[5:, 1], ARRAY[5:, 1])
    assert np.array_equal(rows, ARRAY) and np.array_equal(1 - rows, 1 - ARRAY)
    assert np.array_equal(rows @ ARRAY[0].T, ARRAY @ ARRAY[0].T)
    assert rows.mean() == ARRAY.mean() and rows.astype(np.float16).dtype == np.float16
    for key in (len(ARRAY), [0, -len(ARRAY) - 1], np.ones(3, bool)):
        with pytest.raises(IndexError):
            rows[key]


def test_their_checksums_are_those_of_the_array(rows, monkeypatch):
    monkeypatch.setattr(sums_of_blocks, "BLOCK", 1000)  # ends within rows, and within parts
    monkeypatch.setattr(sums_of_blocks, "PIECE", 2500)
    assert len(block_sums(ARRAY)) == -(-ARRAY.nbytes // 1000)
    assert np.array_equal(block_sums(rows), block_sums(ARRAY))


def test_rows_in_blocks_come_from_all_files(rows):
    stored = StoredRows(rows, np.arange(1, len(ARRAY), 2), torch.device("cpu"))
    assert np.array_equal(stored[torch.arange(len(stored))].numpy(), ARRAY[1::2])


@pytest.mark.parametrize(("what", "word"), [("write", "changed"), ("remove", "moved or deleted")])
def test_a_file_that_changes_later_is_named_by_every_way_of_reading(tmp_path, what, word):
    found = split(tmp_path, ARRAY)
    stored = StoredRows(found, np.arange(len(ARRAY)), torch.device("cpu"))
    path = tmp_path / "2.bin"
    if what == "write":
        os.utime(path, ns=(1, 1))
    else:
        path.unlink()
    assert np.array_equal(found[-40:], ARRAY[-40:])  # other files are read as before
    for read in (lambda: found[:9], lambda: found[[9]], lambda: stored[torch.tensor([9])]):
        with pytest.raises(UserError, match=rf"2\.bin was {word}.* while it was read"):
            read()


def test_a_cache_that_is_replaced_is_named_where_its_rows_are_read_in_blocks(tmp_path):
    path = write_cache(tmp_path / "toy.h5")
    images = load_cache(path).images
    stored = load_rows(images, np.arange(len(images)), torch.device("cpu"), 0.0)
    assert isinstance(stored, StoredRows)
    write_cache(tmp_path / "other.h5", seed=1).replace(path)
    with pytest.raises(UserError, match=r"toy\.h5 was changed or replaced while it was read"):
        stored[torch.arange(3)]


# --- virtual caches ------------------------------------------------------------------------------


def in_parts(path: Path, head: CacheHeader, images: np.ndarray, text: np.ndarray, of: int) -> Path:
    """A virtual cache of some rows in `of` parts."""
    bounds = np.linspace(0, len(images), of + 1).astype(int).tolist()
    parts = []
    for shard, (start, stop) in enumerate(pairwise(bounds), 1):
        part = Part(shard, of, start, stop, len(images), 1, head.split_hash, "")
        columns = {name: getattr(head, name)[start:stop] for name in ("paths", "labels", "splits")}
        templates = head.templates if shard == 1 else ()
        about = {**vars(head), **columns, "templates": templates, "part": part.to_dict()}
        parts.append(part_path(path, shard, of))
        with CacheWriter(parts[-1], CacheHeader(**about)) as writer:
            writer.write_text(text[:, : len(templates)])
            writer.write(np.arange(stop - start), images[start:stop])
            writer.finish()
    merge_parts(parts, path, virtual=True)
    return path


def test_runs_on_a_virtual_cache_are_those_on_a_copy(tmp_path):
    whole = load_cache(write_cache(tmp_path / "whole.h5", each=60))
    head = caches.header(
        len(whole.paths), classes=whole.classes, seen=whole.seen, paths=whole.paths,
        labels=whole.labels, splits=whole.splits, dim=whole.images.shape[1],
        templates=whole.templates, logit_scale=whole.logit_scale,
    )  # fmt: skip
    images, text, found = np.asarray(whole.images), whole.text, {}
    in_parts(tmp_path / "x.h5", head, images, text, 3)
    merge_parts(sorted(tmp_path.glob("x.part*")), tmp_path / "copy.h5")
    assert isinstance(load_cache(tmp_path / "x.h5").images, FileRows)
    for name, memory in (("x.h5", 0.0), ("copy.h5", 0.0), ("x.h5", 2.0), ("copy.h5", 2.0)):
        settings = {"min_steps": 5, "calibrate": True}
        (row,) = train(
            tmp_path / name, method="clip-pzsl", rate=0.3, seeds=1, workers=1, memory=memory,
            runs=tmp_path / f"{name}-{memory}", settings=settings,
        )["runs"]  # fmt: skip
        config = json.loads((Path(row["path"]) / "config.json").read_text())
        assert config.get("blocks", False) is (memory == 0.0)
        found[name, memory] = {k: v for k, v in row.items() if k not in ("seconds", "path")}
    assert found["x.h5", 0.0] == found["copy.h5", 0.0]
    assert found["x.h5", 2.0] == found["copy.h5", 2.0]


READ = """
import sys, torch, numpy as np
from pzsl.bench.memory import peak
from pzsl.store import load_cache
from pzsl.training import features_in_blocks
from pzsl.training.loop import batches, epoch_generator

features_in_blocks.MIXED = 4
before = peak()
cache = load_cache(sys.argv[1])
cache.fingerprint
rows = np.flatnonzero(cache.splits == "trainval")
images = features_in_blocks.load_rows(cache.images, rows, torch.device("cpu"), 0.01)
for chosen in batches(images, 512, epoch_generator(0, 0)):
    images[chosen]
print((peak() - before) / cache.images.nbytes)
"""


def test_a_virtual_cache_is_checked_and_read_in_a_part_of_its_memory(tmp_path):
    pytest.importorskip("resource", reason="this system doesn't tell a process's memory")
    count, dim = 20_000, 2048
    images = np.tile(caches.unit(0, 100, dim), (count // 100, 1))
    in_parts(tmp_path / "x.h5", caches.header(count, dim=dim), images, caches.unit(1, 4, 2, dim), 5)
    done = run_python("-c", READ, str(tmp_path / "x.h5"))
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 0.4, done.stdout
