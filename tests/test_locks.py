"""One writer at a time, also on disks without locks."""

from __future__ import annotations

import errno
import os

import caches
import pytest

from pzsl import locks
from pzsl.errors import UserError
from pzsl.store import CacheWriter, load_cache

fcntl = pytest.importorskip("fcntl")


@pytest.fixture(params=["ENOLCK", "ENOSYS", "EOPNOTSUPP"])
def no_locks(request, monkeypatch):
    """A disk that answers so to whoever wants a lock."""
    number = getattr(errno, request.param)

    def refuse(*given):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(fcntl, "lockf", refuse)


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def test_a_cache_is_written_there_and_a_line_says_how(no_locks, tmp_path, capsys):
    path = caches.make(tmp_path / "pets.h5")
    assert "has no locks" in capsys.readouterr().err
    assert names(tmp_path) == ["pets.h5"]
    assert len(load_cache(path).images)


def test_there_too_only_one_writes_at_a_time(no_locks, tmp_path):
    with CacheWriter(tmp_path / "pets.h5", caches.header()):
        with pytest.raises(UserError, match=r"another process is writing it .*remove it") as told:
            CacheWriter(tmp_path / "pets.h5", caches.header())
        assert "--out" in str(told.value)
    caches.make(tmp_path / "pets.h5")
    assert names(tmp_path) == ["pets.h5"]


def test_what_a_killed_one_left_is_removed_as_the_line_says(no_locks, tmp_path):
    taken = tmp_path / f"pets.h5.lock{locks.TAKEN}"
    taken.write_text("1\nanother-machine\n")
    with pytest.raises(UserError, match="if none is at work") as told:
        caches.make(tmp_path / "pets.h5")
    assert str(taken) in str(told.value)
    taken.unlink()
    caches.make(tmp_path / "pets.h5")
