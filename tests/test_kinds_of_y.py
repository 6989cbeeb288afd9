"""Labels and candidates in the types that files and pandas give them: bytes, dates, nullable."""

from __future__ import annotations

import warnings
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch

from pzsl import PartialLabelClassifier
from pzsl.errors import UserError

TRUTH = np.tile([0, 1, 2], 6)
NAMES = np.array(["ash", "elm", "oak"])
MASK = np.eye(3, dtype=bool)[TRUTH]
X = np.eye(3, 8)[TRUTH] + 0.05 * np.random.default_rng(0).standard_normal((len(TRUTH), 8))
DAYS = np.array(["2026-01-01", "2026-01-02", "2026-01-03"], dtype="datetime64[D]")
BYTES = NAMES.astype("S").tolist()


def fit(y, **given) -> PartialLabelClassifier:
    return PartialLabelClassifier(method="clip", device="cpu").fit(X, y, **given)


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        ([BYTES[row] for row in TRUTH], BYTES),
        (np.array(BYTES)[TRUTH], BYTES),
        (np.array(BYTES, dtype=object)[TRUTH], BYTES),  # of HDF5
        ([[BYTES[row]] for row in TRUTH], BYTES),
        (DAYS[TRUTH], DAYS.tolist()),
        (list(DAYS[TRUTH]), DAYS.tolist()),
        ([[day] for day in DAYS[TRUTH]], DAYS.tolist()),
        (list(torch.from_numpy(TRUTH)[:, None]), [0, 1, 2]),
        (NAMES[TRUTH][:, None], [*NAMES]),
        (TRUTH[:, None], [0, 1, 2]),
        (pd.DataFrame({"label": NAMES[TRUTH]}), [*NAMES]),
        (pd.Series(TRUTH).astype("Int64"), [0, 1, 2]),
        (pd.DataFrame(MASK).astype("boolean"), [0, 1, 2]),
        (MASK.astype(object), [0, 1, 2]),
        (torch.from_numpy(MASK).to_sparse(), [0, 1, 2]),
    ],
)
def test_labels_of_every_type_are_the_classes(y, classes):
    fitted = fit(y)
    assert fitted.classes_.tolist() == classes
    assert fitted.predict(X).tolist() == [classes[row] for row in TRUTH]
    assert fitted.score(X, y) == 1


@pytest.mark.parametrize(
    ("y", "told"),
    [
        (pd.Series([None, *TRUTH[1:]]).astype("Int64"), "a class is missing"),
        (pd.Series([None, *NAMES[TRUTH[1:]]]).astype("string"), "a class is missing"),
        ([[pd.NA], *([name] for name in NAMES[TRUTH[1:]])], "a class is missing"),
        (pd.Series([pd.NaT, *pd.to_datetime(DAYS[TRUTH[1:]])]), "a class is missing"),
        ([b"", *(BYTES[row] for row in TRUTH[1:])], "an empty name stands for an unknown class"),
        (pd.DataFrame(MASK).astype("boolean").mask(MASK), r"missing.* as in y.fillna\(False\)"),
        (MASK.astype(int), r"write mask.astype\(bool\)"),
        (np.where(MASK, 0.8, 0.1), "how large a value makes a class a candidate, as in values > 0"),
        (
            [{"ash": 0.9, "elm": 0.1}] * len(X),
            r"\{'ash': .* is a dict.* \[set\(row\) for row in y\]",
        ),
        ([Counter({name: 2, "oak": 1}) for name in NAMES[TRUTH]], "Counter.* is a dict"),
        (np.stack([TRUTH, TRUTH[::-1]], 1), r"give \[set\(row\) for row in numpy.asarray\(y\)\]"),
    ],
)
def test_what_is_missing_or_no_mask_is_reported_with_what_helps(y, told):
    with pytest.raises(UserError, match=told):
        fit(y)


def test_the_columns_of_several_annotators_are_no_mask_and_the_remedy_joins_them():
    """As a mask of bool, every name would be a candidate."""
    y = pd.DataFrame({"anna": NAMES[TRUTH], "bob": NAMES[(TRUTH + TRUTH // 2) % 3]})
    with pytest.raises(UserError, match=r"give \[set\(row\) for row in numpy.asarray\(y\)\]"):
        fit(y)
    joined = [set(row) for row in np.asarray(y)]
    assert fit(joined).classes_.tolist() == [*NAMES]


def test_a_frame_of_one_column_does_not_name_the_classes():
    y = pd.DataFrame({0: NAMES[TRUTH]})
    fitted = fit(y, label_embeddings=np.eye(3, 8), classes=NAMES)
    assert fitted.score(X, y) == fitted.score(X, y.rename(columns={0: "elm"})) == 1


def test_frames_of_nullable_numbers_are_vectors_and_missing_ones_are_reported():
    frame = pd.DataFrame(X).astype("Float64")
    assert PartialLabelClassifier(method="clip").fit(frame, TRUTH).score(frame, TRUTH) == 1
    frame.iloc[3, 2] = pd.NA
    with pytest.raises(UserError, match="X, row 3"):
        PartialLabelClassifier(method="clip").fit(frame, TRUTH)


@pytest.mark.parametrize(
    "column",
    [
        lambda rows: pd.Series(list(rows)),
        lambda rows: pd.DataFrame({"embedding": rows.tolist()}),
        lambda rows: pd.Series(list(rows)).to_numpy(),
    ],
)
def test_a_column_of_vectors_is_reported_with_what_makes_an_array_of_it(column):
    with pytest.raises(UserError, match=r"give numpy.stack\(numpy.ravel\(X\)\)"):
        PartialLabelClassifier(method="clip").fit(column(X), TRUTH)
    assert np.array_equal(np.stack(np.ravel(column(X))), X)


def test_rows_of_different_lengths_are_reported():
    with pytest.raises(UserError, match=r"X should be .* but its rows differ in length"):
        PartialLabelClassifier(method="clip").fit(
            [row[: 5 + i % 2] for i, row in enumerate(X)], TRUTH
        )


def test_a_frame_of_seen_classes_gives_no_warning_of_torch():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(MASK, seen=pd.Series([True] * 3), label_embeddings=np.eye(3, 8))
        fit(MASK, seen=pd.Series([True] * 3).astype("boolean"), label_embeddings=np.eye(3, 8))


def test_score_without_y_says_so():
    with pytest.raises(UserError, match="requires y"):
        fit(TRUTH).score(X, None)
