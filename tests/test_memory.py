"""Features that are larger than memory are read in blocks, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from problems import make_problem, write_cache

from pzsl.methods.core import CandidateEntries, Deferred, candidate_entries
from pzsl.store import load_cache
from pzsl.store.hdf5 import in_files
from pzsl.training import train
from pzsl.training.features_in_blocks import (
    MIXED,
    RUN,
    StoredRows,
    choose_rows,
    load_rows,
    scored_together,
)
from pzsl.training.loop import batches, epoch_generator

CPU = torch.device("cpu")


@pytest.fixture
def stored(tmp_path) -> tuple[StoredRows, torch.Tensor]:
    """Nine tenths of the rows of a file, and the same as a tensor."""
    rng = np.random.default_rng(0)
    array = rng.standard_normal((40_003, 3)).astype(np.float32)
    file = tmp_path / "rows.bin"
    file.write_bytes(b"header.." + array.tobytes())
    source = np.memmap(file, dtype=np.float32, mode="r", offset=8, shape=array.shape)
    rows = np.flatnonzero(np.arange(len(array)) % 10)
    return StoredRows(in_files(source), rows, CPU), torch.from_numpy(array[rows])


def test_stored_rows_act_as_a_tensor(stored):
    images, plain = stored
    assert images.shape == plain.shape and len(images) == len(plain)
    rng = np.random.default_rng(1)
    asked = [rng.integers(0, len(plain), 50), np.arange(100), rng.permutation(len(plain))[:9000]]
    for rows in (*map(torch.from_numpy, asked), torch.tensor([len(plain) - 1, 0])):
        assert torch.equal(images[rows], plain[rows])
    some = torch.arange(5, len(plain), 7)
    part = choose_rows(images, some)
    assert torch.equal(part[torch.arange(len(some))], plain[some])
    assert torch.equal(images[some[:9]], plain[some[:9]])


def test_views_of_stored_rows_are_chosen_one_by_one(tmp_path):
    array = np.random.default_rng(0).standard_normal((600, 4, 2)).astype(np.float32)
    array.tofile(tmp_path / "views.bin")
    source = np.memmap(tmp_path / "views.bin", dtype=np.float32, mode="r", shape=array.shape)
    views = StoredRows(in_files(source), np.arange(600), CPU)
    rows, which = torch.tensor([599, 3, 270]), torch.tensor([0, 3, 1])
    assert torch.equal(views[rows, which], torch.from_numpy(array)[rows, which])


def test_rows_of_rows_and_views_that_are_read_late_are_the_same_numbers():
    values, generator = torch.randn(30, 3, 4), torch.Generator().manual_seed(0)
    asked = []
    late = Deferred(lambda: asked.append(1) or values, values.shape, CPU)
    outer, inner = torch.randperm(30, generator=generator)[:20], torch.arange(1, 20, 3)
    some, views = torch.tensor([6, 0, 3]), torch.tensor([2, 0, 1])
    for base in (values, late):
        part = choose_rows(choose_rows(base, outer), inner)
        assert len(part) == len(inner) and part.shape == values[outer][inner].shape
        assert not asked
        assert torch.equal(part[some], values[outer][inner][some])
        assert torch.equal(part[some, views], values[outer][inner][some, views])
    assert asked


def test_an_epoch_meets_each_row_once_well_mixed_and_reads_it_once(stored, monkeypatch):
    images, plain = stored
    read = []
    take = StoredRows._read
    monkeypatch.setattr(
        StoredRows,
        "_read",
        lambda self, runs: (read.extend(runs[self.slot_of_run[runs] < 0]), take(self, runs)),
    )
    found = list(batches(images, 500, epoch_generator(0, 0)))
    assert torch.equal(torch.cat(found).sort().values, torch.arange(len(plain)))
    for rows in found:
        assert torch.equal(images[rows], plain[rows])
    runs = -(-40_003 // RUN)
    assert runs <= len(read) < 1.2 * runs + 2 * MIXED
    first = found[0]
    assert first.max() - first.min() > len(plain) / 2  # from all over the file
    again = list(batches(images, 500, epoch_generator(0, 0)))
    other = list(batches(images, 500, epoch_generator(0, 1)))
    assert torch.equal(torch.cat(found), torch.cat(again))
    assert not torch.equal(torch.cat(found), torch.cat(other))


def test_a_budget_decides(tmp_path):
    cache = load_cache(write_cache(tmp_path / "toy.h5"))
    rows = np.arange(100)
    size = 100 * cache.images.shape[1] * 4 / 2**30
    assert isinstance(load_rows(cache.images, rows, CPU, size), torch.Tensor)
    assert isinstance(load_rows(cache.images, rows, CPU, 0.9 * size), StoredRows)


@pytest.mark.parametrize("method", ["clip-pzsl", "pico", "prototype"])
def test_a_run_on_features_read_in_blocks_learns_the_same(method, tmp_path):
    cache = write_cache(tmp_path / "toy.h5", each=60)
    rows = [
        train(
            cache, method=[method], rate=[0.3], seeds=1, workers=1, memory=memory,
            runs=tmp_path / str(memory), settings={"min_steps": 20, "calibrate": method != "pico"},
        )["runs"][0]
        for memory in (2.0, 0.0)
    ]  # fmt: skip
    assert rows[1]["disambiguation"] == pytest.approx(rows[0]["disambiguation"], abs=3)
    assert rows[1]["H"] == pytest.approx(rows[0]["H"], abs=4)


@pytest.mark.parametrize("plain", [True, False])
def test_candidates_are_restricted_in_small_blocks_as_at_once(plain, monkeypatch):
    problem, _ = make_problem(images=40)
    offsets, labels = problem.candidates.offsets, problem.candidates.labels
    mask = -torch.arange(len(labels)).float()
    columns = torch.tensor([0, -1, 1, -1, 2, -1, 3, -1])
    found = []
    for block in (4096, 7):
        monkeypatch.setattr(candidate_entries, "BLOCK", block)
        sets = CandidateEntries.of(offsets, labels)
        sets = sets if plain else CandidateEntries(offsets, labels, mask)
        found.append(sets.restrict(torch.arange(0, 40, 2), columns, 4))
    for name in ("offsets", "labels", "log_mask"):
        assert torch.equal(getattr(found[0], name), getattr(found[1], name)), name
    kept = [
        [columns[c] for c in labels[a:b] if columns[c] >= 0] for a, b in offsets.unfold(0, 2, 1)
    ]
    assert found[0].sizes.tolist() == [len(row) or 4 for row in kept[::2]]


def test_few_images_are_scored_at_a_time_where_classes_are_many():
    assert [scored_together(classes) for classes in (0, 100, 16_384, 1 << 30)] == [
        4096,
        4096,
        128,
        1,
    ]
