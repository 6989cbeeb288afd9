"""Fetching against a server on 127.0.0.1 that drops, lies, refuses and sends hostile archives."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import tarfile
import threading
import zipfile
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from standin import plant, write_splits

from pzsl.datasets import describe, load_dataset
from pzsl.datasets.fetching import download as download_module
from pzsl.datasets.fetching import fetch_dataset as fetch
from pzsl.datasets.fetching.archives import unpack
from pzsl.datasets.fetching.download import download
from pzsl.datasets.fetching.fetch_dataset import RECORD
from pzsl.datasets.fetching.publishers import PUBLICATIONS, Download, Publication
from pzsl.errors import UsageError, UserError

CONTENT = np.random.default_rng(0).bytes(700_000)
quick = partial(download, pause=0.0, timeout=5.0)


# --- the server ----------------------------------------------------------------------------------


@dataclass
class Served:
    """A file on the server, and how the server misbehaves.

    Attributes:
        content: bytes of the file.
        drops: after how many bytes each of the first answers is cut off.
        ranges: whether parts can be asked for.
        tag: ETag, '' for none.
        status: of every answer; 0 for the right one.
        kind: Content-Type.
        length: whether the length is told.
        asked: the Range of each request, None where there was none.
    """

    content: bytes
    drops: list[int] = field(default_factory=list)
    ranges: bool = True
    tag: str = '"1"'
    status: int = 0
    kind: str = "application/octet-stream"
    length: bool = True
    asked: list[str | None] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    served: dict[str, Served]

    def do_GET(self):
        one = self.served.get(self.path)
        if one is None:
            return self.send_error(404)
        asked = self.headers.get("Range")
        one.asked.append(asked)
        if one.status:
            return self.send_error(one.status)
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and one.ranges else 0
        if self.headers.get("If-Range", one.tag) != one.tag:
            start = 0
        total = len(one.content)
        if start >= total:
            return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        if one.tag:
            self.send_header("ETag", one.tag)
        if one.length:
            self.send_header("Content-Length", str(total - start))
        self.send_header("Content-Type", one.kind)
        self.end_headers()
        until = start + one.drops.pop(0) if one.drops else total
        self.wfile.write(one.content[start:until])
        return None

    def log_message(self, *words):
        pass


@pytest.fixture
def server(monkeypatch):
    """A dictionary of what is served, and the server's address."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    served: dict[str, Served] = {}
    handler = type("OneHandler", (Handler,), {"served": served})
    machine = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=machine.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield served, f"http://127.0.0.1:{machine.server_address[1]}"
    machine.shutdown()
    machine.server_close()
    thread.join()


def left(folder: Path) -> set[str]:
    """Names of what lies in a folder, locks aside."""
    return {path.name for path in folder.iterdir() if not path.name.endswith(".lock")}


# --- downloading ---------------------------------------------------------------------------------


