"""The runner of stage one: bounded, in order, the same bits whatever is resumed."""

from __future__ import annotations

import sys
import threading
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from quick_processes import run_python

from pzsl.encoders import load_encoder
from pzsl.encoders.openclip import OpenClipEncoder
from pzsl.errors import UserError
from pzsl.extraction import batches, extract
from pzsl.extraction.pipeline import Failure, Views, encode_blocks, run, spans
from pzsl.extraction.smaller_batches import Halving
from pzsl.inference.embedding_blocks import embedding_blocks
from pzsl.inference.sources import find_images


def constant(path):
    """An image (3, 2, 2) that tells its path."""
    return torch.full((3, 2, 2), int(path), dtype=torch.uint8)


def mean(batch):
    return batch.float().mean(dim=(2, 3))


def collect(load, pending, count=100, size=8, workers=3, encode=mean, lanes=None):
    paths = tuple(map(str, range(count)))
    pending = np.asarray(pending, dtype=np.int64)
    return list(encode_blocks(load, encode, paths, pending, size, workers, lanes))


# --- blocks --------------------------------------------------------------------------------------


@given(st.integers(1, 60), st.integers(1, 20), st.data())
def test_spans_hold_each_pending_row_once_in_blocks_that_do_not_move(count, size, data):
    pending = sorted(data.draw(st.sets(st.integers(0, count - 1))))
    found = spans(count, np.array(pending, dtype=np.int64), size)
    assert [row for span in found for row in span.rows.tolist()] == pending
    for span in found:
        assert span.start % size == 0
        assert span.end == min(span.start + size, count)
        assert len(span.rows) and span.start <= span.rows.min() <= span.rows.max() < span.end


@given(st.sets(st.integers(0, 49)), st.sets(st.integers(0, 49)), st.integers(1, 4))
@settings(max_examples=25)
def test_each_row_gets_the_vector_of_its_own_image_and_each_failure_is_named(
    pending, broken, workers
):
    def load(path):
        if int(path) in broken:
            raise OSError(f"broken {path}")
        return constant(path)

    blocks = collect(load, sorted(pending), 50, 7, workers)
    rows = [row for block in blocks for row in block.rows.tolist()]
    assert rows == sorted(pending - broken)
    for block in blocks:
        assert len(block.features) == len(block.rows)
        if len(block.rows):
            np.testing.assert_array_equal(block.features[:, 0], block.rows)
    failures = [failure for block in blocks for failure in block.failures]
    assert failures == [Failure(n, str(n), f"broken {n}") for n in sorted(pending & broken)]


