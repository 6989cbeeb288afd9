"""Class names in one normal form, images under two paths, and lines on what looks like a slip."""

from __future__ import annotations

import json
import tarfile
import unicodedata

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from standin import plant

from pzsl.datasets import load_dataset
from pzsl.datasets.base import UNKNOWN, Candidates, Dataset
from pzsl.datasets.class_warnings import class_warnings, occurrences, one_edit_apart
from pzsl.datasets.names import first_alike, join_spellings, normal_form, tidy
from pzsl.datasets.own import load_table
from pzsl.errors import UserError

PAIRS = [
    ("bécasse", unicodedata.normalize("NFD", "bécasse")),
    ("barn owl", "barn  owl"),
    ("barn owl", "barn\u00a0owl"),
    ("office", "o\ufb03ce"),
    ("Barn owl", "barn owl"),
    ("Anna's hummingbird", "Anna’s hummingbird"),
    ("salt & pepper", "salt &amp; pepper"),
    ("red-winged blackbird", "red–winged blackbird"),
    ("ice_cream", "ice cream"),
    ("fox", '"fox"'),
    ("fox", "fox\u200b"),
    ("fox", "\u202afox\u200e"),
    ("crab's", "crab\u02bcs"),
    ("bécasse", "bÃ©casse"),
    ("déjà vu aquí", "dÃ©jÃ\u00a0 vu aquÃ\u00ad"),
    ("3", "3.0"),
    ("3", "3."),
    ("3", "3.000000"),
    ("30", "3.000000000000000000e+01"),
    ("3", "3,0"),
    ("7", "007"),
]


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_two_spellings_of_one_class_have_one_form(one, other):
    assert one != other and normal_form(one) == normal_form(other)
    assert first_alike(["x", one, "y", other]) == (one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *[
            ("cat", "bat"),
            ("3", "30"),
            ("1,000", "1"),
            ("3.5", "3"),
            ("-1", "1"),
            ("dogs'", "dogs"),
        ],
        *[("1.000", "1"), ("1e3", "1000"), ("3.55e+01", "36"), ("São", "Sao")],
    ],
)
def test_other_names_stay_apart(one, other):
    assert normal_form(one) != normal_form(other)


@given(st.text(max_size=20))
def test_the_form_is_stable_and_tidying_does_not_change_it(name):
    assert normal_form(tidy(name)) == normal_form(name)


