"""Names that no file can keep, JSON that nests too deep, links that lead round in a circle."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import caches
import numpy as np
import pytest
from PIL import Image

from pzsl.cli.common import complain
from pzsl.datasets import Dataset, load_dataset
from pzsl.datasets.reading import FileReader
from pzsl.errors import UsageError, UserError
from pzsl.exchange import import_npz
from pzsl.files import parse_json, replacing, unfit_text
from pzsl.inference.new_names import new_names
from pzsl.store import CacheWriter

UNFIT = ("a\0b", "\0", "owl\0", "half \ud800")


def pictures(root: Path, names: tuple[str, ...] = ("ash", "elm")) -> Path:
    """A folder of class folders with three small images each."""
    for name in names:
        (root / name).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (8, 8), (number * 80, 9, 200)).save(root / name / f"{number}.png")
    return root


@pytest.mark.parametrize("name", UNFIT)
def test_names_that_no_file_keeps_are_found_in_a_long_list(name):
    names = [*(f"name {row}" for row in range(1000)), name, "\0"]
    row, fault = unfit_text(names)
    assert row == 1000 and fault in ("a zero byte", "a character that is no Unicode")
    assert unfit_text(names[:1000]) is None
    assert unfit_text(["weißer Hund", "鳥", "🦉"]) is None


@pytest.mark.parametrize("name", UNFIT)
@pytest.mark.parametrize("field", ["classes", "paths", "templates"])
def test_a_writer_refuses_them_before_anything_is_encoded(tmp_path, field, name):
    head = caches.header()
    names = [*getattr(head, field)[:-1], name]
    with pytest.raises(UserError, match=r"holds a (zero byte|character that is no Unicode)"):
        CacheWriter(tmp_path / "x.h5", caches.header(**{field: tuple(names)}))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", UNFIT)
@pytest.mark.parametrize("field", ["classes", "paths"])
def test_a_data_set_refuses_them(tmp_path, field, name):
    fields = {"classes": ("ash", "elm"), "paths": ("0.png", "1.png")}
    fields[field] = (fields[field][0], name)
    with pytest.raises(UserError, match=r"^toy: the .* holds a .*: rename it\.$"):
        Dataset(
            name="toy",
            seen=np.array([True, False]),
            labels=np.array([0, 1]),
            splits=np.array(["trainval", "test_unseen"]),
            reader=FileReader(tmp_path),
            **fields,
        )


@pytest.mark.parametrize("field", ["class_names", "paths"])
def test_an_import_refuses_them(tmp_path, field):
    arrays = {
        "image_features": caches.images(4),
        "labels": np.arange(4) % 2,
        "class_names": np.array(["ash", "elm"], dtype="<U9"),
        "text_features": caches.unit(3, 2, caches.DIM),
        "unseen": np.zeros(2, np.bool_),
        "split": np.array(["trainval", "trainval", "test_seen", "test_seen"]),
        "paths": np.array(list("abcd"), dtype="<U9"),
        "model": np.array("m"),
        "pretrained": np.array("p"),
    }
    arrays[field][1] = "a\0b"
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(UserError, match=r"x\.npz: .* holds a zero byte"):
        import_npz(tmp_path / "x.npz", tmp_path / "x.h5")
    assert not list(tmp_path.glob("x.h5*"))


def test_names_from_a_table_are_refused_with_the_table(tmp_path):
    pictures(tmp_path)
    rows = [{"path": f"{c}/{n}.png", "label": c} for c in ("ash", "elm") for n in range(3)]
    rows[4]["label"] = "el\0m"
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(UserError, match="holds a zero byte"):
        load_dataset("table", table=tmp_path / "t.jsonl")


def test_half_a_surrogate_pair_in_json_is_refused(tmp_path):
    assert parse_json(r'"\ud83e\udd89"') == "🦉"
    for text in (r'{"a": "\ud800"}', rb'["\uDC00"]'):
        with pytest.raises(ValueError, match="no Unicode"):
            parse_json(text)
    (tmp_path / "t.jsonl").write_text(r'{"path": "0.png", "label": "\ud800"}')
    with pytest.raises(UserError, match=r"t\.jsonl: 2 faults:\n  line 1: not JSON .*no Unicode"):
        load_dataset("table", table=tmp_path / "t.jsonl")


def test_json_nested_too_deep_is_no_json():
    assert parse_json('{"a": [1]}') == {"a": [1]}
    with pytest.raises(ValueError, match="nested too deep"):
        parse_json("[" * 100_000 + "]" * 100_000)


def test_a_split_file_nested_too_deep_is_named(tmp_path):
    pictures(tmp_path / "p")
    (tmp_path / "deep.json").write_text("[" * 100_000 + "]" * 100_000)
    with pytest.raises(UserError, match=r"deep\.json' is not JSON: .*nested too deep"):
        load_dataset("folder", root=tmp_path / "p", splits=tmp_path / "deep.json")


def test_a_link_that_leads_to_itself_is_an_unreadable_image(tmp_path):
    root = pictures(tmp_path / "p")
    (root / "ash" / "x.png").symlink_to("x.png")
    data = load_dataset("folder", root=root)
    with pytest.raises(OSError, match=r"x\.png|ymbolic link"):
        data.reader("ash/x.png")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "x.csv"), "The disk is full (x.csv)"),
        (OSError(errno.EFBIG, "File too large", "x.csv"), "The disk is full (x.csv)"),
        (OSError(errno.EROFS, "Read-only file system", "x.csv"), "The disk is read-only (x.csv)"),
        (ImportError("x.so: failed to map segment from shared object"), "not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you"), "not enough memory"),
        (MemoryError(), "not enough memory"),
    ],
)
def test_want_of_room_and_of_memory_is_the_machines(error, told, capsys):
    assert complain(error) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line and "fault in pzsl" not in line


def test_a_full_disk_names_the_file(tmp_path):
    with pytest.raises(OSError) as error, replacing(tmp_path / "labels.csv"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert error.value.filename == str(tmp_path / "labels.csv")


@pytest.mark.parametrize("name", ["x\udcff", "x\0"])
def test_a_new_class_by_such_a_name_is_refused(name):
    with pytest.raises(UsageError, match=r"--class .* holds a"):
        new_names(["heron"], [name])
