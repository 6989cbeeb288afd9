"""Tables as programs and people write them: accepted, or all faults are reported at once."""

from __future__ import annotations

import json
import re
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from standin import plant

from pzsl.cells import list_separator, names_of, printed_list
from pzsl.datasets import UNKNOWN, Annotators, load_dataset
from pzsl.datasets.own.table import load_rows, load_table
from pzsl.errors import UsageError, UserError

PATHS = [f"a/{i}.jpg" for i in range(1, 7)]
LABELS = ["Füchsin", "wolf", "Füchsin", "wolf", "Füchsin", "lynx"]
SETS = [["Füchsin", "wolf"], ["wolf"], ["wolf", "Füchsin"], ["wolf"], [], []]
SPLITS = ["trainval"] * 4 + ["test_seen", "test_unseen"]


@pytest.fixture
def folder(tmp_path):
    plant(tmp_path, PATHS)
    return tmp_path


def frame(**columns):
    sets = ["|".join(names) for names in SETS]
    table = pd.DataFrame({"path": PATHS, "label": LABELS, "candidates": sets, "split": SPLITS})
    return table.assign(**columns)


def sets_of(data):
    names = np.array(data.classes)
    return [
        set(names[data.candidates.labels[start:end]].tolist())
        for start, end in pairwise(data.candidates.offsets)
    ]


def is_as_written(data):
    assert data.classes == ("Füchsin", "lynx", "wolf")
    assert [data.classes[label] for label in data.labels] == LABELS
    assert data.splits.tolist() == SPLITS and data.paths == tuple(PATHS)
    assert sets_of(data) == [set(names) for names in SETS]


def german_excel(file):
    text = frame().rename(columns={"path": "Datei", "label": "Klasse", "candidates": "Kandidaten"})
    file.write_bytes(text.to_csv(index=False, sep=";", lineterminator="\r\n").encode("cp1252"))


def german_excel_with_its_own_words(file):
    frame().set_axis(["Dateiname", "Klasse", "Etiketten", "Aufteilung"], axis=1).to_csv(
        file, index=False, sep=";", encoding="cp1252"
    )


def excel_unicode_text(file):
    file.write_bytes(frame().to_csv(index=False, sep="\t").encode("utf-16"))


def excel_with_its_own_first_line(file):
    file.write_text("sep=;\r\n" + frame().to_csv(index=False, sep=";"), "utf-8-sig")


def google_sheets(file):
    sets = [", ".join(names) for names in SETS]
    text = frame(candidates=sets).rename(columns={"path": "File name", "label": "Class Name"})
    file.write_text(text.to_csv(index=False, lineterminator="\r\n") + ",,,\r\n,,,\r\n", "utf-8")


def pandas_with_its_index(file):
    frame(candidates=[str(names) for names in SETS]).to_csv(file)


def numpy_lists(file):
    frame(candidates=[str(np.array(names)) for names in SETS]).to_csv(file, index=False)


def blanks_and_capitals(file):
    labels = ["Füchsin ", "wolf", " Füchsin", "Wolf", "Füchsin", "lynx"]
    frame(label=labels).rename(columns=lambda name: f" {name.upper()} ").to_csv(file, index=False)


def trailing_separators(file):
    lines = frame().to_csv(index=False).splitlines()
    file.write_text("\n".join(f"{line},," for line in lines), "utf-8")


def a_title_above(file):
    file.write_text("Birds of 2024,,,\n\n" + frame().to_csv(index=False), "utf-8")


def single_quotes(file):
    frame().to_csv(file, index=False, quotechar="'", quoting=1)


def lines_in_quotes(file):
    lines = frame().to_csv(index=False).splitlines()
    file.write_text("\n".join(f'"{line}"' for line in lines), "utf-8")


def old_mac_line_ends(file):
    file.write_bytes(frame().to_csv(index=False, lineterminator="\r").encode())


def words_of_others_for_the_split(file):
    splits = ["train", "Train", "val", "training", "test", "test"]
    frame(split=splits).rename(columns={"split": "subset"}).to_csv(file, index=False)


def windows_paths(file):
    frame(path=[path.replace("/", "\\") for path in PATHS]).to_csv(file, index=False)