def test_every_batch_has_its_blocks_shape_and_zeros_where_nothing_is_pending():
    seen = {}

    def encode(batch):
        seen[int(batch.max()) // 8] = batch[:, 0, 0, 0].tolist()
        return mean(batch)

    collect(constant, [1, 2, 13, 97, 99], encode=encode)
    assert seen == {
        0: [0, 1, 2, 0, 0, 0, 0, 0],
        1: [0, 0, 0, 0, 0, 13, 0, 0],
        12: [0, 97, 0, 99],
    }


def test_reading_ahead_is_bounded():
    loaded, lock = [], threading.Lock()

    def load(path):
        with lock:
            loaded.append(int(path))
        return constant(path)

    paths = tuple(map(str, range(400)))
    blocks = encode_blocks(load, mean, paths, np.arange(400), 8, workers=3)
    assert next(blocks).rows.tolist() == list(range(8))
    time.sleep(0.2)
    assert max(loaded) < 8 * 7  # at most twice as many blocks as threads, and the one given out
    list(blocks)
    assert sorted(loaded) == list(range(400))


def test_views_of_some_images_are_encoded_each_as_a_batch_of_its_own():
    shapes = []

    def encode(batch):
        shapes.append(tuple(batch.shape))
        return mean(batch)

    shifts = torch.tensor([0, 100, 200], dtype=torch.uint8)[:, None, None, None]
    rows = np.arange(20) % 3 == 0  # 3 of each 8, and 1 of the last 4
    rows[16:] = [False, False, True, False]

    def load(path):
        return constant(path) + (shifts if rows[int(path)] else shifts[:1])

    views = Views(2, rows)
    paths = tuple(map(str, range(20)))
    blocks = list(encode_blocks(load, encode, paths, np.arange(20), 8, 3, views=views))
    found = np.concatenate([block.features for block in blocks])
    assert found.shape == (20, 3, 3)
    expected = np.arange(20)[:, None] + rows[:, None] * [0, 100, 200]
    np.testing.assert_array_equal(found[:, :, 0], expected)
    assert sorted(shapes) == sorted([(size, 3, 2, 2) for size in (8, 8, 4, 3, 3, 3, 3, 1, 1)])
    shapes.clear()
    (block,) = encode_blocks(load, encode, paths, np.array([1, 6]), 8, 3, views=views)
    np.testing.assert_array_equal(block.features[:, :, 0], [[1, 1, 1], [6, 106, 206]])
    assert shapes == [(8, 3, 2, 2), (3, 3, 2, 2), (3, 3, 2, 2)]


def test_lanes_bound_how_many_encode_at_a_time():
    busy, most, lock = [0], [0], threading.Lock()

    def encode(batch):
        with lock:
            busy[0] += 1
            most[0] = max(most[0], busy[0])
        time.sleep(0.005)
        with lock:
            busy[0] -= 1
        return mean(batch)

    collect(constant, range(100), workers=4, encode=encode, lanes=1)
    assert most[0] == 1
    collect(constant, range(100), workers=4, encode=encode)
    assert most[0] > 1


def test_other_threads_collate_batches_while_one_is_encoded(monkeypatch):
    collate, collated, encoding = batches._collate, threading.Semaphore(0), []

    def noted(*parts):
        batch = collate(*parts)
        collated.release()
        return batch

    def encode(batch):
        if not encoding:  # the first encoding ends only once a second batch is ready
            encoding.append(collated.acquire(timeout=30) and collated.acquire(timeout=30))
        return mean(batch)

    monkeypatch.setattr(batches, "_collate", noted)
    collect(constant, range(16), workers=2, encode=encode, lanes=1)
    assert encoding == [True]


def test_the_next_batch_is_copied_while_one_is_encoded_and_no_third():
    """One is encoded, one waits on the device; more would fill its memory."""
    lock, second, there, most, waited = threading.Lock(), threading.Event(), [0], [0], []

    def upload(batch):
        with lock:
            there[0] += 1
            most[0] = max(most[0], there[0])
            if there[0] == 2:
                second.set()
        return batch + 100

    def encode(batch):
        if not waited:  # the first encoding ends only once a second batch has arrived
            waited.append(second.wait(timeout=30))
        found = mean(batch) - 100
        with lock:
            there[0] -= 1
        return found

    paths, rows = tuple(map(str, range(80))), np.arange(80)
    blocks = [*encode_blocks(constant, encode, paths, rows, 8, 4, 1, upload=upload)]
    assert waited == [True] and most[0] == 2 and there[0] == 0
    np.testing.assert_array_equal(np.concatenate([b.features[:, 0] for b in blocks]), rows)


@pytest.mark.parametrize("command", ["extract", "predict"])
def test_both_commands_copy_batches_ahead(command, monkeypatch, tmp_path):
    sizes = []
    upload = OpenClipEncoder.upload
    monkeypatch.setattr(
        OpenClipEncoder,
        "upload",
        lambda self, batch: sizes.append(len(batch)) or upload(self, batch),
    )
    if command == "extract":
        extract("shapes", model="tiny", limit=40, batch_size=16, out=tmp_path / "x.h5")
    else:
        Image.new("RGB", (70, 70)).save(tmp_path / "x.png")
        source, encoder = find_images([tmp_path / "x.png"]), load_encoder("tiny")
        [*embedding_blocks(source, encoder, 16, 1)(np.array([0]))]
    assert sorted(sizes) == {"extract": [8, 16, 16], "predict": [1]}[command]


def test_stopping_early_and_errors_leave_no_thread_behind():
    def threads():
        return [t for t in threading.enumerate() if t.name.startswith("pzsl-read")]

    before = torch.get_num_threads()
    blocks = encode_blocks(constant, mean, tuple(map(str, range(99))), np.arange(99), 8, 3)
    next(blocks)
    blocks.close()
    assert not threads()

    def fail(batch):
        raise RuntimeError("no such kernel")

    with pytest.raises(RuntimeError, match="no such kernel"):
        collect(constant, range(99), encode=fail)
    assert not threads()
    assert torch.get_num_threads() == before


def test_the_report_adds_up_what_was_done():
    def load(path):
        if path == "3":
            raise OSError("broken  data\nstream")
        return constant(path)

    written, told = {}, []
    paths = tuple(map(str, range(20)))
    report = run(
        encode_blocks(load, mean, paths, np.arange(20), 8, 2),
        lambda rows, features: written.update(zip(rows.tolist(), features, strict=True)),
        lambda block: told.append(len(block.rows) + len(block.failures)),
    )
    assert sorted(written) == [n for n in range(20) if n != 3]
    assert told == [8, 8, 4]
    assert report.encoded == 19
    assert report.failures == [Failure(3, "3", "broken data stream")]
    assert set(report.seconds) == {"read", "encode", "write", "all"}
    assert report.seconds["all"] > 0


# --- the same bits -------------------------------------------------------------------------------


def test_vectors_depend_neither_on_the_threads_nor_on_what_is_done_already(tiny_weights):
    encoder = load_encoder("tiny", str(tiny_weights))
    pixels = np.random.default_rng(0).integers(0, 256, (70, 64, 64, 3), dtype=np.uint8)

    def load(path):
        return encoder.preprocess(Image.fromarray(pixels[int(path)]))

    def vectors(pending, workers):
        found = np.zeros((70, encoder.identity.dim), np.float32)
        for block in collect(load, pending, 70, 16, workers, encoder.encode_images):
            found[block.rows] = block.features
        return found

    whole = vectors(range(70), 1)
    assert np.array_equal(whole, vectors(range(70), 4))
    some = np.flatnonzero(np.random.default_rng(1).random(70) < 0.4)
    assert np.array_equal(whole[some], vectors(some, 2)[some])


# --- memory --------------------------------------------------------------------------------------

COMPLAINTS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
    RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
    MemoryError(),
]