def test_the_commonest_spelling_is_kept_unless_one_is_listed():
    names = ["Fox", "fox", "fox", "barn  owl"]
    assert join_spellings(names) == {"Fox": "fox", "fox": "fox", "barn  owl": "barn owl"}
    assert join_spellings(names, ["FOX"])["fox"] == "FOX"


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_a_table_joins_them_and_says_so(tmp_path, capsys, one, other):
    plant(tmp_path, [f"{i}.jpg" for i in range(5)])
    labels = [one, one, other, "dog", "lynx"]
    splits = ["trainval"] * 4 + ["test_unseen"]
    rows = [
        json.dumps({"path": f"{i}.jpg", "label": label, "candidates": "", "split": split})
        for i, (label, split) in enumerate(zip(labels, splits, strict=True))
    ]
    import csv

    with (tmp_path / "t.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["path", "label", "candidates", "split"])
        writer.writeheader()
        writer.writerows(map(json.loads, rows))
    data = load_dataset("table", table=tmp_path / "t.csv")
    assert len(data.classes) == 3 and len(set(data.labels[:3].tolist())) == 1
    assert "are one class" in capsys.readouterr().err


def test_folders_that_read_alike_are_refused(tmp_path):
    for name in ("Anna's owl", "Anna’s owl", "dog"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / name / "1.png")
    with pytest.raises(UserError, match="both give the class name"):
        load_dataset("folder", root=tmp_path)


def test_labels_in_tar_files_are_joined(tmp_path, capsys):
    plant(tmp_path / "src", [f"{i}.jpg" for i in range(6)])
    labels = ["fox", "Fox", "dog", "dog", "lynx", "lynx"]
    for i, label in enumerate(labels):
        (tmp_path / "src" / f"{i}.cls").write_text(label, "utf-8")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for file in sorted((tmp_path / "src").iterdir()):
            tar.add(file, file.name)
    data = load_dataset("tar", root=tmp_path / "a.tar", unseen=0.0)
    assert data.classes == ("dog", "fox", "lynx")
    assert "'fox', 'Fox' are 'fox'" in capsys.readouterr().err


def test_prompts_of_tables_and_tar_files_have_blanks_for_underscores_as_those_of_folders(tmp_path):
    names = ["red_fox", "snow_leopard", "red_fox", "grey_wolf"]
    rows = [f"{i}.jpg,{name},trainval" for i, name in enumerate(names)]
    (tmp_path / "t.csv").write_text("\n".join(["path,label,split", *rows]))
    (tmp_path / "classes.txt").write_text("grey_wolf\nred_fox\nsnow_leopard\n")
    plant(tmp_path, [f"{i}.jpg" for i in range(4)])
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for i, name in enumerate(names):
            (tmp_path / f"{i}.cls").write_text(name)
            tar.add(tmp_path / f"{i}.jpg", f"{i}.jpg")
            tar.add(tmp_path / f"{i}.cls", f"{i}.cls")
    for listed in (None, tmp_path / "classes.txt"):
        table = load_dataset("table", table=tmp_path / "t.csv", classes=listed)
        packed = load_dataset("tar", root=tmp_path / "a.tar", classes=listed, unseen=0.0)
        assert table.classes == packed.classes == ("grey wolf", "red fox", "snow leopard")


def dataset(classes, labels, candidates=None):
    count = len(labels)
    return Dataset(
        name="table",
        classes=tuple(classes),
        seen=np.ones(len(classes), dtype=bool),
        paths=tuple(f"{i}.jpg" for i in range(count)),
        labels=np.array(labels, dtype=np.int64),
        splits=np.array(["trainval"] * (count - 1) + ["test_seen"]),
        reader=lambda path: Image.new("RGB", (1, 1)),
        candidates=candidates,
    )


def test_a_data_set_refuses_classes_that_read_alike():
    with pytest.raises(UserError, match="'fox' and 'FOX' read alike"):
        dataset(["fox", "FOX"], [0, 1])


# --- one image under two paths -------------------------------------------------------------------


def link(path, target):
    try:
        path.symlink_to(target)
    except OSError:
        pytest.skip("no symbolic links here")


@pytest.mark.parametrize("second", ["./1.jpg", "a//..//1.jpg", "again.jpg"])
def test_an_image_under_two_paths_on_both_sides_of_the_split_is_refused(tmp_path, second):
    plant(tmp_path, ["1.jpg", "2.jpg", "a/3.jpg"])
    if second == "again.jpg":
        link(tmp_path / second, tmp_path / "1.jpg")
    rows = ["1.jpg,fox,trainval", "2.jpg,dog,trainval", f"{second},fox,test_seen"]
    (tmp_path / "t.csv").write_text("\n".join(["path,label,split", *rows]), "utf-8")
    with pytest.raises(UserError, match=r"line 4|same file"):
        load_dataset("table", table=tmp_path / "t.csv")


def test_a_linked_class_folder_is_refused_where_it_crosses_the_split(tmp_path):
    for name in ("dog", "fox", "owl"):
        (tmp_path / name).mkdir()
        for i in range(4):
            Image.new("RGB", (8, 8)).save(tmp_path / name / f"{i}.png")
    link(tmp_path / "lynx", tmp_path / "fox")
    (tmp_path / "split.json").write_text(json.dumps({"unseen": ["lynx"]}), "utf-8")
    with pytest.raises(UserError, match=r"'fox/0.png'.*'lynx/0.png'.*are the same file"):
        load_dataset("folder", root=tmp_path, splits=tmp_path / "split.json")


# --- what looks like a slip ----------------------------------------------------------------------


def test_a_misspelt_candidate_is_reported():
    sets = Candidates(np.array([0, 2, 4, 6]), np.array([0, 1, 0, 1, 0, 2], dtype=np.int32))
    data = dataset(["kestrel", "magpie", "magpei"], [0, 0, UNKNOWN], sets)
    assert occurrences(data).tolist() == [5, 2, 1]
    lines = class_warnings(data)
    assert any("'magpei' (1 times) and 'magpie' (2 times)" in line for line in lines)


def test_a_class_that_occurs_once_is_reported():
    (line,) = class_warnings(dataset(["dog", "owl", "fox"], [0, 0, 0, 1, 1, 1, 2, 0]))
    assert line == "1 class occurs once only ('fox'): misspelt, perhaps?"


def test_about_as_many_classes_as_images_are_reported():
    names = [f"file {letter}" for letter in "abcdef"]
    assert any(
        "6 classes for 7 images" in line for line in class_warnings(dataset(names, [*range(6), 0]))
    )


def test_numbers_as_class_names_are_reported():
    lines = class_warnings(dataset(["3", "5.0", "fox"], [0, 0, 1, 1, 2, 2]))
    told = "2 of 3 class names are numbers or codes ('3', '5.0')"
    assert [line for line in lines if told in line]


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["n02119022", "n02119789", "fox"], "are numbers or codes"),
        (["TRUE", "FALSE"], "are numbers or codes"),
        (["2024-01-05", "2024-01-06"], "are numbers or codes"),
        (["001.Black footed Albatross", "002.Laysan Albatross"], "begin with a number"),
        (["12 grey wolf", "13 red fox"], "begin with a number"),
        (["ArcticFox", "GreyWolf", "dingo"], "are written as one word"),
        (["a red fox", "An owl", "the dingo"], "begin with an article"),
        (["fox:0.8", "dingo (0.25)", "wolf 1.0"], "end in a fraction"),
        (["cat", "dog", "test"], "called 'test': is it a part of a split"),
        (["cat", "dog", "n.a."], "called 'n.a.': is it a value that is missing"),
        (["fox/dingo", "dingo/wolf", "wolf/fox"], "are they lists"),
        (["fox, dingo", "dingo, wolf", "wolf, fox"], "are they lists"),
        (["fox", "dingo", "fox dingo"], "are they lists"),
    ],
)
def test_names_that_make_bad_prompts_or_are_no_names_are_reported(names, told):
    lines = class_warnings(dataset(names, [*range(len(names))] * 3))
    assert [told in line for line in lines] == [True]