def test_a_file_arrives_whole(server, tmp_path):
    served, address = server
    served["/a.zip"] = Served(CONTENT)
    quick(f"{address}/a.zip", tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert left(tmp_path) == {"a.zip"}


@pytest.mark.parametrize("tag", ['"1"', ""])
def test_a_dropped_connection_is_gone_on_with_where_it_broke(server, tmp_path, capsys, tag):
    served, address = server
    served["/a.zip"] = one = Served(CONTENT, drops=[300_000, 200_000], tag=tag)
    quick(f"{address}/a.zip", tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert one.asked == [None, "bytes=300000-", "bytes=500000-"]
    assert "resuming at byte 300000" in capsys.readouterr().err


def test_a_server_without_ranges_is_asked_again_from_the_start(server, tmp_path):
    served, address = server
    served["/a.zip"] = Served(CONTENT, drops=[300_000, 100_000], ranges=False)
    quick(f"{address}/a.zip", tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_a_server_that_always_drops_is_given_up_and_what_came_is_kept(server, tmp_path):
    served, address = server
    served["/a.zip"] = Served(CONTENT, drops=[300_000] + [0] * 9)
    with pytest.raises(
        UserError, match=r"dropped.*300000 bytes are kept.*again to resume"
    ) as caught:
        quick(f"{address}/a.zip", tmp_path / "a.zip", tries=3)
    assert "\n" not in str(caught.value)
    assert left(tmp_path) == {"a.zip.part", "a.zip.part.json"}
    served["/a.zip"] = one = Served(CONTENT)
    quick(f"{address}/a.zip", tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT and one.asked == ["bytes=300000-"]


def test_a_file_that_changed_meanwhile_is_fetched_anew(server, tmp_path):
    served, address = server
    served["/a.zip"] = Served(CONTENT, drops=[300_000, 0, 0])
    with pytest.raises(UserError):
        quick(f"{address}/a.zip", tmp_path / "a.zip", tries=1)
    other = CONTENT[::-1][:600_000]
    served["/a.zip"] = Served(other, tag='"2"')
    quick(f"{address}/a.zip", tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == other


def test_without_a_tag_another_length_gives_the_change_away(server, tmp_path):
    served, address = server
    served["/a.zip"] = Served(CONTENT, drops=[300_000, 0, 0], tag="")
    with pytest.raises(UserError):
        quick(f"{address}/a.zip", tmp_path / "a.zip", tries=1)
    other = CONTENT[::-1][:600_000]
    served["/a.zip"] = Served(other, tag="")
    quick(f"{address}/a.zip", tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == other


def test_a_half_file_of_another_address_is_not_gone_on_with(server, tmp_path):
    served, address = server
    served["/old/a.zip"] = Served(CONTENT, drops=[300_000, 0, 0])
    with pytest.raises(UserError):
        quick(f"{address}/old/a.zip", tmp_path / "a.zip", tries=1)
    served["/new/a.zip"] = one = Served(CONTENT[::-1])
    quick(f"{address}/new/a.zip", tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT[::-1] and one.asked == [None]


def test_a_download_that_was_killed_before_the_last_step_needs_no_byte_more(server, tmp_path):
    served, address = server
    served["/a.zip"] = Served(CONTENT)
    (tmp_path / "a.zip.part").write_bytes(CONTENT)
    notes = {"url": f"{address}/a.zip", "length": len(CONTENT), "validator": '"1"'}
    (tmp_path / "a.zip.part.json").write_text(json.dumps(notes), "utf-8")
    quick(f"{address}/a.zip", tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT and left(tmp_path) == {"a.zip"}


def test_half_files_with_damaged_notes_are_begun_anew(server, tmp_path):
    served, address = server
    served["/a.zip"] = one = Served(CONTENT)
    (tmp_path / "a.zip.part").write_bytes(b"something else")
    (tmp_path / "a.zip.part.json").write_text("[", "utf-8")
    quick(f"{address}/a.zip", tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT and one.asked == [None]


@pytest.mark.parametrize(("status", "asked"), [(404, 1), (403, 1), (503, 3)])
def test_refusals_are_one_line_and_only_passing_ones_are_tried_again(
    server, tmp_path, status, asked
):
    served, address = server
    served["/a.zip"] = one = Served(CONTENT, status=status)
    with pytest.raises(UserError, match=f"the server answers {status}") as caught:
        quick(f"{address}/a.zip", tmp_path / "a.zip", tries=3)
    assert "\n" not in str(caught.value) and len(one.asked) == asked
    assert not left(tmp_path)


def test_a_web_page_is_not_taken_for_the_file(server, tmp_path):
    served, address = server
    served["/a.zip"] = Served(b"<html>Please sign in</html>", kind="text/html; charset=utf-8")
    with pytest.raises(UserError, match="a web page instead of the file"):
        quick(f"{address}/a.zip", tmp_path / "a.zip")
    assert not left(tmp_path)


def test_a_server_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(UserError, match="can't be reached"):
        quick("http://127.0.0.1:9/a.zip", tmp_path / "a.zip", tries=2)
    assert not left(tmp_path)


def test_a_full_disk_is_no_dropped_connection(server, tmp_path, monkeypatch):
    served, address = server
    served["/a.zip"] = one = Served(CONTENT)

    def full(*_):
        raise OSError(28, "No space left on device", "a.zip.part")

    monkeypatch.setattr(download_module.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        quick(f"{address}/a.zip", tmp_path / "a.zip")
    assert len(one.asked) == 1 and "a.zip" not in left(tmp_path)


# --- unpacking -----------------------------------------------------------------------------------


def tar(members, **options) -> bytes:
    """A .tar.gz of (name, content or TarInfo)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", **options) as file:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                file.addfile(info, io.BytesIO(content))
            else:
                info.type, info.linkname = content
                file.addfile(info)
    return out.getvalue()


def zipped(members) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members:
            file.writestr(name, content)
    return out.getvalue()


FILES = [("images/a/1.jpg", b"one"), ("images/b/2.jpg", b"two" * 1000)]
HOSTILE = ["../out.txt", "images/../../out.txt", "/tmp/out.txt", "C:/out.txt", "..\\out.txt"]


@pytest.fixture
def place(tmp_path):
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def archive_of(place, content: bytes) -> Path:
    file = place.parent / "a.archive"
    file.write_bytes(content)
    return file


@pytest.mark.parametrize("make", [tar, zipped])
def test_an_archive_is_unpacked_and_replaces_what_was_there(place, make):
    plant(place, ["images/a/1.jpg", "images/a/own.jpg"])
    assert unpack(archive_of(place, make(FILES)), place) == 2
    assert (place / "images/a/1.jpg").read_bytes() == b"one"
    assert (place / "images/b/2.jpg").read_bytes() == b"two" * 1000
    assert (place / "images/a/own.jpg").is_file() and left(place) == {"images"}


@pytest.mark.parametrize("make", [tar, zipped])
def test_only_the_wanted_part_is_unpacked(place, make):
    file = archive_of(place, make(FILES))
    assert unpack(file, place, only="images/b/") == 1
    assert not (place / "images" / "a").exists()
    with pytest.raises(UserError, match="holds no file below images/c/"):
        unpack(file, place, only="images/c/")


@pytest.mark.parametrize("make", [tar, zipped])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_member_that_leads_out_stops_everything(place, make, name):
    file = archive_of(place, make([*FILES, (name, b"evil")]))
    with pytest.raises(UserError, match="leads out of the folder; nothing was unpacked") as caught:
        unpack(file, place)
    assert "\n" not in str(caught.value)
    assert not left(place) and left(place.parent) == {"root", "a.archive"}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize("target", ["/etc/passwd", "../../secret", "images/a"])
def test_links_out_and_links_to_folders_are_refused(place, kind, target):
    members = [*FILES, ("images/a/link", (kind, target))]
    with pytest.raises(UserError, match="a link out of the archive; nothing was unpacked"):
        unpack(archive_of(place, tar(members)), place)
    assert not left(place)


def test_a_file_below_a_link_cannot_escape(place, tmp_path):
    (tmp_path / "outside").mkdir()
    members = [("images", (tarfile.SYMTYPE, "../outside")), ("images/a.jpg", b"evil")]
    with pytest.raises(UserError, match="nothing was unpacked"):
        unpack(archive_of(place, tar(members)), place)
    assert not left(tmp_path / "outside")


def test_links_within_an_archive_become_copies(place):
    members = [*FILES, ("images/a/3.jpg", (tarfile.LNKTYPE, "images/b/2.jpg"))]
    assert unpack(archive_of(place, tar(members)), place) == 3
    copy = place / "images/a/3.jpg"
    assert copy.read_bytes() == b"two" * 1000 and not copy.is_symlink()


def test_links_in_a_circle_and_devices_are_refused(place):
    for content in ((tarfile.SYMTYPE, "x"), (tarfile.CHRTYPE, ""), (tarfile.FIFOTYPE, "")):
        with pytest.raises(UserError, match="nothing was unpacked"):
            unpack(archive_of(place, tar([("x", content)])), place)
    assert not left(place)


def test_a_link_in_a_zip_is_refused(place):
    info = zipfile.ZipInfo("images/link")
    info.external_attr = 0o120777 << 16
    with pytest.raises(UserError, match="is a link; nothing was unpacked"):
        unpack(archive_of(place, zipped([*FILES, (info, b"/etc/passwd")])), place)
    assert not left(place)


@pytest.mark.parametrize("make", [tar, zipped])
@pytest.mark.parametrize("part", [0.0, 0.3, 0.6, 0.95])
def test_a_cut_off_archive_leaves_nothing_behind(place, make, part):
    rng = np.random.default_rng(1)
    content = make([(f"images/{i}.jpg", rng.bytes(5000)) for i in range(20)])
    with pytest.raises(UserError, match=r"not a complete archive.*fetch it again") as caught:
        unpack(archive_of(place, content[: int(len(content) * part)]), place)
    assert "\n" not in str(caught.value) and not left(place)


def test_a_damaged_member_leaves_nothing_behind(place):
    rng = np.random.default_rng(1)
    content = bytearray(zipped([(f"images/{i}.jpg", rng.bytes(5000)) for i in range(20)]))
    content[60_000] ^= 0xFF
    with pytest.raises(UserError, match="not a complete archive"):
        unpack(archive_of(place, bytes(content)), place)
    assert not left(place)


# --- the whole way -------------------------------------------------------------------------------


@pytest.fixture
def published(server, monkeypatch, tmp_path):
    """A small AWA2 on the server: images as a .zip, split files as part of another one."""
    served, address = server
    files = [f"{name}/{name}_{i}.jpg" for name in ("ox", "seal", "mole") for i in range(4)]
    plant(tmp_path / "made", files)
    images = [
        (f"Animals/JPEGImages/{file}", (tmp_path / "made" / file).read_bytes()) for file in files
    ]
    labels = [i // 4 for i in range(12)]
    splits = ["trainval", "trainval", "test_seen", "test_seen"] * 2 + ["test_unseen"] * 4
    prefixed = [f"/BS/data//JPEGImages/{file}" for file in files]
    made = tmp_path / "made" / "splits"
    write_splits(made, prefixed, labels, splits, ["ox", "seal", "mole"], np.eye(3))
    mats = [
        (f"xlsa17/data/AWA2/{name}", (made / name).read_bytes())
        for name in ("att_splits.mat", "res101.mat")
    ]
    served["/images.zip"] = Served(zipped(images))
    served["/xlsa17.zip"] = Served(zipped([*mats, ("xlsa17/data/SUN/att_splits.mat", b"other")]))
    publication = Publication(
        home=f"{address}/home",
        licence="free",
        downloads=(
            Download(f"{address}/images.zip"),
            Download(f"{address}/xlsa17.zip", only="xlsa17/data/AWA2/"),
        ),
    )
    monkeypatch.setitem(PUBLICATIONS, "awa2", publication)
    return served


get = partial(fetch.fetch, "awa2", receive=quick)


def test_what_is_fetched_can_be_loaded(published, tmp_path):
    root = tmp_path / "data" / "awa2"
    result = get(root)
    assert [item["unpacked"] for item in result["files"]] == [12, 2]
    assert all("this one is recorded" in item["checked"] for item in result["files"])
    data = load_dataset("awa2", root=root)
    assert len(data.paths) == 12 and data.classes == ("ox", "seal", "mole")
    assert not (root / "xlsa17" / "data" / "SUN").exists()
    record = json.loads((root / RECORD).read_text("utf-8"))
    content = published["/images.zip"].content
    assert record["images.zip"]["sha256"] == hashlib.sha256(content).hexdigest()


def test_a_second_fetch_asks_for_nothing_even_without_the_archives(published, tmp_path):
    get(tmp_path / "root")
    for name in ("images.zip", "xlsa17.zip"):
        (tmp_path / "root" / name).unlink()
    published.clear()
    assert [item["unpacked"] for item in get(tmp_path / "root")["files"]] == [0, 0]


def test_an_archive_put_there_by_hand_is_taken(published, tmp_path):
    content = published.pop("/images.zip").content
    with pytest.raises(UserError, match=r"404.*By hand: get images.zip as .* put it into .*root"):
        get(tmp_path / "root")
    (tmp_path / "root" / "images.zip").write_bytes(content)
    assert [item["unpacked"] for item in get(tmp_path / "root")["files"]] == [12, 2]


def test_a_wrong_published_checksum_takes_nothing(published, tmp_path, monkeypatch):
    first, second = PUBLICATIONS["awa2"].downloads
    wrong = Download(first.url, checksum=f"md5:{'0' * 32}")
    changed = Publication("home", "free", (wrong, second))
    monkeypatch.setitem(PUBLICATIONS, "awa2", changed)
    with pytest.raises(UserError, match=r"has the md5 [0-9a-f]{32}, but the published one is 000"):
        get(tmp_path / "root")
    assert left(tmp_path / "root") == {"images.zip.wrong"}
    right = Download(first.url, checksum=_md5(published["/images.zip"].content))
    monkeypatch.setitem(PUBLICATIONS, "awa2", Publication("home", "free", (right, second)))
    assert get(tmp_path / "root")["files"][0]["checked"] == "the published checksum"


def _md5(content: bytes) -> str:
    return f"md5:{hashlib.md5(content).hexdigest()}"


def test_a_later_download_is_held_to_the_recorded_checksum(published, tmp_path):
    root = tmp_path / "root"
    get(root)
    record = json.loads((root / RECORD).read_text("utf-8"))
    record["images.zip"]["unpacked"] = []
    (root / RECORD).write_text(json.dumps(record), "utf-8")
    assert get(root)["files"][0]["checked"] == "the recorded checksum"
    (root / RECORD).write_text(json.dumps(record), "utf-8")
    (root / "images.zip").write_bytes(zipped([("Animals/evil.jpg", b"x")]))
    with pytest.raises(UserError, match=r"the recorded one is.*remove its entry from"):
        get(root)
    assert not (root / "Animals" / "evil.jpg").exists()


def test_a_hostile_archive_from_the_server_is_not_recorded(published, tmp_path):
    published["/images.zip"].content = zipped([("../evil.jpg", b"x")])
    with pytest.raises(UserError, match="leads out of the folder"):
        get(tmp_path / "root")
    assert not (tmp_path / "evil.jpg").exists()
    assert left(tmp_path / "root") == {"images.zip"}


def test_a_cut_off_archive_of_the_server_itself_is_not_taken(published, tmp_path):
    published["/images.zip"].content = published["/images.zip"].content[:-50]
    with pytest.raises(UserError, match=r"not a complete archive.*delete it and fetch it again"):
        get(tmp_path / "root")
    assert left(tmp_path / "root") == {"images.zip"}


def test_a_dropped_connection_midway_through_the_whole_fetch(published, tmp_path):
    published["/images.zip"].drops = [1000, 500]
    assert get(tmp_path / "root")["files"][0]["unpacked"] == 12


def test_a_damaged_record_and_a_fetch_under_way_are_reported(published, tmp_path):
    from filelock import FileLock

    root = tmp_path / "root"
    root.mkdir()
    (root / RECORD).write_text("{", "utf-8")
    with pytest.raises(UserError, match="is damaged: remove it"):
        get(root)
    with (
        FileLock(root / f".{RECORD}.lock"),
        pytest.raises(UserError, match=r"Another fetch into .* is under way"),
    ):
        get(root)


def test_only_published_data_sets_can_be_fetched(tmp_path):
    with pytest.raises(UsageError, match="'shapes' is not a published data set"):
        fetch.fetch("shapes", tmp_path)


# --- what is told of the publishers, and the command ---------------------------------------------


@pytest.mark.parametrize("name", PUBLICATIONS)
def test_every_publication_says_where_how_big_and_under_which_licence(name):
    facts = describe(name)
    assert facts["licence"] and facts["home"].startswith("http")
    assert facts["addresses_checked"] == "unknown"
    for item in facts["downloads"]:
        assert re.fullmatch(r"https?://[\w.~/-]+/[\w-]+(\.\w+)+", item["url"])
        assert item["size"]
        assert item["checksum"] is None or re.fullmatch(r"md5:[0-9a-f]{32}", item["checksum"])


def test_the_command_prints_the_list_and_fetches(published, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from pzsl.cli.datasets import app as datasets_app

    run = CliRunner().invoke
    text = run(datasets_app, []).stdout
    for name in ("shapes", "folder", "table", "tar", "sun", "cub", "awa2", "apy", "flo"):
        assert name in text
    listed = json.loads(run(datasets_app, ["--json"]).stdout)["datasets"]
    assert {row["name"] for row in listed} >= {"shapes", "sun", "table"}
    monkeypatch.setattr(download_module.time, "sleep", lambda _: None)
    done = run(datasets_app, ["fetch", "awa2", "--root", str(tmp_path / "r"), "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["files"][0]["unpacked"] == 12


def test_a_gz_tar_without_its_end_is_noticed(place):
    content = gzip.decompress(tar([("images/1.jpg", b"x" * 5000)]))
    with pytest.raises(UserError, match="not a complete archive"):
        unpack(archive_of(place, content[:3000]), place)
    assert not left(place)


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_a_plain_tar_that_ends_in_its_midst_is_noticed(place, damage):
    content = bytearray(gzip.decompress(tar([(f"images/{i}.jpg", b"x" * 512) for i in range(9)])))
    if damage == "cut":
        del content[5 * 1024 :]  # between two members of a header and a block each
    else:
        content[5 * 1024 + 148] ^= 1
    with pytest.raises(UserError, match="not a complete archive"):
        unpack(archive_of(place, bytes(content)), place)
    assert not left(place)
