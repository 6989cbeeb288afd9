"""Images in tar files: read in place, by id, from any process."""

from __future__ import annotations

import io
import json
import pickle
import tarfile

import numpy as np
import pytest
from PIL import Image

from pzsl.datasets import load_dataset
from pzsl.errors import UsageError, UserError
from pzsl.extraction import extract
from pzsl.store import load_cache

COLOURS = {"red fox": (200, 60, 20), "dingo": (180, 150, 90), "snow leopard": (220, 220, 230)}


def picture(colour, seed):
    noise = np.random.default_rng(seed).integers(-20, 20, (40, 50, 3))
    file = io.BytesIO()
    Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def write_tar(path, files):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def samples(first, count, label=None, suffix="cls"):
    """Files of some images; their labels go round the three classes."""
    for number in range(first, first + count):
        name = list(COLOURS)[number % 3]
        told = str(label(number) if label else name)
        yield f"{number:04d}.png", picture(COLOURS[name], number)
        yield f"{number:04d}.{suffix}", told.encode()


@pytest.fixture
def tars(tmp_path):
    for number in range(3):
        write_tar(tmp_path / "tars" / f"data-{number:03d}.tar", samples(20 * number, 20))
    return tmp_path / "tars"


def test_images_are_found_and_read_in_place(tars):
    data = load_dataset("tar", root=tars)
    assert len(data.paths) == 60
    assert data.paths[0] == "data-000.tar/0000.png"
    assert data.classes == tuple(sorted(COLOURS))
    reader = pickle.loads(pickle.dumps(data.reader))
    for row in (0, 21, 59):
        name = data.classes[data.labels[row]]
        pixels = np.asarray(reader(data.paths[row]))
        assert np.abs(pixels.mean(axis=(0, 1)) - COLOURS[name]).max() < 10
    assert (~data.seen).sum() == 1
    assert set(data.splits) == {"trainval", "test_seen", "test_unseen"}
    assert sorted(path.name for path in tars.iterdir()) == [f"data-00{n}.tar" for n in range(3)]


def test_candidates_of_annotations_are_reported_to_be_left_out(tmp_path, capsys):
    names = list(COLOURS)
    files = dict(samples(0, 6))
    for number in (1, 4):
        told = {"Candidates": names, "label": names[1]}
        files[f"{number:04d}.json"] = json.dumps(told).encode()
    write_tar(tmp_path / "x.tar", files.items())
    assert load_dataset("tar", root=tmp_path / "x.tar").candidates is None
    told = capsys.readouterr().err
    assert "left out: the candidates of 2 images, such as 'x.tar/0001.png'" in told


def test_a_pattern_a_folder_and_a_file_name_tar_files(tars):
    whole = load_dataset("tar", root=tars)
    pattern = load_dataset("tar", root=tars / "data-{000..002}.tar")
    assert pattern.split_hash == whole.split_hash
    assert len(load_dataset("tar", root=tars / "data-{001..002}.tar").paths) == 40
    assert len(load_dataset("tar", root=tars / "data-001.tar").paths) == 20


def test_labels_may_be_numbers_of_listed_classes(tars, tmp_path, capsys):
    for file in tars.iterdir():
        file.unlink()
    write_tar(tars / "a.tar", samples(0, 30, label=lambda number: number % 3))
    with pytest.raises(UserError, match="numbers: give the class names"):
        load_dataset("tar", root=tars)
    (tmp_path / "names.txt").write_text("\n".join(COLOURS))
    given = load_dataset("tar", root=tars, classes=tmp_path / "names.txt")
    assert given.classes == tuple(COLOURS)
    assert given.labels.tolist() == [number % 3 for number in range(30)]
    (tars / "classnames.txt").write_text("\n".join(COLOURS))
    assert load_dataset("tar", root=tars).split_hash == given.split_hash
    assert "label no image" not in capsys.readouterr().err
    (tars / "classnames.txt").write_text("\n".join([*COLOURS, "wolf"]))
    assert not load_dataset("tar", root=tars).seen[3]
    told = "1 of 4 classes of " + str(tars / "classnames.txt") + " label no image, such as 'wolf'"
    assert told in capsys.readouterr().err


def test_json_tells_label_and_split(tars):
    def told(number):
        split = "test_unseen" if number % 3 == 2 else ("trainval", "test_seen")[number % 2]
        return json.dumps({"label": list(COLOURS)[number % 3], "split": split})

    write_tar(tars / "b.tar", samples(0, 12, label=told, suffix="json"))
    data = load_dataset("tar", root=tars / "b.tar")
    assert [name for name, seen in zip(data.classes, data.seen, strict=True) if not seen] == [
        "snow leopard"
    ]
    assert data.splits.tolist().count("test_unseen") == 4


