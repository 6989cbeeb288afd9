"""Tables of one's own images: CSV and Parquet, candidates, unseen classes, malformed rows."""

from __future__ import annotations

import csv
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from standin import plant

from pzsl.cells import EMPTY
from pzsl.datasets import UNKNOWN, load_dataset
from pzsl.datasets.own.rows import read_rows
from pzsl.datasets.own.table import load_table
from pzsl.errors import UserError

HEADER = "path,label,candidates,split"
GOOD = [
    "a/1.jpg,fox,fox|wolf,trainval",
    "a/2.jpg,,wolf | dog|wolf,trainval",
    "a/3.jpg,dog,,trainval",
    "a/4.jpg,fox,wolf|dog,trainval",
    "a/5.jpg,fox,,test_seen",
    "a/6.jpg,lynx,,test_unseen",
]


@pytest.fixture
def folder(tmp_path):
    plant(tmp_path, [f"a/{i}.jpg" for i in range(1, 7)])
    return tmp_path


def write(folder, rows=GOOD, header=HEADER):
    file = folder / "labels.csv"
    file.write_text("\n".join([header, *rows]) + "\n", "utf-8")
    return file


def sets_of(data):
    bounds = data.candidates.offsets
    names = np.array(data.classes)
    return [
        set(names[data.candidates.labels[start:end]].tolist()) for start, end in pairwise(bounds)
    ]


def test_a_table_gives_classes_splits_labels_and_real_candidates(folder):
    data = load_dataset("table", table=write(folder))
    assert data.classes == ("dog", "fox", "lynx", "wolf")
    assert data.seen.tolist() == [True, True, False, True]
    assert data.labels.tolist() == [1, UNKNOWN, 0, 1, 1, 2]
    assert data.splits.tolist() == ["trainval"] * 4 + ["test_seen", "test_unseen"]
    assert sets_of(data) == [
        {"fox", "wolf"},
        {"dog", "wolf"},
        {"dog"},
        {"dog", "wolf"},  # the truth is outside: annotators err
        set(),
        set(),
    ]
    assert data.candidates.offsets.dtype == np.int64 and data.candidates.labels.dtype == np.int32
    assert data.reader(data.paths[0]).size == (16, 16)


def test_without_candidates_there_are_none(folder):
    rows = ["a/1.jpg,fox,trainval", "a/2.jpg,dog,trainval", "a/3.jpg,lynx,test_unseen"]
    data = load_table(write(folder, rows, "path,label,split"))
    assert data.candidates is None and data.classes == ("dog", "fox", "lynx")


def test_columns_may_stand_in_any_order_with_any_capitals_and_a_byte_order_mark(folder):
    file = folder / "labels.csv"
    text = "\ufeffSplit,Path,Label\ntrainval,a/1.jpg,fox\ntrainval,a/2.jpg,dog\n"
    file.write_text(text, "utf-8")
    assert load_table(file).classes == ("dog", "fox")