TABLES = [
    *(
        german_excel,
        german_excel_with_its_own_words,
        excel_unicode_text,
        excel_with_its_own_first_line,
        google_sheets,
    ),
    *(pandas_with_its_index, numpy_lists, blanks_and_capitals, trailing_separators, a_title_above),
    *(single_quotes, lines_in_quotes, old_mac_line_ends, words_of_others_for_the_split),
    windows_paths,
]


@pytest.mark.parametrize("write", TABLES)
def test_a_messy_table_is_read_as_it_is_meant(folder, write):
    write(folder / "t.csv")
    is_as_written(load_table(folder / "t.csv"))


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (german_excel, r"separated by semicolons; not UTF-8, read as Windows-1252; 'Datei' is"),
        (excel_unicode_text, "separated by tabs; UTF-16"),
        (google_sheets, "'Class Name' is the label; the names in 'candidates' are separated by co"),
        (blanks_and_capitals, "'wolf', 'Wolf' are 'wolf'|'Wolf', 'wolf'"),
        (a_title_above, "2 lines above the header left out"),
    ],
)
def test_what_was_found_out_is_said(folder, capsys, write, said):
    write(folder / "t.csv")
    load_table(folder / "t.csv")
    import re

    assert re.search(said, capsys.readouterr().err)


# --- other kinds of files ------------------------------------------------------------------------


def test_a_frame_json_lines_json_and_parquet_say_the_same(folder):
    lists = frame(candidates=pd.Series(SETS))
    lists.to_json(folder / "t.jsonl", orient="records", lines=True)
    (folder / "t.json").write_text(lists.to_json(orient="records"), "utf-8")
    is_as_written(load_table(lists, root=folder))
    is_as_written(load_table(lists.set_index("path"), root=folder))
    is_as_written(load_table(folder / "t.jsonl"))
    is_as_written(load_table(folder / "t.json"))
    pytest.importorskip("pyarrow")
    lists.to_parquet(folder / "t.parquet")
    is_as_written(load_table(folder / "t.parquet"))


def test_numbers_with_missing_values_are_numbers(folder):
    labels = [3, 5, np.nan, 7, 3, 9]
    table = frame(label=labels, candidates=["3|5", "5|7", "3|7", "7", "", ""])
    table.to_csv(folder / "t.csv", index=False)
    for source in (folder / "t.csv", table):
        data = load_table(source, root=folder)
        assert data.classes == ("3", "5", "7", "9") and data.labels.tolist() == [0, 1, -1, 2, 0, 3]
    table.to_csv(folder / "t.csv", index=False, sep=";", decimal=",")
    assert load_table(folder / "t.csv").classes == ("3", "5", "7", "9")


@pytest.mark.parametrize("content", ['{"path": 1\n[]\n', '[{"path": ', '["a"]', "1\n2\n"])
def test_json_that_is_none_or_no_object_is_reported(folder, content):
    (folder / "t.jsonl").write_text(content, "utf-8")
    with pytest.raises(UserError, match=r"not JSON|expected an object"):
        load_table(folder / "t.jsonl")


def test_extract_takes_a_frame(folder, tmp_path, tiny_weights):
    import pzsl

    out = tmp_path / "frame.h5"
    result = pzsl.extract(
        table=frame(), root=folder, model="tiny", pretrained=str(tiny_weights), out=out
    )
    assert (result["dataset"], result["images"], result["classes"]) == ("table", 6, 3)


# --- all faults at once --------------------------------------------------------------------------


def test_all_faults_are_reported_each_with_its_line(folder):
    rows = [
        *("path,label,candidates,split", "a/1.jpg,fox,fox|wolf,trainval", "a/2.jpg,fox,,oops"),
        *("a/3.jpg,fox", "../4.jpg,fox,,trainval", "a/5.jpg,,fox,test_seen"),
        *("a/1.jpg,wolf,,trainval", "a/9.jpg,wolf,,trainval", ",wolf,,trainval"),
    ]
    (folder / "t.csv").write_text("\n".join(rows), "utf-8")
    with pytest.raises(UserError) as caught:
        load_table(folder / "t.csv")
    text = str(caught.value)
    assert text.startswith(f"{folder / 't.csv'}: 7 faults:\n")
    for part in (
        *("line 3: unknown split 'oops'", "line 4: 2 fields", "line 5: the path '../4.jpg' leads"),
        *("line 6: an image of test_seen needs a label", "line 7: 'a/1.jpg' is listed in line 2"),
        *("line 9: the path is empty", "a/9.jpg (line 8)"),
    ):
        assert part in text


