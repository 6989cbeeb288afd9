"""The three commands as printed: where published data sets lie, and what is said where none is."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path

import pytest
from huggingface_hub import constants
from standin import make_sun

import pzsl as library
from pzsl.datasets.fetching import PUBLICATIONS, find_root, is_by_hand, usual_places
from pzsl.encoders import load_encoder
from pzsl.errors import UserError
from pzsl.extraction import load_inputs as requests
from pzsl.network import is_reachable

PUBLISHED = pytest.mark.parametrize("name", sorted(PUBLICATIONS))


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to work in, and no $PZSL_DATA."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PZSL_DATA", raising=False)
    return tmp_path


@pytest.fixture
def small_encoder(monkeypatch, tiny_weights):
    """Let the data set's default model be the small random encoder."""
    monkeypatch.setattr(requests, "default_model", lambda name: "tiny")
    load = requests.load_encoder
    monkeypatch.setattr(
        requests,
        "load_encoder",
        lambda model, pretrained, *how: load(model, pretrained or str(tiny_weights), *how),
    )


@pytest.mark.parametrize("variable", [False, True])
def test_extract_finds_sun_where_it_is_printed(pzsl, here, monkeypatch, small_encoder, variable):
    if variable:
        monkeypatch.setenv("PZSL_DATA", str(here / "all"))
    root = here / ("all/sun" if variable else "data/sun")
    make_sun(root)
    code, out, err = pzsl("extract", "--dataset", "sun", "--json")
    assert code == 0, err
    result = json.loads(out)
    assert (result["images"], result["classes"]) == (72, 6)
    assert (here / "cache" / "sun.h5").is_file()
    origin = library.load_cache(here / "cache" / "sun.h5").provenance["origin"]
    assert origin["root"] == str(root.resolve())


@pytest.mark.slow
def test_the_three_commands_as_printed(pzsl, here, small_encoder):
    make_sun(here / "data" / "sun")
    for line in ("extract --dataset sun", "train --cache cache/sun.h5", "report"):
        code, _, err = pzsl(*line.split())
        assert code == 0, err
    assert (here / "report" / "index.html").is_file()
    assert len(list((here / "runs" / "sun").glob("*/metrics.json"))) == 15


@PUBLISHED
def test_where_nothing_is_there_one_line_says_size_terms_and_the_command(pzsl, here, name):
    code, out, err = pzsl("extract", "--dataset", name)
    assert code == 1 and out == "" and len(err.strip().splitlines()) == 1
    publication = PUBLICATIONS[name]
    assert publication.downloads[0].size in err and publication.licence in err
    assert f"'pzsl extract --dataset {name} --fetch'" in err and "--root" in err
    assert str(usual_places(name)[0]) in err
    with pytest.raises(UserError, match="--fetch"):
        library.load_dataset(name)


def test_the_variable_comes_first_and_the_usual_folder_second(here, monkeypatch):
    make_sun(here / "data" / "sun")
    monkeypatch.setenv("PZSL_DATA", str(here / "all"))
    usual = Path("data") / "sun"
    assert usual_places("sun") == [here / "all" / "sun", usual]
    assert find_root("sun") == usual
    (here / "all" / "sun").mkdir(parents=True)
    assert find_root("sun") == usual  # an empty folder is not a data set
    (here / "all" / "sun" / "image.jpg").touch()
    assert find_root("sun") == here / "all" / "sun"


def test_fetch_puts_a_data_set_where_extract_looks(here, monkeypatch, small_encoder):
    fetched = []

    def fetch(name, root):
        fetched.append((name, root))
        make_sun(usual_places(name)[0])

    monkeypatch.setattr(requests, "fetch", fetch)
    result = library.extract("sun", fetch=True)
    assert fetched == [("sun", None)] and result["images"] == 72
    library.extract("sun", fetch=True, overwrite=True)
    assert len(fetched) == 1  # images that lie there by hand are left alone
    assert is_by_hand("sun", here / "data" / "sun")
    (here / "data" / "sun" / "pzsl-downloads.json").write_text("{}")
    assert not is_by_hand("sun", here / "data" / "sun")


def test_fetch_is_for_published_data_sets(pzsl, here):
    code, _, err = pzsl("extract", "--dataset", "shapes", "--fetch")
    assert code == 2 and "not a published data set" in err


# --- weights that are not here, and no network ---------------------------------------------------


def test_without_network_missing_weights_are_reported_at_once(monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(socket, "create_connection", refuse)
    start = time.monotonic()
    with pytest.raises(UserError, match=r"can't be reached.*--pretrained"):
        load_encoder("ViT-B-32")
    assert time.monotonic() - start < 5


def test_a_server_is_reached_or_not(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert is_reachable(address)
    assert not is_reachable(address)

    def hang(*_, **__):
        time.sleep(1)
        raise OSError("late")

    monkeypatch.setattr(socket, "create_connection", hang)
    start = time.monotonic()
    assert not is_reachable(address, seconds=0.1)
    assert time.monotonic() - start < 0.9