def test_paths_may_start_from_another_root(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("tables")
    assert len(load_table(write(elsewhere), root=folder).paths) == 6
    with pytest.raises(UserError, match=r"6 of 6 images are not below"):
        load_table(write(elsewhere))


# --- unseen classes and the class list -----------------------------------------------------------


def test_unseen_classes_from_a_column(folder):
    rows = [f"{row}," for row in GOOD[:5]] + ["a/6.jpg,lynx,,test_unseen,1"]
    assert load_table(write(folder, rows, f"{HEADER},unseen")).seen.tolist() == [
        True,
        True,
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("yes", "no"), [("1.0", "0.0"), ("True", "False"), ("1,0", "0,0"), ("WAHR", "FALSCH")]
)
def test_marks_of_unseen_classes_are_read_as_programs_write_them(folder, yes, no):
    rows = [f'{row},"{no}"' for row in GOOD[:5]] + [f'a/6.jpg,lynx,,test_unseen,"{yes}"']
    data = load_table(write(folder, rows, f"{HEADER},unseen"))
    assert data.seen.tolist() == [True, True, False, True]


def test_a_class_that_is_marked_in_some_rows_only_is_reported(folder, capsys):
    rows = [f"a/{i}.jpg,{name},{i == 3:d}" for i, name in enumerate(["fox", "dog"] * 3, start=1)]
    data = load_table(write(folder, rows, "path,label,unseen"))
    told = "1 unseen class not marked in every row, such as 'fox' (in 2 rows it is not)"
    assert data.seen.tolist() == [True, False] and told in capsys.readouterr().err
    load_table(write(folder, [row[:-1] + f"{'fox' in row:d}" for row in rows], "path,label,unseen"))
    assert "not marked" not in capsys.readouterr().err


def test_unseen_classes_from_a_file_even_without_images_which_is_reported(folder, capsys):
    (folder / "unseen.txt").write_text("lynx\ncaracal\n", "utf-8")
    data = load_table(write(folder), unseen_file=folder / "unseen.txt")
    assert data.classes == ("caracal", "dog", "fox", "lynx", "wolf")
    assert data.seen.tolist() == [False, True, True, False, True]
    told = "1 of 2 classes of --unseen-file label no image, such as 'caracal'"
    assert told in capsys.readouterr().err


def test_a_class_list_decides_the_order_and_may_hold_more(folder):
    (folder / "classes.txt").write_text("wolf\nlynx\nfox\ndog\nbear\n", "utf-8")
    data = load_table(write(folder), classes=folder / "classes.txt")
    assert data.classes == ("wolf", "lynx", "fox", "dog", "bear")
    assert data.labels.tolist() == [2, UNKNOWN, 3, 2, 2, 1]


def test_a_listed_class_of_no_row_is_seen_which_is_reported(folder, capsys):
    (folder / "classes.txt").write_text("wolf\nlynx\nfox\ndog\nbear\n", "utf-8")
    data = load_table(write(folder), classes=folder / "classes.txt")
    assert data.seen.tolist() == [True, False, True, True, True]
    assert "1 of 5 classes of --classes occur in no row, such as 'bear'" in capsys.readouterr().err
    (folder / "unseen.txt").write_text("lynx\nbear\n", "utf-8")  # what the message advises
    data = load_table(
        write(folder), classes=folder / "classes.txt", unseen_file=folder / "unseen.txt"
    )
    assert data.seen.tolist() == [True, False, True, True, False]
    assert "occur in no row" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ("wolf\nlynx\nfox\n", r"line 3: the class 'dog' is not in the list"),
        ("wolf\ndog\nfox\n", r"unseen class 'lynx' is not listed in --classes"),
        ("\n", "lists no class"),
    ],
)
def test_a_class_list_that_lacks_classes_is_reported(folder, listed, message):
    (folder / "classes.txt").write_text(listed, "utf-8")
    with pytest.raises(UserError, match=message):
        load_table(write(folder), classes=folder / "classes.txt")


# --- malformed rows ------------------------------------------------------------------------------


def test_absolute_paths_below_the_root_are_taken_as_relative_ones(folder, tmp_path_factory):
    table = write(folder, [str(folder / row) for row in GOOD])
    assert load_table(table).paths == load_table(write(folder)).paths
    elsewhere = tmp_path_factory.mktemp("lists") / "labels.csv"
    elsewhere.write_text(write(folder, [str(folder / row) for row in GOOD]).read_text())
    assert load_table(elsewhere, root=folder).paths[0] == "a/1.jpg"
    named = rf"line 2: the path '{folder}/a/1.jpg' leads out .*{elsewhere.parent}: give a folder"
    with pytest.raises(UserError, match=named):
        load_table(elsewhere)
    above = load_table(elsewhere, root=folder.parent)  # as the message says
    assert above.paths[0] == f"{folder.name}/a/1.jpg" and above.reader(above.paths[0])
    tricky = [f"{folder}/a/../../x.jpg,fox,,trainval", *GOOD]
    with pytest.raises(UserError, match=r"line 2: the path .* leads out"):
        load_table(write(folder, tricky))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (",fox,,trainval", "line 4: the path is empty"),
        (".,fox,,trainval", "line 4: the path is empty"),
        ("../6.jpg,fox,,trainval", "line 4: the path '../6.jpg' leads out"),
        ("/etc/passwd,fox,,trainval", "line 4: the path '/etc/passwd' leads out"),
        ("C:\\a\\1.jpg,fox,,trainval", "line 4: the path 'C:/a/1.jpg' leads out"),
        ("a/3.jpg,fox,,trian", r"line 4: unknown split 'trian'.*trainval"),
        ("a/3.jpg,fox,,", "line 4: the split is empty"),
        ("a/3.jpg,,,trainval", "line 4: a training image needs a label or candidates"),
        ("a/3.jpg,, | ,trainval", "line 4: a training image needs a label or candidates"),
        ("a/3.jpg,,fox,test_seen", "line 4: an image of test_seen needs a label"),
        ("a/3.jpg,fox,fox|lynx,trainval,x", r"line 4: 5 fields, but the header has 4"),
        ("a/3.jpg,fox", "line 4: 2 fields, but the header has 4"),
        ("a/1.jpg,fox,,trainval", "line 4: 'a/1.jpg' is listed in line 2 already"),
        ('a/3.jpg,"fox,,trainval', "line"),
    ],
)
def test_a_malformed_row_is_named_with_its_number(folder, row, message):
    rows = [*GOOD[:2], row, *GOOD[3:]]
    with pytest.raises(UserError, match=message) as caught:
        load_table(write(folder, rows), empty="fail")
    assert "labels.csv" in str(caught.value) and "\n" not in str(caught.value)