def test_at_most_twenty_faults_are_listed(folder):
    rows = [f"{i}.jpg,fox,nowhere" for i in range(30)]
    (folder / "t.csv").write_text("\n".join(["path,label,split", *rows]), "utf-8")
    with pytest.raises(UserError) as caught:
        load_table(folder / "t.csv")
    lines = str(caught.value).splitlines()
    assert len(lines) == 22 and lines[0].endswith("30 faults:") and lines[-1] == "  and 10 more"


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("path,label,Label ,split", "two columns are called 'label'"),
        ("name,label,split", "no column 'path': its columns are name, label, split"),
        ("path,split", "no column 'label'"),
        (
            "path,fox,wolf,x",
            r"t.csv: no column 'label': its columns are path, fox, wolf, x; [^\n]*$",
        ),
    ],
)
def test_columns_that_are_missing_or_there_twice_are_reported(folder, header, message):
    (folder / "t.csv").write_text(f"{header}\na/1.jpg,fox,fox,trainval\n", "utf-8")
    with pytest.raises(UserError, match=message):
        load_table(folder / "t.csv")


def test_the_command_prints_a_line_for_each_fault(folder, capsys, monkeypatch):
    from pzsl.cli.common import complain

    rows = ["path,label,split", "a/1.jpg,fox,oops", '"a/\n2.jpg",fox,oops']
    (folder / "t.csv").write_text("\n".join(rows), "utf-8")
    with pytest.raises(UserError) as caught:
        load_table(folder / "t.csv")
    assert complain(caught.value) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0].strip() for line in lines] == ["pzsl", "line 2", "line 4"]


# --- images without a label ----------------------------------------------------------------------


def half_labelled(folder):
    table = frame(label=["Füchsin", "", "wolf", "", "Füchsin", "lynx"], candidates="")
    table.to_csv(folder / "t.csv", index=False)
    return folder / "t.csv"


def test_images_without_a_label_are_left_out_and_counted(folder, capsys):
    data = load_table(half_labelled(folder))
    assert len(data.paths) == 4 and data.candidates is None
    told = capsys.readouterr().err
    assert "2 of 6 images have neither label nor candidates (line 3 is the first)" in told
    assert "left out" in told


def test_or_kept_with_every_seen_class_as_a_candidate(folder, capsys):
    data = load_dataset("table", table=half_labelled(folder), empty="unlabelled")
    assert data.labels[1] == UNKNOWN and "kept" in capsys.readouterr().err
    assert sets_of(data)[:4] == [{"Füchsin"}, {"Füchsin", "wolf"}, {"wolf"}, {"Füchsin", "wolf"}]


def test_or_refused(folder):
    with pytest.raises(UserError, match="2 faults"):
        load_table(half_labelled(folder), empty="fail")
    with pytest.raises(UsageError, match="--empty is skip, unlabelled or fail, not 'drop'"):
        load_table(half_labelled(folder), empty="drop")


# --- a split that is drawn -----------------------------------------------------------------------


def no_split(folder, sets=None):
    plant(folder, [f"b/{i:02d}.jpg" for i in range(40)])
    table = pd.DataFrame({"Image": [f"b/{i:02d}.jpg" for i in range(40)]})
    table["Class"] = [f"bird {'abcd'[i % 4]}" for i in range(40)]
    if sets:
        table["candidates"] = [sets(label) for label in table["Class"]]
    table.to_csv(folder / "t.csv", index=False)
    return folder / "t.csv"


def test_without_a_split_one_is_drawn_and_said(folder, capsys):
    file = no_split(folder)
    data = load_table(file, seed=3)
    counts = {name: int((data.splits == name).sum()) for name in set(data.splits.tolist())}
    assert counts == {"trainval": 24, "test_seen": 6, "test_unseen": 10}
    assert "has no split; drawn with seed 3: 1 class (" in capsys.readouterr().err
    assert load_table(file, seed=3).split_hash == data.split_hash
    assert len({load_table(file, seed=seed).split_hash for seed in range(5)}) > 1
    assert load_table(file, unseen=0.0, test=0.5).seen.all()


