"""Stage one in shards: whatever divides, kills or interrupts it, the bits are those of one run."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import workers
from PIL import Image
from test_extraction import BOMB, assert_same, run_cli

import pzsl.ray
from pzsl.encoders import load_encoder
from pzsl.errors import SeveralError, UsageError, UserError
from pzsl.exchange import merge
from pzsl.extraction import extract, load_inputs, processes, ray_engine
from pzsl.extraction.encode_cache import Shard, fill
from pzsl.extraction.load_inputs import prepare
from pzsl.plugins import PluginError
from pzsl.requests import ExtractRequest
from pzsl.store import find_parts, part_path
from pzsl.workers import WorkerPool

ROOT = Path(__file__).parents[1]
UNIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")


@pytest.fixture
def photos(tmp_path):
    """Four class folders of ten noisy images each."""
    random = np.random.default_rng(0)
    for folder in ("ash", "beech", "cedar", "elm"):
        (tmp_path / "photos" / folder).mkdir(parents=True)
        for number in range(10):
            pixels = random.integers(0, 256, (40, 50, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / folder / f"{number}.png")
    return tmp_path / "photos"


@pytest.fixture
def asked(photos, tiny_weights):
    """What to encode: 40 images in 14 batches."""
    model = {"model": "tiny", "pretrained": str(tiny_weights), "workers": 1}
    return {"dataset": "folder", "root": str(photos), "batch_size": 3, **model}


@pytest.fixture
def single(asked, tmp_path):
    """The cache of a single run."""
    return extract(**asked, out=tmp_path / "single.h5")["cache"]


@pytest.fixture(scope="module")
def loaded():
    """`load_encoder` that loads each encoder once."""
    return functools.cache(load_encoder)


@pytest.fixture(autouse=True)
def _load_encoders_once(loaded, monkeypatch):
    monkeypatch.setattr(load_inputs, "load_encoder", loaded)


def words_of(asked):
    return [f"--{name.replace('_', '-')}={value}" for name, value in asked.items()]


# --- job arrays ----------------------------------------------------------------------------------


@pytest.mark.parametrize("virtual", [False, True])
def test_four_shards_merged_are_a_single_run(asked, tmp_path, virtual):
    out = tmp_path / "x.h5"
    asked |= {"views": 2} if virtual else {"dtype": "float16"}
    single = extract(**asked, out=tmp_path / "single.h5")["cache"]
    results = [extract(**asked, out=out, shard=f"{i}/4") for i in (3, 1, 4, 2)]
    assert [result["images"] for result in results] == [9, 9, 10, 12]
    assert results[0]["cache"] == str(part_path(out, 3, 4))
    assert set(results[0]["zero_shot"].values()) == {None}
    assert not out.exists()
    result = merge([], out, virtual=virtual)
    assert (result["cache"], result["images"], result["classes"]) == (str(out), 40, 4)
    assert len(result["parts"]) == 4 and result["virtual"] is virtual
    assert result["zero_shot"]["T1"] is not None
    assert_same(out, single)


def test_only_the_first_shard_encodes_the_texts(asked, tmp_path, monkeypatch):
    from pzsl.extraction import encode_cache as filling

    texts, encode = [], filling.encode_prompts
    monkeypatch.setattr(
        filling, "encode_prompts", lambda *given: (texts.append(1), encode(*given))[1]
    )
    for i in (1, 2):
        extract(**asked, out=tmp_path / "x.h5", shard=f"{i}/2")
    assert len(texts) == 1


def test_unreadable_images_in_shards_are_those_of_a_single_run(asked, photos, tmp_path):
    for name in ("ash/0.png", *(f"beech/{n}.png" for n in range(10))):  # one batch is all bad
        (photos / name).write_bytes(b"junk")
    skip = {**asked, "on_error": "skip"}
    whole = extract(**skip, out=tmp_path / "whole.h5")
    with pytest.raises(UserError, match=r"can't be read.*--on-error skip"):
        extract(**asked, out=tmp_path / "x.h5", shard="1/14")
    results = [extract(**skip, out=tmp_path / "x.h5", shard=f"{i}/14") for i in range(1, 15)]
    assert sum(len(result["failed"]) for result in results) == 11
    assert results[4]["images"] == 0
    merge([], tmp_path / "x.h5")
    assert_same(tmp_path / "x.h5", whole["cache"])
    again = extract(**skip, out=tmp_path / "x.h5")
    assert (again["encoded"], len(again["failed"])) == (0, 11)


def test_shards_made_before_and_after_the_candidates_were_edited_are_not_merged(
    asked, photos, tmp_path
):
    table = tmp_path / "t.csv"
    asked |= {"dataset": "table", "table": str(table)}
    rest = [f"{name}/{i}.png,ash|{name}" for name in ("beech", "elm") for i in range(4)]
    for number, edited in ((1, "ash|elm"), (2, "ash|beech")):
        table.write_text("\n".join(["path,candidates", f"ash/0.png,{edited}", *rest]))
        extract(**asked, out=tmp_path / "x.h5", shard=f"{number}/2")
    with pytest.raises(UserError, match=r"differs from .*\(candidates "):
        merge([], tmp_path / "x.h5")


def test_a_shard_of_another_batch_size_is_not_gone_on_with(asked, tmp_path):
    extract(**asked, out=tmp_path / "x.h5", shard="1/2")
    with pytest.raises(UserError, match=r"part.*--overwrite"):
        extract(**{**asked, "batch_size": 4}, out=tmp_path / "x.h5", shard="1/2")


@pytest.mark.parametrize("more", [{"devices": ["cpu"]}, {"engine": "ray"}])
def test_a_shard_is_for_one_process(asked, tmp_path, more):
    with pytest.raises(UsageError, match="--shard is for one process"):
        extract(**asked, out=tmp_path / "x.h5", shard="1/2", **more)


def test_an_unknown_engine_is_refused(asked):
    with pytest.raises(UsageError, match="--engine is local or ray, not 'spark'"):
        extract(**asked, engine="spark")


@pytest.mark.slow
@UNIX
def test_a_killed_shard_is_gone_on_with(asked, single, tmp_path):
    words = ["extract", *words_of(asked), "--out", tmp_path / "x.h5"]
    killed = run_cli(*words, "--shard", "2/4", check=False, code=BOMB + "after('write', 2)")
    assert killed.returncode == -signal.SIGKILL
    result = json.loads(run_cli(*words, "--shard", "2/4", "--json").stdout)
    assert (result["resumed"], result["encoded"]) == (6, 6)
    for i in (1, 3, 4):
        extract(**asked, out=tmp_path / "x.h5", shard=f"{i}/4")
    run_cli("merge", "--out", tmp_path / "x.h5")
    assert_same(tmp_path / "x.h5", single)


# --- several devices: what surrounds the processes -----------------------------------------------


@pytest.fixture
def inline(monkeypatch):
    """An engine that encodes here, a shard after the other; `inline.stop_before` interrupts it."""

    class Inline:
        def __init__(self):
            self.done, self.stop_before = [], None

        def __call__(self, asked, target, shards, devices, tell):
            job, outcomes = prepare(asked), []
            for shard in shards:
                if shard.number == self.stop_before:
                    raise KeyboardInterrupt
                outcomes.append(fill(job, target, shard, after=tell))
                self.done.append(outcomes[-1].report.encoded)
            return outcomes

    engine = Inline()
    monkeypatch.setattr(processes, "run_shards", engine)
    return engine


def test_devices_leave_one_cache_and_nothing_beside_it(asked, single, tmp_path, inline, capsys):
    out = tmp_path / "new" / "x.h5"
    result = extract(**asked, out=out, devices=["cpu", "cpu"])
    assert (result["images"], result["encoded"], len(inline.done)) == (40, 40, 8)
    assert result["images_per_second"] > 0
    assert "in 8 shards on cpu, cpu" in capsys.readouterr().err
    assert [file.name for file in out.parent.iterdir()] == ["x.h5"]
    assert_same(out, single)
    again = extract(**asked, out=out, devices=["cpu", "cpu"])
    assert (again["resumed"], again["encoded"], len(inline.done)) == (40, 0, 8)
    extract(**asked, out=out, devices=["cpu", "cpu"], overwrite=True)
    assert len(inline.done) == 16


def test_what_was_interrupted_is_gone_on_with_by_any_number_of_devices(
    asked, single, tmp_path, inline, capsys
):
    out = tmp_path / "x.h5"
    inline.stop_before = 3
    with pytest.raises(KeyboardInterrupt):
        extract(**asked, out=out, devices=["cpu", "cpu"])
    assert "is kept beside" in capsys.readouterr().err
    assert [len(parts) for parts in find_parts(out).values()] == [2]
    inline.stop_before = None
    result = extract(**asked, out=out, devices=["cpu"])
    assert (result["resumed"], result["encoded"]) == (sum(inline.done[:2]), sum(inline.done[4:]))
    assert_same(out, single)


def test_unreadable_images_of_all_shards_are_reported_in_one_line(asked, photos, tmp_path, inline):
    good = {name: (photos / name).read_bytes() for name in ("ash/1.png", "elm/9.png")}
    for name in good:
        (photos / name).write_bytes(b"junk")
    with pytest.raises(UserError) as caught:
        extract(**asked, out=tmp_path / "x.h5", devices=["cpu", "cpu"])
    assert "2 of 40 images can't be read: 'ash/1.png'" in str(caught.value)
    assert "other 38 are encoded and kept" in str(caught.value)
    for name, content in good.items():
        (photos / name).write_bytes(content)
    result = extract(**asked, out=tmp_path / "x.h5", devices=["cpu", "cpu"])
    assert (result["resumed"], result["encoded"], result["images"]) == (38, 2, 40)


def test_what_one_process_began_is_left_to_it(asked, tmp_path, inline, monkeypatch):
    from pzsl.store import CacheWriter

    with monkeypatch.context() as patch:
        patch.setattr(CacheWriter, "finish", lambda *given, **more: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            extract(**asked, out=tmp_path / "x.h5")
    with pytest.raises(UserError, match="was started by one process"):
        extract(**asked, out=tmp_path / "x.h5", devices=["cpu"])
    assert extract(**asked, out=tmp_path / "x.h5")["resumed"] == 40


def test_parts_of_two_divisions_are_not_mixed(asked, tmp_path, inline):
    for shard in ("1/2", "1/3"):
        extract(**asked, out=tmp_path / "x.h5", shard=shard)
    with pytest.raises(UserError, match=r"parts of x\.h5 of 2 and of 3 shards"):
        extract(**asked, out=tmp_path / "x.h5", devices=["cpu"])
    extract(**asked, out=tmp_path / "x.h5", devices=["cpu"], overwrite=True)


def test_an_unknown_device_is_refused_before_anything_begins(asked, tmp_path):
    with pytest.raises(UsageError, match="Unknown device 'tpu'"):
        extract(**asked, out=tmp_path / "x.h5", devices=["cpu", "tpu"])


# --- several devices: the processes --------------------------------------------------------------


def work_on(prepare, *tasks):
    """What two worker processes tell of tasks, which are words."""
    with WorkerPool(prepare, tasks, lambda task: f"task {task}", "give fewer") as pool:
        return list(pool.run_all(["cpu", "cpu"]))


def test_a_task_that_loses_its_process_again_and_again_is_lost_and_the_next_is_done(capsys):
    told = work_on(workers.mostly_dying, "dies", "a", "b")
    reason = "on cpu was ended with code 9, 4 times, often for lack of memory: give fewer."
    assert ("dies", "lost", f"its process {reason}") in told
    assert {("a", "done", "aa"), ("b", "done", "bb")} <= set(told) and len(told) == 3
    line = "The process of task dies on cpu was ended with code 9, often for lack of memory"
    err = capsys.readouterr().err
    assert err.count(f"{line}: another one resumes it (loss") == 3


def test_a_shard_that_loses_its_process_again_and_again_is_named(monkeypatch):
    monkeypatch.setattr(processes, "load_job", workers.dying)
    with pytest.raises(UserError, match=r"^Shard 1/1 .*code 9, 4 .* fewer --devices .*--shard 1/1"):
        processes.run_shards(None, Path("x.h5"), ["1/1"], ["cpu"], lambda images: None)


def test_what_processes_tell_comes_with_its_task():
    told = work_on(workers.failing, "a", "b", "c")
    assert sorted(m for m in told if m[1] == "done") == [(t, "done", t * 2) for t in "abc"]
    assert {m[1:] for m in told if m[1] != "done"} == {("about", "cpu")}


ERRORS = {
    "user": (UserError, "^the weights are broken$"),
    "usage": (UsageError, "^no such device$"),
    "several": (SeveralError, "^two lines\none\nother$"),
    "system": (OSError, "No space left.*x.h5"),
    "cut": (RuntimeError, "(?s)task cut on cpu:.*EOFError"),
    "memory": (MemoryError, "^$"),
    "allocator": (MemoryError, "can't allocate memory"),
    "plugin": (PluginError, r"^Plugin 'mine' failed: KeyError: 'seven' \(line"),
    "fault": (RuntimeError, "(?s)task fault on cpu:.*KeyError: 'seven'"),
}


@pytest.mark.parametrize("task", ERRORS)
def test_an_error_in_a_process_is_that_of_the_command(task):
    kind, line = ERRORS[task]
    with pytest.raises(kind) as caught:
        work_on(workers.failing, task)
    assert type(caught.value) is kind and re.search(line, str(caught.value))
    assert task != "several" or caught.value.lines == ("two lines", "one", "other")


@pytest.mark.skipif(not hasattr(signal, "SIGBUS"), reason="this system has no such signal")
def test_a_process_that_reads_beyond_a_file_that_was_cut_short_does_not_blame_memory():
    ((_, kind, reason),) = work_on(workers.reading_beyond, "a")
    assert kind == "lost" and "4 times, as a file was cut short while it was read: " in reason
    assert "mv" in reason and "memory" not in reason


@pytest.mark.slow  # half a minute of imports; `test_sweep` kills a worker of the same pool
@UNIX
def test_four_shards_on_two_processes_one_of_them_killed_are_a_single_run(
    asked, single, tmp_path, monkeypatch, capsys
):
    out, killed, handle = tmp_path / "x.h5", [], WorkerPool.handle_message
    extract(**asked, out=out, shard="4/4")  # four shards, the last one is done

    def handle_and_kill(self, worker, kind, value):
        if kind == "images" and not killed:
            killed.append(worker.process.pid)
            os.kill(worker.process.pid, signal.SIGKILL)
        yield from handle(self, worker, kind, value)

    monkeypatch.setattr(WorkerPool, "handle_message", handle_and_kill)
    result = extract(**asked, out=out, devices=["cpu", "cpu"])
    assert len(killed) == 1
    line = r"The process of shard \d/4 on cpu was ended by signal 9.*: another one resumes it"
    assert re.search(line, capsys.readouterr().err)
    assert result["resumed"] >= 10 + 3  # the shard that was there, and at least a batch
    assert result["resumed"] + result["encoded"] == 40
    assert sorted(file.name for file in tmp_path.glob("x.*")) == ["x.h5"]
    assert_same(out, single)


def start(words):
    return subprocess.Popen(
        [sys.executable, "-m", "pzsl", *map(str, words)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.slow
@UNIX
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_when_the_parent_ends_its_processes_end_and_the_same_command_goes_on(
    tiny_weights, tmp_path, how
):
    (tmp_path / "one.txt").write_text("a photo of a {}.\n")
    asked = {"limit": 320, "batch_size": 8, "templates": str(tmp_path / "one.txt")}
    asked |= {"model": "tiny", "pretrained": str(tiny_weights)}
    out = tmp_path / "x.h5"
    words = ["extract", *words_of(asked), "--out", out, "--devices", "cpu,cpu", "--json"]
    parent = start(words)
    wait_for(lambda: part_path(out, 1, 8).exists() or part_path(out, 2, 8).exists())
    if how == signal.SIGINT:
        os.killpg(parent.pid, how)  # as a terminal does
    else:
        parent.kill()
    _, said = parent.communicate(timeout=60)
    assert parent.returncode != 0 and not out.exists()
    assert how == signal.SIGKILL or "run the same command to resume" in said
    result = json.loads(run_cli(*words).stdout)
    assert result["resumed"] > 0 and result["resumed"] + result["encoded"] == 320
    single = extract(**asked, out=tmp_path / "single.h5")
    assert_same(out, single["cache"])


# --- Ray -----------------------------------------------------------------------------------------


def test_without_ray_the_remedy_is_named(asked, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"^Ray isn't installed: .*pip install -U 'pzsl\[ray\]'"):
        extract(**asked, out=tmp_path / "x.h5", engine="ray")


def test_a_ray_that_does_not_run_here_is_reported_with_the_remedy(monkeypatch):
    def broken(name):
        raise RuntimeError("built for another Python")

    monkeypatch.setattr(pzsl.ray, "import_module", broken)
    words = r"doesn't run here \(built for another Python\).*pip"
    with pytest.raises(UserError, match=words), pzsl.ray.connect():
        pass


@pytest.mark.parametrize(
    ("resources", "device", "found"),
    [
        ({"CPU": 8.0, "GPU": 2.0}, "auto", ["cuda", "cuda"]),
        ({"CPU": 3.0}, "auto", ["cpu"] * 3),
        ({"CPU": 3.0, "GPU": 2.0}, "cpu", ["cpu"] * 3),
        ({}, "auto", ["cpu"]),
    ],
)
def test_a_cluster_gives_its_gpus_or_else_its_processors(resources, device, found):
    assert ray_engine.devices_of(resources, device) == found


@pytest.mark.slow
@UNIX
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")
def test_ray_with_a_worker_killed_is_a_single_run(asked, single, tmp_path, monkeypatch):
    out = tmp_path / "x.h5"
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray_engine, "Encoding", workers.mortal(ray_engine.Encoding))
    result = extract(**asked, out=out, engine="ray", devices=["cpu", "cpu"])
    assert out.with_suffix(".killed").exists()
    assert result["resumed"] == 3  # the block that the killed actor had written
    assert result["resumed"] + result["encoded"] == 40
    assert_same(out, single)


@pytest.mark.parametrize("error", [OSError(28, "full", "x.h5"), UserError("no"), MemoryError("")])
def test_an_error_of_an_actor_is_that_of_a_single_process(error, monkeypatch, tmp_path):
    monkeypatch.setattr(ray_engine, "prepare", lambda _: (_ for _ in ()).throw(error))
    actor = ray_engine.Encoding(ExtractRequest(), tmp_path / "x.h5", "/nowhere")
    reply = actor.encode(Shard(1, 2))
    errors = SimpleNamespace(RayTaskError=KeyError, RayError=KeyError)
    with pytest.raises(type(error), match=r"no$|full|^$"):
        ray_engine._answer(
            SimpleNamespace(get=lambda _: reply, exceptions=errors), None, Shard(1, 2)
        )