def test_line_numbers_hold_after_blank_lines_and_line_breaks_in_quotes(folder):
    rows = [GOOD[0], "", '"a/2\n.jpg",fox,,trainval', "a/3.jpg,fox,,oops"]
    with pytest.raises(UserError, match="line 6: unknown split 'oops'"):
        load_table(write(folder, rows))


def test_candidates_that_are_unseen_classes_are_refused(folder):
    (folder / "unseen.txt").write_text("lynx\nwolf\n", "utf-8")
    with pytest.raises(UserError, match="line 2: the candidate 'wolf' is an unseen class"):
        load_table(write(folder), unseen_file=folder / "unseen.txt")


def test_a_class_cannot_be_trained_on_and_unseen(folder):
    with pytest.raises(UserError, match=r"line 7: 'fox' is a seen class.*can't be in test_unseen"):
        load_table(write(folder, [*GOOD[:5], "a/6.jpg,fox,,test_unseen"]))
    (folder / "unseen.txt").write_text("fox\nlynx\n", "utf-8")
    rows = ["a/1.jpg,fox,,trainval", "a/2.jpg,dog,,trainval"]
    with pytest.raises(UserError, match=r"line 2: 'fox' is an unseen class.*can't be in trainval"):
        load_table(write(folder, rows), unseen_file=folder / "unseen.txt")


@pytest.mark.parametrize("text", ["maybe", "2"])
def test_an_unclear_mark_is_named(folder, text):
    with pytest.raises(UserError, match="line 2: 'unseen' is"):
        load_table(write(folder, [f"{GOOD[0]},{text}"], f"{HEADER},unseen"))


def test_names_that_differ_in_capitals_only_are_one_class(folder, capsys):
    data = load_table(write(folder, [*GOOD[:2], "a/3.jpg,Fox,,trainval"]))
    assert data.classes == ("dog", "fox", "wolf") and data.labels[2] == data.labels[0]
    assert "'fox', 'Fox' are 'fox'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("label,split", "no column 'path'"),
        ("path,split", "no"),
    ],
)
def test_a_missing_column_is_named(folder, header, message):
    with pytest.raises(UserError, match=message):
        load_table(write(folder, [], header))


def test_files_that_are_no_table(folder):
    with pytest.raises(UserError, match="can't be read: No such file"):
        load_table(folder / "none.csv")
    with pytest.raises(UserError, match=r"can't be read: Is a directory|can't be read"):
        load_table(folder / "a")
    with pytest.raises(UserError, match="lists no image"):
        load_table(write(folder, []))
    (folder / "book.csv").write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(UserError, match="is a workbook, as of Excel: save it as 'CSV UTF-8'"):
        load_table(folder / "book.csv")
    (folder / "binary.csv").write_bytes(b"path,label,split\n\x00\x00,x,y\n")
    with pytest.raises(UserError):
        load_table(folder / "binary.csv")


def test_missing_images_are_named_with_their_line_or_left_out(folder, capsys):
    for i in (2, 5):
        (folder / "a" / f"{i}.jpg").unlink()
    with pytest.raises(UserError, match=r"2 of 6.*a/2.jpg \(line 3\), a/5.jpg \(line 6\)"):
        load_table(write(folder))
    data = load_table(write(folder), on_error="skip")
    assert data.paths == ("a/1.jpg", "a/3.jpg", "a/4.jpg", "a/6.jpg")
    assert sets_of(data) == [{"fox", "wolf"}, {"dog"}, {"dog", "wolf"}, set()]
    assert "left out" in capsys.readouterr().err


