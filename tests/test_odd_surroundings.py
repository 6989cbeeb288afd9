"""A closed terminal, a removed working directory, a path that is no Unicode, a replaced file."""

from __future__ import annotations

import errno
import io
import os
import sys
from pathlib import Path
from typing import Any

import h5py
import pytest
from problems import write_cache

import pzsl as api
from pzsl.progress import say
from pzsl.store.hdf5 import raw_file


class Broken(io.StringIO):
    """A stream that can't be written."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def write(self, text: str) -> int:
        """Fail as the system does."""
        raise OSError(self.number, os.strerror(self.number), text)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_message_that_can_not_be_written_stops_no_work(number, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "stderr", Broken(number))
    options = {"method": "clip", "rate": 0.1, "seeds": 1, "workers": 1, "runs": tmp_path / "r"}
    assert len(api.train(write_cache(tmp_path / "c.h5"), **options)["runs"]) == 1


def test_a_reader_of_messages_that_has_gone_ends_the_command(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Broken(errno.EPIPE))
    with pytest.raises(BrokenPipeError):
        say("x")


def test_a_working_directory_that_was_removed_is_reported(pzsl, tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    try:
        (tmp_path / "gone").rmdir()
    except OSError:
        pytest.skip("this system removes no folder in use")
    code, out, err = pzsl("methods")
    assert (code, out) == (1, "")
    assert err == "pzsl: The folder you are in was removed: cd to another one.\n"


def test_a_run_on_a_cache_whose_path_is_no_unicode_is_read_again(tmp_path):
    folder = tmp_path / os.fsdecode(b"photos \xff")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("names of files are Unicode here")
    cache = write_cache(folder / "c.h5")
    options = {"method": "clip", "rate": 0.1, "seeds": 1, "workers": 1, "runs": tmp_path / "r"}
    run = api.train(cache, **options)["runs"][0]["path"]
    assert api.train(cache, **options)["runs"][0]["path"] == run
    assert api.labels(run, tmp_path / "l.csv", cache=cache)["images"] > 0
    assert api.report(tmp_path / "r", tmp_path / "report", ["html", "csv"])["finished"] == 1


def test_a_cache_that_is_replaced_while_it_is_opened_is_not_taken_for_damaged(
    tmp_path, monkeypatch
):
    cache, annotated = write_cache(tmp_path / "c.h5"), tmp_path / "annotated.h5"
    api.annotate(cache, out=annotated)
    mapped = raw_file.mapped

    def while_replaced(data: h5py.Dataset, path: Path) -> Any:
        if annotated.exists():
            annotated.replace(path)
        return mapped(data, path)

    monkeypatch.setattr(raw_file, "mapped", while_replaced)
    assert api.load_cache(cache).candidate_labels is not None and not annotated.exists()