def test_the_whole_way_from_tar_files_to_a_cache(tars, tiny_weights, tmp_path):
    result = extract("tar", tars, "tiny", str(tiny_weights), tmp_path / "x.h5", batch_size=8)
    cache = load_cache(result["cache"])
    assert (result["images"], result["classes"], result["failed"]) == (60, 3, [])
    assert cache.paths[25] == "data-001.tar/0025.png"


def test_a_broken_image_in_a_tar_file_is_named(tars, tiny_weights, tmp_path):
    files = dict(samples(0, 12))
    files["0004.png"] = files["0004.png"][:100]
    write_tar(tars / "c.tar", files.items())
    options = {"model": "tiny", "pretrained": str(tiny_weights), "on_error": "skip"}
    result = extract("tar", tars / "c.tar", out=tmp_path / "x.h5", **options)
    assert [row["path"] for row in result["failed"]] == ["c.tar/0004.png"]


def test_a_tar_file_cut_short_after_it_was_listed_is_named(tars):
    data = load_dataset("tar", root=tars)
    file = tars / "data-002.tar"
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(OSError, match="cut short"):
        data.reader(data.paths[-1])


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([("a.png", b"x")], "has no label"),
        ([("a.png", b"x"), ("a.json", b"[]")], "not a JSON object"),
        ([("a.png", b"x"), ("a.json", b"{")], "can't be read"),
        ([("a.png", b"x"), ("a.json", b'{"label": true}')], "has no label"),
        ([("a.png", b"x"), ("a.jpg", b"x"), ("a.cls", b"y")], "second image"),
        ([("a.txt", b"x")], "hold no image"),
        ([("a.png", b"x"), ("a.cls", b"fox"), ("b.png", b""), ("b.cls", b"9")], None),
    ],
)
def test_what_is_not_as_it_should_be_is_reported_in_one_line(tmp_path, files, message):
    write_tar(tmp_path / "x.tar", files)
    if message is None:  # one name and one number: the number is a name, too
        files += [(f"{n}.cls", b"fox") for n in range(3)] + [(f"{n}.png", b"") for n in range(3)]
        write_tar(tmp_path / "x.tar", files)
        assert load_dataset("tar", root=tmp_path, unseen=0).classes == ("9", "fox")
        return
    with pytest.raises(UserError, match=message) as caught:
        load_dataset("tar", root=tmp_path)
    assert "\n" not in str(caught.value)


def test_links_and_paths_that_lead_away_are_never_followed(tmp_path):
    (tmp_path / "secret.png").write_bytes(picture((1, 2, 3), 0))
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for kind, target in ((tarfile.SYMTYPE, "secret.png"), (tarfile.LNKTYPE, "secret.png")):
            entry = tarfile.TarInfo(f"link{kind.decode()}.png")
            entry.type, entry.linkname = kind, str(tmp_path / target)
            archive.addfile(entry)
        for name, content in [("../../up.png", picture((9, 9, 9), 1)), ("../../up.cls", b"a")]:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        for name, content in samples(0, 12):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    data = load_dataset("tar", root=tmp_path / "x.tar", unseen=0.25)
    assert len(data.paths) == 13  # the one of the strange name is read in place, like all
    assert data.reader(data.paths[0]).size == (50, 40)


@pytest.mark.parametrize("damage", ["missing", "gzip", "cut", "empty folder"])
def test_a_missing_or_damaged_tar_file_is_named(tars, tmp_path, damage):
    root = tars
    if damage == "missing":
        root = tars / "data-{000..005}.tar"
    elif damage == "gzip":
        with tarfile.open(tars / "data-001.tar", "w:gz"):
            pass
    elif damage == "cut":
        (tars / "data-001.tar").write_bytes((tars / "data-001.tar").read_bytes()[:700])
    else:
        root = tmp_path / "nothing"
        root.mkdir()
    with pytest.raises(UserError, match=r"data-003.tar is not there|data-001.tar|\*.tar is not"):
        load_dataset("tar", root=root)


# --- what `tarfile` passes over in silence -------------------------------------------------------