def test_classes_that_only_look_so_are_left_alone():
    names = ["Boeing 737", "3-toed sloth", "McLaren", "salt & pepper", "black and white cat", "7"]
    names += ["black and white dog", "zebra", "okapi", "the blue one", "engine of 1.5 litres"]
    assert class_warnings(dataset(names, [*range(len(names))] * 3)) == []


def test_nothing_to_test_on_or_to_train_on_is_reported(tmp_path):
    places = [f"{number}.jpg" for number in range(12)]
    plant(tmp_path, places)
    table = pd.DataFrame({"path": places, "label": ["cat", "dog", "owl"] * 4, "split": "train"})
    table.loc[::2, "split"] = "val"
    (line,) = class_warnings(load_table(table, root=tmp_path))
    assert line.startswith("All 12 images are for training (val is, too) and none for testing")
    drawn = table.drop(columns="split")
    assert not class_warnings(load_table(drawn, root=tmp_path, unseen=0, test=0))  # as asked for
    once = load_table(drawn[:3], root=tmp_path, unseen=0)  # too few images to draw one
    assert "and none for testing" in class_warnings(once)[0]
    table["split"] = ["train", "train", "test_seen"] * 4
    (line,) = class_warnings(load_table(table, root=tmp_path))
    assert line.startswith("No training image of 1 seen class with test images ('owl')")
    table["candidates"] = "cat|owl"
    assert not class_warnings(load_table(table, root=tmp_path))


def test_nothing_is_said_of_plain_classes():
    assert (
        class_warnings(dataset(["dog", "fox", "zone 1", "zone 2"], [0, 0, 1, 1, 2, 2, 3, 3])) == []
    )


@given(st.text("abcde", min_size=5, max_size=8), st.integers(0, 7), st.sampled_from("xyz"))
def test_any_one_edit_is_found(name, place, letter):
    place %= len(name)
    for other in (name[:place] + letter + name[place + 1 :], name[:place] + letter + name[place:]):
        assert one_edit_apart([name, "something else", other]) == [tuple(sorted((name, other)))]


def test_swapped_letters_are_one_edit_and_two_edits_are_not():
    assert one_edit_apart(["kestrel", "kestrle"]) == [("kestrel", "kestrle")]
    assert one_edit_apart(["kestrel", "kastrle", "castle"]) == []


def test_labels_that_are_never_candidates_and_lists_as_names_are_reported(tmp_path):
    places = [f"{number}.jpg" for number in range(8)]
    plant(tmp_path, places)
    names = ["heron", "kestrel"] * 4
    sets = ["heron;kestrel|heron、kestrel", "heron or kestrel|plover"] * 4
    table = pd.DataFrame({"path": places, "label": names, "candidates": sets, "split": "trainval"})
    told = "\n".join(class_warnings(load_table(table, root=tmp_path)))
    assert "3 class names are made of other classes' names, or of parts of them ('heron or" in told
    assert "Not one of 8 training images has its label among its candidates" in told
    plain = table.assign(candidates="heron|kestrel|salt and pepper", split=["train", "test"] * 4)
    assert not class_warnings(load_table(plain, root=tmp_path))
