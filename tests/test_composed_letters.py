"""File names whose letters are composed (NFC) in one place and decomposed (NFD) in another."""

from __future__ import annotations

import json
from types import SimpleNamespace
from unicodedata import normalize

import pytest
from standin import plant

from pzsl.datasets.own.folder import load_folder
from pzsl.datasets.own.table import load_table
from pzsl.datasets.reading import open_image
from pzsl.errors import UserError
from pzsl.exchange.clip_retrieval import find_rows
from pzsl.folders import same_letters, spelt_on_disk
from pzsl.inference.labelling.corrections import _checked
from pzsl.inference.labelling.picture_files import _Folder
from pzsl.inference.sources import find_images

COMPOSED = normalize("NFC", "réne/é.jpg")
DECOMPOSED = normalize("NFD", COMPOSED)


@pytest.fixture(params=[(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)])
def names(request, tmp_path):
    """A path as a table writes it, and as the disk does, where a second image has plain letters."""
    written, on_disk = request.param
    plant(tmp_path, [on_disk, "owl/1.jpg", f"{on_disk.partition('/')[0]}/2.jpg"])
    if (tmp_path / written).exists():
        pytest.skip("this disk takes both forms for one")
    return written, on_disk


def table_of(folder, *paths):
    rows = [f"{path},{label},trainval" for path, label in zip(paths, ("owl", "fox"), strict=True)]
    (folder / "t.csv").write_text("\n".join(["path,label,split", *rows]) + "\n", "utf-8")
    return folder / "t.csv"


def test_a_table_finds_its_files_and_keeps_its_ids(tmp_path, names):
    data = load_table(table_of(tmp_path, "owl/1.jpg", names[0]))
    assert data.paths == ("owl/1.jpg", names[0])
    assert all(data.reader(path).size for path in data.paths)
    assert data.reader.size_of(names[0]) > 0


def test_one_file_under_both_names_is_one_image(tmp_path, names):
    table = table_of(tmp_path, *names)
    table.write_text(table.read_text("utf-8").replace("fox,trainval", "owl,test_seen"), "utf-8")
    with pytest.raises(UserError, match="are the same file"):
        load_table(table)


def test_predict_and_review_find_them_too(tmp_path, names):
    source = find_images([table_of(tmp_path, "owl/1.jpg", names[0])])
    assert source.names == ("owl/1.jpg", names[0])
    assert source.files[1] == str(tmp_path / names[1])
    assert _Folder(tmp_path, [names[0]])(names[0]).size


@pytest.mark.parametrize("moved", ["new", "new/elsewhere"])
def test_a_picture_that_moved_is_found_by_its_end(tmp_path, names, moved):
    """Its folder tells it from the picture of another class, in whichever form that is written."""
    (tmp_path / moved).mkdir(parents=True)
    for folder in ("owl", names[1].partition("/")[0]):
        (tmp_path / folder).rename(tmp_path / moved / folder)
    file = names[0].rpartition("/")[2]
    plant(tmp_path, ["other.jpg", f"{moved}/owl/{names[1].rpartition('/')[2]}"])
    opened = _Folder(tmp_path, [names[0], f"owl/{file}"])(names[0])
    assert opened.tobytes() == open_image(tmp_path / moved / names[1]).tobytes()
    with pytest.raises(OSError, match="no such file"):
        _Folder(tmp_path, [names[0]])(names[0].replace(".jpg", ".png"))


def test_corrections_find_their_images_and_each_once(tmp_path):
    written, stored = COMPOSED, DECOMPOSED
    cache = SimpleNamespace(paths=(stored, "owl/1.jpg"))
    rows = SimpleNamespace(rows=[0, 1])
    trained = SimpleNamespace(cache=cache, task=rows, names=("fox", "écu"), seen=2)
    file = tmp_path / "corrections.csv"
    file.write_text(f"path,label\n{written},{normalize('NFD', 'Écu')}\n", "utf-8")
    assert _checked(file, trained) == {stored: "écu"}
    file.write_text(f"path,label\n{written},fox\n{stored},écu\n", "utf-8")
    with pytest.raises(UserError, match=r"line 3: .* has a different label in a row above"):
        _checked(file, trained)


def test_a_split_file_finds_its_test_images(tmp_path, names):
    split = tmp_path / "splits" / "s.json"
    (tmp_path / "images").mkdir()
    for folder in ("owl", names[1].partition("/")[0]):
        (tmp_path / folder).rename(tmp_path / "images" / folder)
    split.parent.mkdir()
    split.write_text(json.dumps({"unseen": ["owl"], "test_seen": [names[0]]}), "utf-8")
    data = load_folder(tmp_path / "images", split)
    assert data.splits[data.paths.index(names[1])] == "test_seen"


def test_two_files_of_one_form_are_kept_apart():
    forms = [COMPOSED, DECOMPOSED]
    assert same_letters(forms, forms) == {COMPOSED: COMPOSED, DECOMPOSED: DECOMPOSED}
    third = normalize("NFD", "réne/") + normalize("NFC", "é.jpg")
    assert same_letters([third], forms) == {}
    assert same_letters(["e"], [COMPOSED]) == {}
    assert find_rows(forms, forms, "x").tolist() == [0, 1]
    assert find_rows([COMPOSED], [f"/data/{DECOMPOSED}"], "x").tolist() == [0]


def test_a_file_that_is_nowhere_stays_missing(tmp_path, names):
    assert spelt_on_disk(tmp_path, [names[0].replace("2", "3") + "x", "a/b.jpg"]) == {}
