"""Images, tables and caches at addresses: the same cache as from a disk, also over bad lines."""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import s3_server
from PIL import Image

from pzsl.datasets import load_dataset
from pzsl.errors import UserError
from pzsl.exchange import merge
from pzsl.extraction import extract
from pzsl.remote import (
    Range,
    ReadAhead,
    RemoteError,
    RemotePath,
    as_path,
    clients,
    local_copies,
    retries,
    upload,
)
from pzsl.remote.read_ahead import group_neighbours
from pzsl.store import load_cache

fsspec = pytest.importorskip("fsspec")
CLASSES = ("red fox", "dingo", "snow leopard", "lynx")


def picture(number: int) -> bytes:
    """A small picture with noise of its own, as a PNG file of some 3 kB."""
    pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def write_tars(folder: Path, images: int, files: int) -> Path:
    """Tar files of pictures with their classes."""
    folder.mkdir(parents=True)
    for file in range(files):
        with tarfile.open(folder / f"data-{file:03d}.tar", "w") as archive:
            for number in range(file * images // files, (file + 1) * images // files):
                label = CLASSES[number % len(CLASSES)].encode()
                for ending, content in ((".png", picture(number)), (".cls", label)):
                    entry = tarfile.TarInfo(f"{number:05d}{ending}")
                    entry.size = len(content)
                    archive.addfile(entry, io.BytesIO(content))
    return folder


def write_table(folder: Path, images: int) -> Path:
    """A table of pictures in two folders beside it."""
    lines = ["path,label,split"]
    for number in range(images):
        name = f"photos/{number % 2}/{number}.png"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture(number))
        label = CLASSES[number % 4]
        split = "test_unseen" if label == "lynx" else ("trainval", "test_seen")[number // 4 % 2]
        lines.append(f"{name},{label},{split}")
    (folder / "images.csv").write_text("\n".join(lines))
    return folder


def put(folder: Path, address: str) -> str:
    """Put all files of a folder up below an address."""
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        RemotePath(f"{address}/{file.relative_to(folder).as_posix()}").put(file)
    return address


def same(one: str | Path, other: str | Path) -> bool:
    """Whether two caches have the same images, labels, splits and embeddings, bit for bit."""
    first, second = load_cache(one), load_cache(other)
    assert first.images.tobytes() == second.images.tobytes()
    return first.fingerprint == second.fingerprint


@pytest.fixture
def memory(request):
    """An address in the memory of this process, for what needs no server."""
    files = fsspec.filesystem("memory")
    address = f"memory://{request.node.name.partition('[')[0]}"
    yield address
    if files.exists(address):
        files.rm(address, recursive=True)


@pytest.fixture
def registered(monkeypatch):
    """Registers a client for a protocol, which keeps files in memory: protocol -> the client."""

    def register(protocol: str) -> object:
        class Client(fsspec.get_filesystem_class("memory")):
            store, pseudo_dirs, retries = {}, [""], 6

            @classmethod
            def _strip_protocol(cls, path):
                return "/" + path.removeprefix(f"{protocol}://").strip("/")

        Client.protocol = protocol
        monkeypatch.setitem(sys.modules["fsspec.registry"]._registry, protocol, Client)
        return fsspec.filesystem(protocol, **clients.OPTIONS.get(protocol, {}))

    return register


@pytest.fixture(scope="module")
def server():
    """The port of an S3 server, which has a bucket `bucket`."""
    pytest.importorskip("moto", reason="pip install 'pzsl[dev]'")
    pytest.importorskip("s3fs", reason="pip install 'pzsl[remote]'")
    with s3_server.running() as port, s3_server.logged_in(port):
        fsspec.filesystem("s3").mkdir("bucket")
        yield port


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(retries, "PAUSES", (0.01, 0.01, 0.01))


# --- the same cache ------------------------------------------------------------------------------


def test_tar_files_on_a_server_that_breaks_off_give_the_cache_of_local_ones(
    server, tiny_weights, tmp_path
):
    tars = write_tars(tmp_path / "tars", 200, 2)
    options = {"model": "tiny", "pretrained": str(tiny_weights), "batch_size": 16}
    local = extract("tar", tars, out=tmp_path / "local.h5", **options)
    with s3_server.logged_in(server):
        put(tars, "s3://bucket/tars")
    with s3_server.Proxy(server, 20, 40_000) as proxy, s3_server.logged_in(proxy.port):
        far = extract("tar", "s3://bucket/tars", out=tmp_path / "far.h5", **options)
        assert not proxy.drops
    assert far["failed"] == [] and far["zero_shot"] == local["zero_shot"]
    assert same(tmp_path / "local.h5", tmp_path / "far.h5")


def test_a_table_and_its_images_at_an_address_give_the_cache_of_local_ones(
    memory, tiny_weights, tmp_path
):
    folder = write_table(tmp_path / "data", 24)
    options = {"model": "tiny", "pretrained": str(tiny_weights)}
    extract(table=folder / "images.csv", out=tmp_path / "local.h5", **options)
    put(folder, memory)
    table = Path(f"{memory}/images.csv")  # which has one slash only, as from the command line
    extract(table=table, out=tmp_path / "far.h5", **options)
    assert same(tmp_path / "local.h5", tmp_path / "far.h5")
    assert load_cache(tmp_path / "far.h5").provenance["origin"]["root"] == memory


@pytest.mark.parametrize(
    ("protocol", "root"), [("gs", "gs://bucket/data"), ("hf", "hf://datasets/USER/NAME/data")]
)
def test_other_protocols_take_the_same_way(protocol, root, registered, tiny_weights, tmp_path):
    files = registered(protocol)
    options = {"model": "tiny", "pretrained": str(tiny_weights), "batch_size": 16}
    folder, tars = write_table(tmp_path / "data", 24), write_tars(tmp_path / "tars", 24, 1)
    put(folder, root)
    put(tars, f"{root}/tars")
    assert all(name.startswith("/" + root.partition("://")[2]) for name in files.store)
    for name, local, far in (
        ("table", folder / "images.csv", f"{root}/images.csv"),
        ("tar", tars, f"{root}/tars"),
    ):
        for place, source in (("local", local), ("far", far)):
            what = {"table": source} if name == "table" else {"dataset": "tar", "root": source}
            extract(out=tmp_path / f"{name}-{place}.h5", **what, **options)
        assert same(tmp_path / f"{name}-local.h5", tmp_path / f"{name}-far.h5")
    assert files.retries == {"gs": 1, "hf": 6}[protocol]  # `attempt` tries again in its place
    files.store.clear()
    with pytest.raises(UserError, match=rf"{root}/tars/\*\.tar is not there"):
        load_dataset("tar", root=f"{root}/tars")


def test_class_folders_at_an_address_give_the_data_set_of_local_ones(server, tmp_path):
    write_table(tmp_path / "data", 24)
    root = tmp_path / "data" / "photos"
    (root / "1" / "deep").mkdir()
    (root / "1" / "21.png").rename(root / "1" / "deep" / "B.PNG")
    (root / "split.json").write_text('{"unseen": ["1"]}')
    with s3_server.logged_in(server):
        put(root, "s3://bucket/photos")
        fsspec.filesystem("s3").pipe_file(
            "s3://bucket/photos/1/", b""
        )  # as some tools mark folders
        far = load_dataset(
            "folder", root="s3://bucket/photos", splits="s3://bucket/photos/split.json"
        )
        local = load_dataset("folder", root=root, splits=root / "split.json")
        assert far.paths == local.paths and far.split_hash == local.split_hash
        assert far.reader("1/deep/B.PNG").tobytes() == local.reader("1/deep/B.PNG").tobytes()


@pytest.mark.slow
def test_5000_images_and_50_broken_connections(server, tiny_weights, tmp_path):
    tars = write_tars(tmp_path / "tars", 5000, 5)
    options = {"model": "tiny", "pretrained": str(tiny_weights)}
    extract("tar", tars, out=tmp_path / "local.h5", **options)
    with s3_server.logged_in(server):
        put(tars, "s3://bucket/many")
    with s3_server.Proxy(server, 50, 300_000) as proxy, s3_server.logged_in(proxy.port):
        extract("tar", "s3://bucket/many", out=tmp_path / "far.h5", **options)
        assert not proxy.drops
    assert same(tmp_path / "local.h5", tmp_path / "far.h5")


@pytest.mark.slow
def test_worker_processes_read_from_the_server_and_parts_are_put_up(
    server, tiny_weights, tmp_path, monkeypatch
):
    tars = write_tars(tmp_path / "tars", 96, 3)
    options = {"model": "tiny", "pretrained": str(tiny_weights), "batch_size": 8}
    extract("tar", tars, out=tmp_path / "local.h5", **options)
    monkeypatch.chdir(tmp_path)
    with s3_server.logged_in(server):
        put(tars, "s3://bucket/few")
        out = "s3://bucket/caches/far.h5"
        result = extract("tar", "s3://bucket/few", out=out, devices=["cpu", "cpu"], **options)
        assert result["cache"] == out and RemotePath(out).is_file()
    assert same(tmp_path / "local.h5", tmp_path / "cache" / "far.h5")


# --- caches at addresses -------------------------------------------------------------------------


def test_parts_are_put_up_when_whole_and_merged_from_there(
    memory, tiny_weights, tmp_path, monkeypatch, capsys
):
    tars = write_tars(tmp_path / "tars", 48, 1)
    options = {"model": "tiny", "pretrained": str(tiny_weights), "batch_size": 16}
    extract("tar", tars, out=tmp_path / "local.h5", **options)
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        extract("tar", tars, out=f"{memory}/far.h5", shard=f"{number}/2", **options)
        assert RemotePath(f"{memory}/far.part-{number}-of-2.h5").is_file()
        (tmp_path / "cache" / f"far.part-{number}-of-2.h5").unlink()
    assert capsys.readouterr().err.count("are uploaded from") == 2
    again = extract("tar", tars, out=f"{memory}/far.h5", shard="2/2", **options)
    assert again["encoded"] == 0 and "are downloaded to" in capsys.readouterr().err
    merged = merge([f"{memory}/far.part-*-of-2.h5"], tmp_path / "merged.h5")
    assert merged["images"] == 48 and same(tmp_path / "local.h5", tmp_path / "merged.h5")
    capsys.readouterr()
    merge([f"{memory}/far.part-*-of-2.h5"], tmp_path / "merged.h5", overwrite=True)
    assert "fetched" not in capsys.readouterr().err  # copies of that size and time are there
    assert merge([], f"{memory}/far.h5")["cache"] == f"{memory}/far.h5"
    assert RemotePath(f"{memory}/far.h5").is_file()
    fsspec.filesystem("memory").pipe(f"{memory}/far.h5", b"somebody else's")
    with pytest.raises(UserError, match=r"far\.h5 exists already: replace it with --overwrite"):
        merge([], f"{memory}/far.h5")
    assert RemotePath(f"{memory}/far.h5").read_bytes() == b"somebody else's"
    capsys.readouterr()
    merge([], f"{memory}/far.h5", overwrite=True)
    assert same(tmp_path / "local.h5", tmp_path / "cache" / "far.h5")
    with pytest.raises(UserError, match="no such file"):
        merge([f"{memory}/other.part-*.h5"], tmp_path / "none.h5")


# --- what goes wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize("theirs", [b"of another size", b"mine!"])
def test_a_file_of_ones_own_is_not_replaced_by_a_fetched_one(memory, tmp_path, monkeypatch, theirs):
    monkeypatch.chdir(tmp_path)
    mine = tmp_path / "cache" / "pets.h5"
    mine.parent.mkdir()
    mine.write_bytes(b"mine.")
    os.utime(mine, (1e9, 1e9))
    fsspec.filesystem("memory").pipe(f"{memory}/pets.h5", theirs)
    told = rf"cache.pets\.h5 exists, and is not the file at {memory}/pets\.h5: move it away"
    with pytest.raises(UserError, match=told):
        extract("shapes", out=f"{memory}/pets.h5")
    with pytest.raises(UserError, match=told):
        merge([f"{memory}/*.h5"], tmp_path / "cache" / "all.h5")
    assert mine.read_bytes() == b"mine." and [*mine.parent.iterdir()] == [mine]


def test_what_was_put_up_from_here_is_taken_for_its_copy(memory, tmp_path):
    file = tmp_path / "part.h5"
    file.write_bytes(b"mine.")
    os.utime(file, (1e9, 1e9))
    upload(file, RemotePath(f"{memory}/part.h5"))
    assert local_copies([f"{memory}/part.h5"], tmp_path) == [file]


def test_a_tar_file_that_is_replaced_after_it_was_listed_ends_in_one_line(memory, tmp_path):
    tars = write_tars(tmp_path / "tars", 8, 1)
    put(tars, memory)
    data = load_dataset("tar", root=memory)
    assert data.reader(data.paths[3]).size == (32, 32)
    put(write_tars(tmp_path / "new" / "tars", 10, 1), memory)
    for reader in (data.reader, pickle.loads(pickle.dumps(data.reader))):
        reader.fetch_ahead(data.paths[3:5])
        with pytest.raises(RemoteError, match="was replaced while it was read") as caught:
            reader(data.paths[3])
        assert "\n" not in str(caught.value) and "data-000.tar" in str(caught.value)


def test_a_replaced_tar_file_stops_stage_one_instead_of_being_skipped(
    memory, tiny_weights, tmp_path, monkeypatch
):
    put(write_tars(tmp_path / "tars", 40, 1), memory)
    read, seen = RemotePath.read, []

    def replacing(path, start, stop, check=True):
        if check and path.suffix == ".tar" and not seen:  # the first images after the headers
            seen.append(start)
            put(write_tars(tmp_path / "new" / "tars", 41, 1), memory)
        return read(path, start, stop, check)

    monkeypatch.setattr(RemotePath, "read", replacing)
    options = {"model": "tiny", "pretrained": str(tiny_weights), "batch_size": 8, "workers": 1}
    with pytest.raises(RemoteError, match="--overwrite"):
        extract("tar", memory, out=tmp_path / "x.h5", on_error="skip", **options)
    assert not (tmp_path / "x.h5").exists()


def test_an_image_that_is_gone_is_like_an_unreadable_one(memory, tiny_weights, tmp_path):
    put(write_table(tmp_path / "data", 16), memory)
    data = load_dataset("table", table=f"{memory}/images.csv")
    fsspec.filesystem("memory").rm(f"{memory}/photos/1/3.png")
    with pytest.raises(FileNotFoundError):
        data.reader("photos/1/3.png")
    options = {"model": "tiny", "pretrained": str(tiny_weights), "out": tmp_path / "x.h5"}
    with pytest.raises(UserError, match=r"1 of 16 images are not below memory://.*photos/1/3.png"):
        extract(table=f"{memory}/images.csv", **options)
    assert extract(table=f"{memory}/images.csv", on_error="skip", **options)["images"] == 15


def test_missing_buckets_and_files_are_named(server, tmp_path):
    with s3_server.logged_in(server):
        for root in ("s3://nowhere/tars", "s3://bucket/none.tar", "s3://bucket/d-{0..2}.tar"):
            with pytest.raises(UserError, match="is not there") as caught:
                load_dataset("tar", root=root)
            assert root in str(caught.value) and "\n" not in str(caught.value)
        with pytest.raises(UserError, match=r"s3://bucket/none.csv can't be read: no such file"):
            load_dataset("table", table="s3://bucket/none.csv")
        put(write_table(tmp_path / "data", 8), "s3://bucket/table")
        with pytest.raises(UserError, match="s3://bucket/none is not a folder"):
            load_dataset("table", table="s3://bucket/table/images.csv", root="s3://bucket/none")


def test_a_server_that_is_gone_and_a_login_that_is_missing_end_in_one_line(server, monkeypatch):
    silent = pytest.raises(RemoteError, match=r"s3://bucket/a.tar: no answer after 4 attempts")
    with s3_server.Proxy(server, 10**6, 1) as proxy, s3_server.logged_in(proxy.port), silent:
        load_dataset("tar", root="s3://bucket/a.tar")
    with s3_server.logged_in(server):
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        with pytest.raises(RemoteError, match=r"access denied .*aws configure.*AWS_ENDPOINT_URL"):
            load_dataset("tar", root="s3://bucket/a.tar")


@pytest.mark.parametrize(("protocol", "client"), [("s3", "s3fs"), ("gs", "gcsfs")])
def test_without_the_extra_one_line_names_it(protocol, client, pzsl, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, client, None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, protocol, raising=False)
    for words in (
        ("extract", "--dataset", "tar", "--root", f"{protocol}://bucket/tars"),
        ("extract", "--table", f"{protocol}://bucket/images.csv"),
        ("extract", "--out", f"{protocol}://bucket/x.h5"),
        ("merge", f"{protocol}://bucket/x.part-1-of-2.h5", "--out", "x.h5"),
    ):
        code, out, err = pzsl(*words)
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert f"{protocol}://bucket" in err and "pip install 'pzsl[remote]'" in err


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("hf://datasets/a/b/x.tar", "huggingface_hub"),
        ("abfs://store/x.tar", "adlfs"),
        ("sftp://host/x.tar", "paramiko"),
    ],
)
def test_a_client_beyond_the_extra_is_named_with_how_to_get_it(address, client, monkeypatch):
    protocol = address.partition(":")[0]
    monkeypatch.setitem(sys.modules, client, None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, protocol, raising=False)
    with pytest.raises(UserError, match=rf"{protocol}:// needs a client: .*pip install {client}"):
        as_path(address)


