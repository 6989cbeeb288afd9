"""Whole numbers that another type can't hold, masks as lists and tensors, equal text vectors."""

from __future__ import annotations

import caches
import h5py
import numpy as np
import pytest
import torch

from pzsl import PartialLabelClassifier
from pzsl.candidates import validate
from pzsl.errors import UserError
from pzsl.exchange import import_npz
from pzsl.store import load_cache
from pzsl.store.whole_numbers import as_whole


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.array([0, 2**32]), np.int32),
        (np.array([0, -(2**31) - 1]), np.int32),
        (np.array([0, 2**64 - 1], np.uint64), np.int64),  # would become -1, 'unknown'
    ],
)
def test_numbers_that_would_wrap_are_named(values, dtype):
    with pytest.raises(UserError, match=f"x, row 1 holds {values[1]}"):
        as_whole(values, dtype, "x")
    assert as_whole(values[:1], dtype, "x").dtype == dtype


@pytest.mark.parametrize(
    ("name", "value", "dtype"),
    [
        ("image/candidates/labels", 2**32, np.int64),
        ("image/candidates/offsets", 2**64 - 1, np.uint64),
        ("image/label", 2**64 - 1, np.uint64),
    ],
)
def test_a_cache_of_another_tool_does_not_wrap(tmp_path, name, value, dtype):
    path = caches.make(tmp_path / "x.h5", caches.candidates(caches.header()))
    with h5py.File(path, "r+") as file:
        values = file[name][()].astype(dtype)
        values[1] = value
        del file[name], file["checksum"], file.attrs["checksums"]
        file[name] = values
    with pytest.raises(UserError, match=f"{name}, row 1 holds {value}"):
        load_cache(path)


def arrays(**changes):
    """An import of eight images of two classes, with candidates."""
    plain = {
        "image_features": caches.images(8),
        "labels": np.arange(8) % 2,
        "class_names": np.array(["ash", "elm"]),
        "text_features": caches.unit(3, 2, caches.DIM),
        "unseen": np.zeros(2, np.bool_),
        "split": np.array(["trainval"] * 6 + ["test_seen"] * 2),
        "candidate_offsets": np.arange(9),
        "candidate_labels": np.arange(8) % 2,
        "model": np.array("m"),
        "pretrained": np.array("p"),
    }
    return plain | changes


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": np.array([0, 2**64 - 1, *range(6)], np.uint64)},
        {"candidate_labels": np.array([0, 2**32, 0, 1, 0, 1, 0, 1])},
        {"candidate_offsets": np.array([0, 2**63, *range(7)], np.uint64)},
    ],
)
def test_an_import_does_not_wrap(tmp_path, changes):
    np.savez(tmp_path / "x.npz", **arrays(**changes))
    with pytest.raises(UserError, match=rf"x\.npz: '{next(iter(changes))}', row 1 holds \d{{10}}"):
        import_npz(tmp_path / "x.npz", tmp_path / "x.h5")


def test_candidates_do_not_wrap():
    with pytest.raises(UserError, match=r"row 1 has candidate 4294967296, outside 0\.\.2"):
        validate(np.array([0, 2, 3]), np.array([0, 1, 2**32]), np.ones(3, np.bool_), "x")


def test_equal_text_vectors_are_said(tmp_path, capsys):
    np.savez(tmp_path / "x.npz", **arrays())
    import_npz(tmp_path / "x.npz", tmp_path / "x.h5")
    assert "are equal" not in capsys.readouterr().err
    text = np.repeat(caches.unit(3, 1, caches.DIM), 2, axis=0)
    np.savez(tmp_path / "y.npz", **arrays(text_features=text))
    import_npz(tmp_path / "y.npz", tmp_path / "y.h5")
    assert "The text vectors of 'ash' and 'elm' are equal" in capsys.readouterr().err


def test_a_mask_is_a_mask_in_any_clothes():
    images, labels = caches.unit(5, 12, 6), caches.unit(6, 3, 6)
    mask = np.eye(3, dtype=bool)[np.arange(12) % 3] | (np.arange(36).reshape(12, 3) % 5 == 0)
    wanted = PartialLabelClassifier(method="cc").fit(images, mask, labels).predict_proba(images)
    clothes = [mask.tolist(), torch.from_numpy(mask), list(mask), list(torch.from_numpy(mask))]
    for given in clothes:
        found = PartialLabelClassifier(method="cc").fit(images, given, labels)
        np.testing.assert_array_equal(found.predict_proba(images), wanted)
    ragged = [[True, False], *mask.tolist()[1:]]
    with pytest.raises(UserError, match="row 0 should be a collection of class numbers"):
        PartialLabelClassifier(method="cc").fit(images, ragged, labels)
