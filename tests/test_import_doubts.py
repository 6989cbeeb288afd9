"""What an import refuses, and what it asks about: names, paths, scales, rows without direction."""

from __future__ import annotations

import caches
import numpy as np
import pytest
from test_wrapped_numbers import arrays

from pzsl.datasets.own.text_files import decode
from pzsl.errors import UserError
from pzsl.exchange import import_npz
from pzsl.store import load_cache


def imported(folder, **changes):
    np.savez(folder / "x.npz", **arrays(**changes))
    return import_npz(folder / "x.npz", folder / "x.h5", overwrite=True)


@pytest.mark.parametrize("other", ["ASH", "ash ", "\uff41sh", "a\u200bsh", "'ash'"])
def test_class_names_that_read_alike_are_asked_about(tmp_path, capsys, other):
    imported(tmp_path, class_names=np.array(["ash", other]))
    assert "'ash' and" in (told := capsys.readouterr().err) and "read alike" in told


@pytest.mark.parametrize("name", ["", "  "])
def test_a_class_without_a_name_is_refused(tmp_path, name):
    with pytest.raises(UserError, match="class 1 has no name"):
        imported(tmp_path, class_names=np.array(["ash", name]))


def test_one_image_under_two_paths_is_not_on_both_sides_of_the_split(tmp_path, capsys):
    paths = [f"{row}.png" for row in range(8)]
    imported(tmp_path, paths=np.array([*paths[:5], "a/.././0.png", *paths[6:]]))
    assert "1 image given twice" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"'0\.png' .trainval. and '\./0\.png' .test_seen. are the"):
        imported(tmp_path, paths=np.array([*paths[:7], "./0.png"]))


def test_a_logarithm_is_asked_about_where_a_scale_belongs(tmp_path, capsys):
    imported(tmp_path, logit_scale=np.array(100))
    assert "logarithm" not in capsys.readouterr().err
    imported(tmp_path, logit_scale=np.array(4.6052))
    assert "exp of it, 100" in capsys.readouterr().err


@pytest.mark.parametrize(("value", "fault"), [(np.nan, "NaN"), (0.0, "all zero")])
def test_no_division_is_advised_where_none_helps(tmp_path, value, fault):
    images = arrays()["image_features"].copy()
    images[2] = value
    with pytest.raises(UserError, match=rf"row 2 .*{fault}.*compute such rows again") as told:
        imported(tmp_path, image_features=images)
    assert "--normalise" not in str(told.value)


@pytest.mark.parametrize("letter", ["\0", "\x1b"])
def test_a_control_character_in_a_table_is_named_with_its_line(letter):
    with pytest.raises(UserError, match=r"t\.csv, line 2 holds the control character"):
        decode(f"path,label\na.jpg,c{letter}at\n".encode(), "t.csv")
    assert decode("path\na.jpg\n".encode("utf-16-le"), "t.csv") == ("path\na.jpg\n", "utf-16-le")


@pytest.mark.parametrize("twin", ["d\\0.png", "d/./0.png"])
def test_spellings_of_one_path_are_one_image(tmp_path, twin):
    paths = [f"{row}.png" for row in range(7)]
    with pytest.raises(UserError, match="same file"):
        imported(tmp_path, paths=np.array(["d/0.png", *paths[1:], twin]))
    with pytest.raises(UserError, match="same file"):
        imported(tmp_path, paths=np.array(["\u00e9.png", *paths[1:], "e\u0301.png"]))


def test_vectors_near_unit_length_are_divided_by_it_and_told_of(tmp_path, capsys):
    images = arrays()["image_features"]
    whole = np.array(load_cache(imported(tmp_path)).images)
    assert "divided" not in capsys.readouterr().err
    imported(tmp_path, image_features=images * np.float32(0.993))
    assert "8 of 8 rows have a length near 1, the first 0.993" in capsys.readouterr().err
    assert np.allclose(load_cache(tmp_path / "x.h5").images, whole, atol=1e-6)


def test_candidates_of_training_images_are_seen_classes_each_once_and_some_hold_the_label(
    tmp_path, capsys
):
    offsets, labels = np.arange(9), arrays()["labels"]
    names = {
        "class_names": np.array(["ash", "oak", "fir"]),
        "unseen": np.array([False, False, True]),
        "text_features": np.eye(3, caches.DIM, dtype=np.float32),
    }
    sets = {"candidate_offsets": offsets, "candidate_labels": labels}
    imported(tmp_path, **names, **sets)
    assert "Not one" not in capsys.readouterr().err
    imported(tmp_path, **names, **{**sets, "candidate_labels": 1 - labels})
    assert "training images has its label among its candidates" in capsys.readouterr().err
    pairs = {"candidate_offsets": 2 * offsets, "candidate_labels": np.repeat(labels, 2)}
    with pytest.raises(UserError, match=r"row 0 .*twice among its candidates"):
        imported(tmp_path, **names, **pairs)
    pairs["candidate_labels"] = np.stack([labels, np.full(8, 2)], 1).ravel()
    with pytest.raises(UserError, match=r"row 0 .*the unseen class 'fir' among its candidates"):
        imported(tmp_path, **names, **pairs)


def test_attributes_that_tell_nothing_are_asked_about(tmp_path, capsys):
    count = len(arrays()["class_names"])
    several = np.eye(count, 5, dtype=np.float32)
    imported(tmp_path, attributes=several)
    assert "the attributes" not in capsys.readouterr().err
    zero = several.copy()
    zero[1] = 0
    imported(tmp_path, attributes=zero)
    assert "are all zero: were they left out?" in capsys.readouterr().err
    twins = several.copy()
    twins[1] = twins[0]
    imported(tmp_path, attributes=twins)
    told = capsys.readouterr().err
    assert "have the same attributes" in told and "all zero" not in told