def test_an_unknown_protocol_is_named():
    with pytest.raises(UserError, match=r"nosuch://bucket/x can't be read: Protocol not known"):
        as_path("nosuch://bucket/x")


# --- paths and ranges ----------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["photos", "/data/a b.tar", "C:/photos", "s3", "nosuch:/x", "a:b"])
def test_paths_of_a_disk_stay_paths(text):
    assert type(as_path(text)) is type(Path()) and as_path(text) == Path(text)
    assert as_path(Path(text)) == Path(text)


def test_an_address_survives_path_and_pickle(memory):
    fsspec.filesystem("memory").pipe_file(f"{memory}/a/b.bin", b"0123456789")
    path = as_path(Path(f"{memory}/a")) / "b.bin"
    assert str(path) == f"{memory}/a/b.bin" and path.name == "b.bin"
    assert path.info.size == 10 and path.parent.is_dir()
    again = pickle.loads(pickle.dumps(path))
    assert again == path and again.info == path.info
    with pytest.raises(TypeError, match="not a path on a disk"):
        open(path)  # noqa: PTH123, SIM115


def test_reading_a_file_in_order_takes_few_requests(memory, monkeypatch):
    content = np.random.default_rng(0).bytes(100_000)
    fsspec.filesystem("memory").pipe_file(f"{memory}/x", content)
    monkeypatch.setattr("pzsl.remote.paths.BLOCK", 1 << 14)
    path, starts = as_path(f"{memory}/x"), []
    read = RemotePath.read
    monkeypatch.setattr(RemotePath, "read", lambda *a, **how: starts.append(a[1]) or read(*a))
    with path.open("rb") as file:
        assert file.read(100) == content[:100]
        file.seek(10_000)
        assert file.read(50) == content[10_000:10_050]
        file.seek(90_000)
        assert file.read(50) == content[90_000:90_050]
        file.seek(-10, io.SEEK_END)
        assert file.read() == content[-10:]
    assert starts[:2] == [0, 90_000]


def test_neighbours_are_fetched_together_and_give_their_own_bytes(memory):
    content = np.random.default_rng(0).bytes(1 << 20)
    for name in "ab":
        fsspec.filesystem("memory").pipe_file(f"{memory}/{name}", content)
    a, b = as_path(f"{memory}/a"), as_path(f"{memory}/b")
    parts = [Range(a, 0, 100), Range(a, 600, 900), Range(a, 500_000, 500_001), Range(b, 900, 901)]
    parts += [Range(b, 10, 20), Range(b, 20, 20)]
    assert [len(group) for group in group_neighbours(parts)] == [2, 1, 1, 2]
    ahead = ReadAhead()
    ahead.fetch(parts)
    for part in [*parts, Range(b, 5, 50)]:
        assert ahead.read(part) == content[part.start : part.stop]


def test_local_data_load_no_client():
    code = (
        "import sys; from pzsl.datasets.own import load_tar;"
        "from pzsl.remote import as_path; as_path('photos'); print('fsspec' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.lower()) is False