def greedy(limit, complaint, seen):
    """An encoder that has memory for so many images."""

    def encode(batch):
        seen.append(len(batch))
        if len(batch) > limit:
            raise complaint
        return mean(batch)

    return encode


@pytest.mark.parametrize("complaint", COMPLAINTS, ids=lambda error: type(error).__name__)
def test_a_lack_of_memory_is_answered_with_smaller_batches(complaint, capsys):
    seen = []
    encode = Halving(greedy(5, complaint, seen), 32)
    batch = torch.arange(32).repeat_interleave(12).view(32, 3, 2, 2)
    np.testing.assert_array_equal(encode(batch)[:, 0], np.arange(32))
    assert seen == [32, 16, 8] + [4] * 8
    assert "continuing with batches of 4" in capsys.readouterr().err
    encode(batch)
    assert seen[-8:] == [4] * 8 and len(seen) == 19  # it stays so


def test_a_run_ends_well_when_all_threads_lack_memory(capsys):
    encode = Halving(greedy(3, MemoryError(), []), 8)
    blocks = collect(constant, range(100), encode=encode, workers=4)
    found = np.concatenate([block.features for block in blocks])
    np.testing.assert_array_equal(found[:, 0], np.arange(100))
    assert encode.size == 2


def test_no_memory_for_a_single_image_is_reported_in_one_line():
    with pytest.raises(UserError, match="not enough memory to encode a single image"):
        collect(constant, range(9), encode=Halving(greedy(0, MemoryError(), []), 8))


def test_other_errors_are_no_lack_of_memory():
    with pytest.raises(RuntimeError, match="shapes"):
        Halving(greedy(0, RuntimeError("shapes differ"), []), 8)(torch.zeros(8, 3, 2, 2))


MEASURE = """
import resource
import numpy as np
from PIL import Image
from pzsl.extraction.pipeline import encode_blocks
pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
if {real}:
    from pzsl.encoders import load_encoder
    encoder = load_encoder("tiny")
    encode, prepare = encoder.encode_images, encoder.preprocess
else:
    import torch
    encode = lambda batch: batch.flatten(1)[:, :64].float()
    prepare = lambda image: torch.from_numpy(np.array(image))
load = lambda path: prepare(Image.fromarray(pixels))
for count in (200, {count}):
    paths = tuple(map(str, range(count)))
    for block in encode_blocks(load, encode, paths, np.arange(count), 32, 2):
        pass
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peaks(count, real):
    """Peak memory of a process after 200 images, and after `count` more."""
    code = MEASURE.replace("{count}", str(count)).replace("{real}", str(real))
    done = run_python("-c", code)
    assert done.returncode == 0, done.stderr
    return [int(line) for line in done.stdout.split()]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no module resource")
@pytest.mark.parametrize(
    ("count", "real"), [(5_000, False), pytest.param(20_000, True, marks=pytest.mark.slow)]
)
def test_memory_does_not_grow_with_the_number_of_images(count, real):
    few, many = peaks(count, real)
    assert many < 1.1 * few