def header_of(file, name):
    with tarfile.open(file) as archive:
        return archive.getmember(name).offset


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("flip", "bad checksum"),
        ("cut in a header", "truncated header"),
        ("cut between files", "the mark of its end is missing"),
        ("zeros", "goes on after the mark"),
        ("joined", "goes on after the mark"),
        ("allocated", "goes on after the mark"),
    ],
)
def test_a_tar_file_that_ends_in_its_midst_is_refused(tars, damage, reason):
    file = tars / "data-001.tar"
    content, start = bytearray(file.read_bytes()), header_of(file, "0032.png")
    if damage == "flip":
        content[start + 148] ^= 1
    elif damage.startswith("cut"):
        del content[start + (200 if damage == "cut in a header" else 0) :]
    elif damage == "zeros":
        content[start : start + 512] = bytes(512)
    else:
        content += (tars / "data-002.tar").read_bytes() if damage == "joined" else bytes(5 << 20)
    file.write_bytes(content)
    with pytest.raises(UserError, match=rf"data-001\.tar is no whole, .*{reason}.*fetch it again"):
        load_dataset("tar", root=tars)


@pytest.mark.parametrize("zeros", [512, 1024, 1 << 20])
def test_any_usual_end_of_a_tar_file_will_do(tars, zeros):
    file = tars / "data-002.tar"
    with tarfile.open(file) as archive:
        end = archive.getmembers()[-1].offset_data + 512
    file.write_bytes(file.read_bytes()[:end] + bytes(zeros))
    assert len(load_dataset("tar", root=tars).paths) == 60


def test_what_is_left_out_of_tar_files_is_counted(tars, capsys):
    load_dataset("tar", root=tars)
    assert capsys.readouterr().err == ""
    (tars / "data-000.tar").rename(tars / "DATA-000.TAR")
    (tars / "data-003.tar.gz").write_bytes(b"")
    (tars / "._data-000.tar").write_bytes(b"left behind by a program")
    (tars / "classnames.txt").write_text("\n".join(COLOURS))
    files = [
        *samples(60, 3),
        ("60.HEIC", b""),
        ("60.cls", b"dingo"),
        ("READ", b""),
        ("._a.png", b""),
    ]
    write_tar(tars / "more.tar", files)
    with tarfile.open(tars / "more.tar", "a") as archive:
        entry = tarfile.TarInfo("link.png")
        entry.type, entry.linkname = tarfile.LNKTYPE, "0060.png"
        archive.addfile(entry)
    assert len(load_dataset("tar", root=tars).paths) == 63
    told = capsys.readouterr().err.splitlines()
    assert f"Folder '{tars}': left out: 1 file of other kinds (1 .gz)." in told
    assert any("In the tar files" in line and "(1 .heic, 1 without" in line for line in told)
    assert any("1 link or sparse file, such as 'more.tar/link.png'" in line for line in told)
    assert any(
        "1 annotation without an image, such as that of 'more.tar/60'" in line for line in told
    )


def test_shares_of_a_split_that_the_images_give_mean_nothing(tmp_path, capsys):
    def told(number):
        split = "test_unseen" if number % 3 == 2 else "trainval"
        return json.dumps({"label": list(COLOURS)[number % 3], "split": split})

    write_tar(tmp_path / "a.tar", samples(0, 12, label=told, suffix="json"))
    load_dataset("tar", root=tmp_path / "a.tar")
    assert "nothing here" not in capsys.readouterr().err
    load_dataset("tar", root=tmp_path / "a.tar", unseen=0.5, test=0.4, seed=7)
    told_text = capsys.readouterr().err
    assert "--split-seed, --unseen, --test-share mean nothing here: the images" in told_text
    with pytest.raises(UsageError, match="--unseen is a share"):
        load_dataset("tar", root=tmp_path / "a.tar", unseen=1.5)


def test_a_label_of_thousands_of_digits_is_none_of_the_classes(tmp_path):
    files = dict(samples(0, 12, label=lambda number: number % 3))
    files["0000.cls"] = b"9" * 5000
    write_tar(tmp_path / "a.tar", files.items())
    (tmp_path / "classnames.txt").write_text("\n".join(COLOURS))
    with pytest.raises(UserError, match=r"has the label '9{60}', which is none of the 3 classes"):
        load_dataset("tar", root=tmp_path / "a.tar")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_a_list_of_classes_may_have_the_encodings_of_a_table(tmp_path, encoding):
    write_tar(tmp_path / "a.tar", samples(0, 12, label=lambda number: number % 3))
    (tmp_path / "names.txt").write_text("bécasse\r\nrock  &amp; roll\r\nowl\r\n", encoding)
    data = load_dataset("tar", root=tmp_path / "a.tar", classes=tmp_path / "names.txt")
    assert data.classes == ("bécasse", "rock & roll", "owl")