def test_classes_that_only_test_has_are_unseen_which_is_reported(folder, capsys):
    table = pd.DataFrame({"path": PATHS, "label": ["fox", "fox", "wolf", "wolf", "owl", "owls"]})
    table["split"] = ["train", "test", "train", "test", "test", "Test"]
    told = "unseen, as only 'test' has them: 2 classes (owl, owls)."
    assert not load_table(table, root=folder).seen.all() and told in capsys.readouterr().err
    table["unseen"] = table["label"].str.startswith("owl")
    assert not load_table(table, root=folder).seen.all()
    assert "unseen, as" not in capsys.readouterr().err


def test_unseen_classes_that_are_given_stay_given(folder):
    file = no_split(folder)
    (folder / "unseen.txt").write_text("Bird B\n", "utf-8")
    data = load_table(file, unseen_file=folder / "unseen.txt")
    assert [c for c, seen in zip(data.classes, data.seen, strict=True) if not seen] == ["Bird B"]


def test_no_class_is_drawn_that_others_need_as_a_candidate(folder):
    data = load_table(no_split(folder, lambda label: f"{label}|bird a|bird c"))
    hidden = [c for c, seen in zip(data.classes, data.seen, strict=True) if not seen]
    assert hidden in (["bird b"], ["bird d"])
    everything = load_table(no_split(folder, lambda label: "bird a|bird b|bird c|bird d"))
    assert everything.seen.all() and (everything.splits == "test_seen").any()


def test_one_name_in_a_column_called_labels_is_the_label(folder, capsys):
    table = pd.DataFrame({"file": PATHS, "labels": ["fox", "fox", "wolf", "wolf", "owl", "owl"]})
    table.to_csv(folder / "t.csv", index=False)
    data = load_table(folder / "t.csv")
    assert data.candidates is None and (data.labels != UNKNOWN).all()
    assert "'labels' holds one name a row: the label" in capsys.readouterr().err


# --- cells ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("['a', 'b']", ("a", "b")),
        ('["a", "b"]', ("a", "b")),
        ("['a' 'b']", ("a", "b")),
        ("('a',)", ("a",)),
        ("{'a'}", ("a",)),
        ("[]", ()),
        ("set()", ()),
        ("frozenset({'a'})", ("a",)),
        ("array(['a', 'b'], dtype=object)", ("a", "b")),
        ("array(['a' 'b'])", ("a", "b")),
        ("[np.str_('a'), np.str_(\"it's\")]", ("a", "it's")),
        ("(np.int64(3), np.int64(5))", ("3", "5")),
        ("owl (barn)", ("owl (barn)",)),
        ("(owl)", ("(owl)",)),
        ("setter (English)", ("setter (English)",)),
        ("[1, 2.0]", ("1", "2")),
        ("a|b | a||", ("a", "b")),
        ("[unlabelled]", ("[unlabelled]",)),
        ("", ()),
        (None, ()),
        (float("nan"), ()),
        (["a", None, "b"], ("a", "b")),
        (np.array(["a", "b"]), ("a", "b")),
        (4.0, ("4",)),
    ],
)
def test_names_of_a_cell(text, names):
    assert names_of(text, "|") == names


def test_a_printed_list_never_runs_anything():
    assert printed_list("[__import__('os').getcwd()]") is None
    assert printed_list("[" * 5000 + "]" * 5000) is None


@pytest.mark.parametrize(
    ("cells", "labels", "separator"),
    [
        (["a, b", "b, a", "a", "c, a", "b, c"], [], ","),
        (["a; b", "b; c", "c; a", "a; c; b"], [], ";"),
        (["a, b", "b"], ["a", "b"], ","),
        (["mountain bike, all-terrain bike", "ox, bull"], [], "|"),
        (["mountain bike, all-terrain bike"], ["mountain bike, all-terrain bike"], "|"),
        (["a|b", "c, d"], [], "|"),
        (["a", "b"], [], "|"),
    ],
)
def test_what_separates_names(cells, labels, separator):
    assert list_separator(cells, labels) == separator


# --- what would be read wrong without a word -----------------------------------------------------


def lines_of(folder, **columns):
    return frame(**columns).to_csv(index=False).splitlines()


def fails(folder, text, name="messy.csv"):
    (folder / name).write_text(text, "utf-8")
    with pytest.raises(UserError) as caught:
        load_table(folder / name)
    return str(caught.value)


