"""Files that are whole or not there: what killed processes leave is removed by the next run."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest
from scipy.io import savemat

from pzsl.datasets.published import mat_process
from pzsl.files import read_text, replacing, write_atomic

KILLED = """
import os, signal, sys
from pathlib import Path
from pzsl.files import replacing

with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    if sys.argv[2] == "wait":
        print("ready", flush=True)
        sys.stdin.read()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def names(folder):
    """All that lies in a folder, hidden files too."""
    return sorted(file.name for file in folder.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="this system has no SIGKILL")
def test_the_next_run_removes_what_a_killed_one_left(tmp_path):
    target = tmp_path / "labels.csv"
    for _ in range(2):
        subprocess.run([sys.executable, "-c", KILLED, str(target), "now"], check=False)
    (tmp_path / ".labels.csv.old.tmp").touch()  # not of ours
    (tmp_path / ".labels.csv.gz.abcdefgh.tmp").touch()  # of another file
    assert len(names(tmp_path)) >= 3
    write_atomic(target, "whole")
    assert names(tmp_path) == [".labels.csv.gz.abcdefgh.tmp", ".labels.csv.old.tmp", "labels.csv"]


@pytest.mark.skipif(sys.platform == "win32", reason="files in use can't be removed there anyway")
def test_files_of_processes_that_still_write_stay(tmp_path):
    target = tmp_path / "labels.csv"
    command = [sys.executable, "-c", KILLED, str(target), "wait"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"ready\n"
        write_atomic(target, "ours")
        assert len(names(tmp_path)) == 2
        other.stdin.close()
    write_atomic(target, "ours again")
    assert names(tmp_path) == ["labels.csv"]


def test_a_failed_block_leaves_the_old_file_alone(tmp_path):
    write_atomic(tmp_path / "x", "old")
    with pytest.raises(KeyError), replacing(tmp_path / "x") as temporary:
        temporary.write_text("new")
        raise KeyError
    assert (tmp_path / "x").read_text() == "old"
    assert names(tmp_path) == ["x"]


@pytest.mark.skipif(sys.platform == "win32", reason="files have no such modes there")
def test_a_file_is_as_private_as_the_umask_and_the_file_before_say(tmp_path):
    usual = os.umask(0o077)
    try:
        write_atomic(tmp_path / "new", "x")
    finally:
        os.umask(usual)
    (tmp_path / "old").touch()
    (tmp_path / "old").chmod(0o640)
    write_atomic(tmp_path / "old", "x")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("new", "old")]
    assert modes == [0o600, 0o640]


def test_a_reader_of_matlab_files_may_die(tmp_path):
    path = tmp_path / "res101.mat"
    savemat(path, {"labels": np.array([[1], [2]])})
    assert mat_process.load_apart(path, ["labels", "other"])["labels"].tolist() == [[1], [2]]
    with pytest.raises(BrokenProcessPool):
        mat_process._process().submit(os.abort).result()
    with pytest.raises(ValueError, match="ends the process that does so"):
        mat_process.load_apart(path, ["labels"])
    assert mat_process.load_apart(path, ["labels"])["labels"].tolist() == [[1], [2]]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_no_matlab_file(tmp_path):
    os.mkfifo(tmp_path / "res101.mat")
    with pytest.raises(OSError, match="not a regular file"):
        mat_process.load_apart(tmp_path / "res101.mat", ["labels"])


@pytest.mark.skipif(
    not hasattr(signal, "SIGBUS"), reason="such systems map no file that can shrink"
)
def test_a_file_that_is_cut_short_while_it_is_mapped_ends_in_one_line(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((4000, 64), np.float32))
    code = (  # eight threads read beyond the end at once, as those of a BLAS library do
        "import os, numpy, threading\n"
        "from pzsl.cli.sigbus import explain_sigbus; explain_sigbus()\n"
        "mapped = numpy.load('x.npy', mmap_mode='r'); os.truncate('x.npy', 4096)\n"
        "gate = threading.Barrier(8)\n"
        "def read(): gate.wait(); print(mapped @ numpy.ones((64, 64), numpy.float32))\n"
        "for _ in range(8): threading.Thread(target=read).start()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "was cut short while it was read" in done.stderr and done.stderr.count("\n") == 1


def test_the_mark_that_windows_puts_before_a_text_is_left_out(tmp_path):
    (tmp_path / "x.toml").write_text("seeds = 1", "utf-8-sig")
    assert read_text(tmp_path / "x.toml") == "seeds = 1"
