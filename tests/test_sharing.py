"""Caches shared through a hub: equal bytes, and one line for whatever goes wrong."""

from __future__ import annotations

import hashlib
import json

import caches
import h5py
import pytest
from hub_server import hub
from huggingface_hub import constants, file_download
from problems import write_cache
from test_merge import COUNT, write_parts

from pzsl.errors import UserError
from pzsl.exchange import pull, push
from pzsl.store import merge_parts
from pzsl.store.hdf5 import put_attribute, write_checksums

NAME = "anna/toy"


@pytest.fixture
def server(monkeypatch, tmp_path):
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    with hub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.address)
        monkeypatch.setattr(constants, "ENDPOINT", running.address)  # both are read at import
        template = f"{running.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        for module in (constants, file_download):  # the oldest clients have a copy of it
            monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
        yield running


@pytest.fixture
def cache(tmp_path):
    return write_cache(tmp_path / "toy.h5")


def test_what_is_pulled_is_what_was_pushed_byte_for_byte(pzsl, server, cache, tmp_path):
    code, out, err = pzsl("push", cache, "--to", NAME, "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["bytes"] == cache.stat().st_size and told["repository"] == NAME
    copy = tmp_path / "there" / "copy.h5"
    code, out, err = pzsl("pull", NAME, "--out", copy, "--json")
    assert code == 0, err
    assert copy.read_bytes() == cache.read_bytes()
    assert json.loads(out)["sha256"] == told["sha256"]
    assert [file.name for file in copy.parent.iterdir()] == ["copy.h5"]
    code, _, err = pzsl("pull", NAME, "--out", copy)
    assert code == 2 and "--overwrite" in err
    assert pzsl("pull", NAME, "--out", copy, "--overwrite")[0] == 0


def test_the_card_says_what_is_shared(server, cache):
    push(cache, NAME)
    card = server.files[NAME, "README.md"].decode()
    for word in ("encoder", "split", "licence of the images", "sha256", "pzsl train --cache"):
        assert word in card
    about = json.loads(server.files[NAME, "pzsl-cache.json"])
    assert about["file"] == "toy.h5" and about["images"] > 0


def test_what_names_this_machine_is_reported(server, cache, capsys):
    with h5py.File(cache, "r+") as file:
        put_attribute(file, "origin", {"root": "/home/anna/photos", "seed": "0"})
        put_attribute(file, "model", "local-dir:C:\\Users\\anna\\clip")
    write_checksums(cache)
    push(cache, NAME)
    told = capsys.readouterr().err
    assert "all who get it can read: C:\\Users\\anna\\clip, /home/anna/photos.\n" in told


def test_a_virtual_cache_is_not_sent_without_its_parts(pzsl, server, tmp_path):
    write_parts(tmp_path / "x.h5", caches.header(COUNT), 2)
    merge_parts([], tmp_path / "x.h5", virtual=True)
    assert "without --virtual" in one_line(pzsl("push", tmp_path / "x.h5", "--to", NAME))
    assert not server.files


def test_a_fetched_cache_is_there_without_the_hub(server, cache, tmp_path, monkeypatch):
    push(cache, NAME)
    pull(NAME, tmp_path / "one.h5")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    pull(NAME, tmp_path / "two.h5")
    assert (tmp_path / "two.h5").read_bytes() == cache.read_bytes()
    with pytest.raises(UserError, match=r"anna/other is not on this machine.*can't be reached"):
        pull("anna/other", tmp_path / "three.h5")
    with pytest.raises(UserError, match="can't be reached"):
        push(cache, NAME)


def one_line(result) -> str:
    code, out, err = result
    lines = [line for line in err.strip().splitlines() if line.startswith("pzsl: ")]
    assert code in (1, 2) and out == "" and len(lines) == 1, result
    assert "fault in pzsl" not in err and "Traceback" not in err
    return lines[0]


def test_a_wrong_checksum_is_refused(pzsl, server, cache, tmp_path):
    push(cache, NAME)
    server.files[NAME, "toy.h5"] = server.files[NAME, "toy.h5"][:-1] + b"?"
    assert "checksum" in one_line(pzsl("pull", NAME, "--out", tmp_path / "x.h5"))
    assert not (tmp_path / "x.h5").exists()


def test_a_cache_that_is_none_takes_no_other_s_place(pzsl, server, cache, tmp_path):
    push(cache, NAME)
    about = json.loads(server.files[NAME, "pzsl-cache.json"])
    about["sha256"] = hashlib.sha256(b"no cache").hexdigest()
    server.files[NAME, "toy.h5"] = b"no cache"
    server.files[NAME, "pzsl-cache.json"] = json.dumps(about).encode()
    before = cache.read_bytes()
    one_line(pzsl("pull", NAME, "--out", cache, "--overwrite"))
    assert cache.read_bytes() == before


@pytest.mark.parametrize("name", ["toy.h5", "pzsl-cache.json"])
def test_a_missing_file_is_named(pzsl, server, cache, tmp_path, name):
    push(cache, NAME)
    del server.files[NAME, name]
    line = one_line(pzsl("pull", NAME, "--out", tmp_path / "x.h5"))
    assert f"'{name}' of {NAME}" in line and "404" in line


def test_a_damaged_description_is_refused(pzsl, server, cache, tmp_path):
    push(cache, NAME)
    named = ('{"file": "../x.h5", "sha256": "0"}', '{"file": "..", "sha256": "0"}')
    for text in ("{", "[]", "[" * 100_000, *named):
        server.files[NAME, "pzsl-cache.json"] = text.encode()
        assert "damaged" in one_line(pzsl("pull", NAME, "--out", tmp_path / "x.h5"))


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_is_reported_with_what_to_do(pzsl, server, cache, tmp_path, status):
    server.status = status
    for line in (
        pzsl("pull", NAME, "--out", tmp_path / "x.h5"),
        pzsl("push", cache, "--to", NAME),
    ):
        told = one_line(line)
        assert str(status) in told and NAME in told and "log in" in told


def test_a_repository_is_a_user_and_a_name(pzsl, server, cache):
    assert "USER/NAME" in one_line(pzsl("push", cache, "--to", "a/b/c"))
    assert "USER/NAME" in one_line(pzsl("pull", "a b"))


def test_a_damaged_cache_is_not_shared(pzsl, server, tmp_path):
    (tmp_path / "bad.h5").write_bytes(b"nothing")
    one_line(pzsl("push", tmp_path / "bad.h5", "--to", NAME))
    assert not server.files