def test_an_open_quote_hides_no_fault_below_it(folder):
    lines = lines_of(folder)
    lines[2] = lines[2].replace("wolf,", '"wolf,', 1)
    lines[4] += ",x"
    lines[5] = lines[5].replace("test_seen", "tset")
    told = fails(folder, "\n".join(lines))
    assert "line 3: a quote is opened, but not closed" in told
    assert "line 5: 5 fields, but the header has 4" in told
    assert "line 6: unknown split 'tset'" in told and "3 faults" in told


def test_a_quote_above_the_header_is_no_fault(folder):
    (folder / "messy.csv").write_text('"Birds" of 2024\n' + frame().to_csv(index=False), "utf-8")
    is_as_written(load_table(folder / "messy.csv"))


def test_a_quote_that_closes_too_late_swallows_no_row(folder):
    lines = lines_of(folder, candidates="")
    lines[1] = lines[1].replace("Füchsin,", '"Füchsin,')
    lines[2] = lines[2].replace("wolf,", 'wolf",')
    assert "holds a line break: is a quote closed too late?" in fails(folder, "\n".join(lines))


def test_after_many_wrong_quotes_the_rest_is_not_read(folder):
    text = "path,label\n" + 'x.jpg,"a""\n' * 3000
    assert "20 faults" in fails(folder, text)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"name": "wolf"}, "an object in place of a text"),
        ([["wolf"]], "a list in place of a text"),
        ("{'wolf': 0.7, 'lynx': 0.3}", "is not a list that can be read"),
        ("[wolf, lynx]", "is not a list that can be read"),
        ("('wolf', None)", "is not a list that can be read"),
        ("OrderedSet(['wolf', 'lynx'])", "is not a list that can be read"),
    ],
)
def test_what_is_neither_a_name_nor_a_list_is_no_class(folder, value, told):
    table = frame()
    cells = [*table["candidates"]]
    table["candidates"] = pd.Series([cells[0], value, *cells[2:]], dtype=object)
    with pytest.raises(UserError, match=f"row 2: the column 'candidates': .*{told}"):
        load_table(table, root=folder)


def test_names_stored_as_bytes_are_text(folder):
    is_as_written(load_table(frame(label=[name.encode() for name in LABELS]), root=folder))


def test_a_key_that_is_there_twice_is_no_label(folder):
    text = '{"path": "a/1.jpg", "label": "x", "label": "wolf"}'
    assert "the key 'label' is there twice" in fails(folder, text, "messy.jsonl")


def test_json_lines_end_where_json_ends_them(folder):
    texts = [frame().iloc[[row]].to_json(orient="records")[1:-1] for row in range(6)]
    texts[2] = texts[2][:-1] + ', "caption": "one\u2028two"}'
    (folder / "messy.jsonl").write_text("\r\n".join(texts), "utf-8")
    is_as_written(load_table(folder / "messy.jsonl"))


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        ("class", "'class' is left out, as 'label' is the label"),
        ("image_id", "'image_id' is left out, as 'path' is the path"),
        ("fold", "'fold' is left out, as 'split' is the split"),
    ],
)
def test_a_second_column_of_a_kind_is_reported(folder, capsys, extra, told):
    is_as_written(load_table(frame(**{extra: "7"}), root=folder))
    assert told in capsys.readouterr().err


def test_an_empty_split_among_others_says_what_to_do(folder):
    with pytest.raises(UserError, match="row 2: the split is empty: give each image one"):
        load_table(frame(split=["trainval", "", *SPLITS[2:]]), root=folder)


# --- tables of other shapes: each gets a message that leads to a table that is read ---------------


def test_a_table_with_a_column_for_each_class_is_reported_in_one_short_line(folder):
    columns = [f"bird {number}" for number in range(200)]
    told = fails(folder, f"path,{','.join(columns)}\na/1.jpg{',0' * 200}\n")
    assert "bird 6 and 193 more; they should be path, label, candidates, split" in told
    assert len(told) < 300