def test_a_link_out_of_the_root_is_refused(folder, tmp_path_factory):
    secret = tmp_path_factory.mktemp("out") / "secret.jpg"
    secret.write_bytes(b"x")
    (folder / "a" / "1.jpg").unlink()
    try:
        (folder / "a" / "1.jpg").symlink_to(secret)
    except OSError:
        pytest.skip("no symbolic links here")
    with pytest.raises(UserError, match=r"line 2: 'a/1.jpg' is a link out of"):
        load_table(write(folder))


# --- Parquet -------------------------------------------------------------------------------------


def test_a_parquet_file_says_the_same_as_a_csv(folder):
    pyarrow = pytest.importorskip("pyarrow", reason="Parquet files need pyarrow")
    from pyarrow import parquet

    with write(folder).open(newline="", encoding="utf-8") as file:
        fields = list(csv.DictReader(file))
    parquet.write_table(pyarrow.Table.from_pylist(fields), folder / "text.parquet")
    for row in fields:
        row["candidates"] = [name for name in row["candidates"].split("|") if name]
        row["label"] = row["label"] or None
    parquet.write_table(pyarrow.Table.from_pylist(fields), folder / "lists.parquet")
    expected = load_table(folder / "labels.csv")
    for name in ("text.parquet", "lists.parquet"):
        data = load_table(folder / name)
        assert data.split_hash == expected.split_hash and sets_of(data) == sets_of(expected)


def test_a_row_of_a_parquet_file_is_named(folder):
    pyarrow = pytest.importorskip("pyarrow", reason="Parquet files need pyarrow")
    from pyarrow import parquet

    rows = [{"path": "a/1.jpg", "label": "fox", "split": s} for s in ("trainval", "x")]
    parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "t.parquet")
    with pytest.raises(UserError, match="row 2: unknown split 'x'"):
        load_table(folder / "t.parquet")
    (folder / "t.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(UserError, match="not a complete Parquet file"):
        load_table(folder / "t.parquet")
    with pytest.raises(UserError, match="can't be read"):
        load_table(folder / "none.parquet")


def test_parquet_without_pyarrow_says_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"pip install 'pzsl\[parquet\]'"):
        load_table(folder / "t.parquet")


# --- a property ----------------------------------------------------------------------------------

letters = st.characters(categories=["L", "N"], max_codepoint=0x24F)
words = st.text(letters, min_size=1, max_size=6).filter(lambda word: word not in EMPTY)


@given(st.lists(st.lists(words, max_size=5), min_size=1, max_size=8))
def test_candidates_survive_being_written_and_read(tmp_path_factory, sets):
    file = tmp_path_factory.mktemp("t") / "t.csv"
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(["path", "label", "candidates", "split"])
        writer.writerows([f"{i}.jpg", "x, y", "|".join(s), "trainval"] for i, s in enumerate(sets))
    rows = read_rows(file)
    assert [set(row.candidates) for row in rows] == [set(s) for s in sets]
    assert [row.place for row in rows] == [f"line {i + 2}" for i in range(len(sets))]
    assert all(row.label == "x, y" for row in rows)


def test_real_candidate_sets_reach_the_cache(folder, tmp_path, tiny_weights):
    from pzsl.extraction import extract
    from pzsl.store import load_cache

    out = tmp_path / "table.h5"
    extract("table", None, "tiny", str(tiny_weights), out, table=write(folder), on_error="skip")
    cache, data = load_cache(out), load_table(folder / "labels.csv")
    np.testing.assert_array_equal(cache.candidate_offsets, data.candidates.offsets)
    np.testing.assert_array_equal(cache.candidate_labels, data.candidates.labels)
    assert cache.labels.tolist() == [1, UNKNOWN, 0, 1, 1, 2]


def test_images_that_nobody_has_labelled_are_trained_on_if_asked_for(folder, capsys):
    table = write(folder, [f"a/{i}.jpg," for i in range(1, 7)], "path,label")
    (folder / "names.txt").write_text("fox\nwolf\n", "utf-8")
    with pytest.raises(UserError, match=r"no image has a label .* --empty unlabelled .* --class"):
        load_table(table, classes=folder / "names.txt")
    data = load_table(table, classes=folder / "names.txt", empty="unlabelled")
    assert sets_of(data) == [{"fox", "wolf"}] * 6
    assert "occur in no row" not in capsys.readouterr().err  # as they should
    with pytest.raises(UserError, match=r"no column 'label'.* \(the label may be empty\)"):
        load_table(write(folder, ["a/1.jpg"], "path"))
