"""Class names: the rule, the shipped exceptions, the user's file."""

from __future__ import annotations

import pytest
from standin import published_names_of

from pzsl.datasets.published.class_names import (
    clean_name,
    exceptions,
    prompt_names,
    published_names,
    read_names,
)
from pzsl.errors import UserError


@pytest.mark.parametrize(
    ("published", "clean"),
    [
        ("002.Laysan_Albatross", "Laysan Albatross"),
        ("010.Red_winged_Blackbird", "Red-winged Blackbird"),
        ("159.Black_and_white_Warbler", "Black-and-white Warbler"),
        ("grizzly+bear", "grizzly bear"),
        ("access_road", "access road"),
        ("lean-to", "lean-to"),
        ("church_indoor", "indoor church"),
        ("movie_theater/outdoor", "outdoor movie theater"),
        ("indoor", "indoor"),
        ("colt's foot", "colt's foot"),
        ("  two__words ", "two words"),
    ],
)
def test_the_rule_makes_english_of_published_names(published, clean):
    assert clean_name(published) == clean


def test_exceptions_beat_the_rule_and_the_users_file_beats_both(tmp_path):
    published = ["arena_hockey", "church_indoor", "abbey"]
    assert prompt_names("sun", published) == ("hockey arena", "indoor church", "abbey")
    own = tmp_path / "names.tsv"
    own.write_text("# mine\narena_hockey\tice hockey arena\n\nabbey\told abbey\n", "utf-8")
    assert prompt_names("sun", published, own) == ("ice hockey arena", "indoor church", "old abbey")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_the_users_names_are_tidied_and_found_in_any_spelling(tmp_path, encoding):
    own = tmp_path / "names.tsv"
    own.write_bytes("Grizzly_Bear\tbrown_bear &amp; cub\r\nox\ta  cafe\u0301\r\n".encode(encoding))
    names = prompt_names("awa2", ["ox", "grizzly bear"], own)
    assert names == ("a caf\u00e9", "brown bear & cub")


def test_a_file_of_names_in_another_encoding_says_what_to_do(tmp_path):
    own = tmp_path / "names.tsv"
    own.write_bytes("ox\tcaf\u00e9\n".encode("cp1252"))
    with pytest.raises(UserError, match=r"can't be read: not text in UTF-8, save it as such\.$"):
        read_names(own)


def test_a_class_that_is_named_in_two_spellings_is_told(tmp_path):
    own = tmp_path / "names.tsv"
    own.write_text("ox\tbull\nOx\tcow\n", "utf-8")
    with pytest.raises(UserError, match="'ox' is named a second time, as 'Ox'"):
        prompt_names("awa2", ["ox", "fox"], own)


def test_two_classes_of_one_name_are_refused():
    with pytest.raises(UserError, match=r"'grizzly\+bear' and 'grizzly_bear' would both be called"):
        prompt_names("awa2", ["ox", "grizzly+bear", "grizzly_bear"])


def test_a_name_for_an_unknown_class_is_refused_and_the_nearest_shown(tmp_path):
    own = tmp_path / "names.tsv"
    own.write_text("grizzly bear\tbrown bear\n", "utf-8")
    with pytest.raises(UserError, match=r"no class 'grizzly bear'.*like 'grizzly\+bear'"):
        prompt_names("awa2", ["ox", "grizzly+bear"], own)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ox\tox\nfox fox\n", "line 2: expected 'published name <TAB> name for prompts'"),
        ("ox\t\n", "line 1: expected"),
        ("ox\ta\nox\tb\n", "line 2: 'ox' is named a second time"),
    ],
)
def test_a_malformed_line_is_named(tmp_path, text, message):
    own = tmp_path / "names.tsv"
    own.write_text(text, "utf-8")
    with pytest.raises(UserError, match=message):
        read_names(own)


def test_a_missing_file_of_names_is_one_line(tmp_path):
    with pytest.raises(UserError, match="can't be read"):
        read_names(tmp_path / "none.tsv")


def test_flowers_have_the_publishers_102_names_in_label_order():
    names = published_names("flo")
    assert names is not None and len(names) == len(set(names)) == 102
    for label, name in {
        1: "pink primrose",
        12: "colt's foot",
        21: "fire lily",
        51: "petunia",
        54: "sunflower",
        74: "rose",
        77: "passion flower",
        102: "blackberry lily",
    }.items():
        assert names[label - 1] == name
    clean = prompt_names("flo", names)
    assert "pink and yellow dahlia" in clean
    assert not {name for name in clean if set(name) & set("?_+\t")}


def test_flower_names_agree_with_torchvisions_list():
    classes = getattr(pytest.importorskip("torchvision.datasets").Flowers102, "classes", None)
    if classes is None:
        pytest.skip("this torchvision does not list the flowers")
    assert published_names("flo") == tuple(classes)


@pytest.mark.parametrize("name", ["sun", "cub", "awa2", "apy"])
def test_every_published_name_becomes_an_english_name_of_its_own(real_data, name):
    published = published_names_of(real_data, name.upper())
    assert set(exceptions(name)) <= set(published)
    clean = prompt_names(name, published)
    assert len(set(map(str.lower, clean))) == len(published)
    odd = [text for text in clean if set(text) & set("_+/.\\\t0123456789") or "  " in text]
    assert not odd


def test_no_exception_says_what_the_rule_says():
    for name in ("sun", "cub", "apy", "flo"):
        assert not [p for p, clean in exceptions(name).items() if clean_name(p) == clean]