@pytest.mark.parametrize("header", ["Label 1,Label 2", "label_1,label_2", "Klasse1,Klasse2"])
def test_labels_in_several_columns_are_read_as_the_message_says(folder, header):
    (folder / "messy.csv").write_text(f"path,{header}\na/1.jpg,fox,owl\na/2.jpg,owl,\n", "utf-8")
    with pytest.raises(UserError, match=f"add --annotators '{header}'"):
        load_table(folder / "messy.csv")
    people = Annotators(tuple((name, 1.0) for name in header.split(",")))
    assert sets_of(load_table(folder / "messy.csv", annotators=people)) == [{"fox", "owl"}, {"owl"}]


def test_a_row_for_each_label_of_an_image_is_refused_with_how_to_join_them(folder):
    told = fails(folder, "path,label\na/1.jpg,fox\na/1.jpg,owl\na/2.jpg,owl\na/2.jpg,owl\n")
    assert "line 3: 'a/1.jpg' is listed in line 2 already: keep one of them, or write all" in told
    assert "its labels into one row, as candidates: fox|owl." in told
    assert "line 5: 'a/2.jpg' is listed in line 4 already: keep one of them." in told


@pytest.mark.parametrize(
    "content",
    [
        json.dumps({path: ["fox", "owl"] for path in PATHS}),
        json.dumps({path: ["fox", "owl"] for path in PATHS}, indent=2),
        frame().to_json(),
        frame().to_json(orient="split"),
        json.dumps({"images": [{"file_name": "a/1.jpg"}], "annotations": []}),
    ],
    ids=["paths", "paths on lines", "pandas", "pandas split", "coco"],
)
def test_one_object_of_all_images_is_refused_with_what_to_write(folder, content):
    told = fails(folder, content, "messy.json")
    assert "holds one object: write an object for each image" in told and len(told) < 300


def test_one_object_that_is_a_row_is_read(folder):
    (folder / "one.jsonl").write_text('{"path": "a/1.jpg", "candidates": ["fox", "owl"]}\n')
    assert load_table(folder / "one.jsonl").paths == ("a/1.jpg",)


def test_a_named_index_of_parquet_is_a_column_as_in_a_frame(folder):
    frame().set_index("path").to_parquet(folder / "t.parquet")
    is_as_written(load_table(folder / "t.parquet"))
    is_as_written(load_table(frame().set_index("path"), root=folder))
    is_as_written(load_table(frame().set_index("path", drop=False), root=folder))


def test_candidates_alone_are_said_to_be_for_training(folder, capsys):
    (folder / "t.csv").write_text("path,candidates\na/1.jpg,fox|owl\na/2.jpg,owl\n", "utf-8")
    assert (load_table(folder / "t.csv").splits == "trainval").all()
    assert "has no split: all images are for training" in capsys.readouterr().err


@pytest.mark.parametrize(("root", "above"), [("a", "."), ("", "a")])
def test_a_root_one_folder_off_is_refused_with_where_the_images_are(folder, root, above):
    paths = "a/1.jpg\na/2.jpg" if root else "1.jpg\n2.jpg"
    (folder / "t.csv").write_text(f"path,label\n{paths}\n".replace(".jpg", ".jpg,fox"), "utf-8")
    where = re.escape(str(folder / above))
    with pytest.raises(UserError, match=f"They are below {where}: give that as --root"):
        load_table(folder / "t.csv", root=folder / root)


def test_a_root_that_holds_other_images_of_the_table_is_kept(folder):
    (folder / "t.csv").write_text("path,label\n1.jpg,fox\na/2.jpg,fox\n", "utf-8")
    with pytest.raises(UserError, match=r"1 of 2 images are not below .* Give their folder"):
        load_table(folder / "t.csv")


def test_candidates_beside_those_of_annotators_are_reported(tmp_path, capsys):
    lines = [
        "path,candidates,tags,anna,split",
        *(f"{n}.jpg,cat|fox,fox,fox|owl,train" for n in "12"),
    ]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    data = load_rows(tmp_path / "t.csv", annotators=Annotators((("anna", 1.0),)))
    assert data.classes == ("fox", "owl")
    told = capsys.readouterr().err
    for name in ("candidates", "tags"):
        assert f"'{name}' is left out, as --annotators names the columns of candidates" in told
    both = Annotators((("anna", 1.0), ("candidates", 1.0)))
    assert load_rows(tmp_path / "t.csv", annotators=both).classes == ("cat", "fox", "owl")
    told = capsys.readouterr().err
    assert "'tags' is left out" in told and "'candidates' is left out" not in told
