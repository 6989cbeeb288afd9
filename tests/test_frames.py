"""Frames with rows, classes or dimensions in different orders, and classes that are unknown."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pzsl import PartialLabelClassifier
from pzsl.errors import UsageError, UserError

NAMES = ["ash", "elm", "oak"]
TRUTH = np.tile([0, 1, 2], 6)
VECTORS = np.eye(3, 8)


def frames() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Images, a mask and label embeddings, with names of their dimensions and classes."""
    dimensions = [f"d{number}" for number in range(8)]
    noise = 0.05 * np.random.default_rng(0).standard_normal((len(TRUTH), 8))
    images = pd.DataFrame(VECTORS[TRUTH] + noise, columns=dimensions)
    mask = pd.DataFrame(np.eye(3, dtype=bool)[TRUTH], columns=NAMES)
    return images, mask, pd.DataFrame(VECTORS, index=NAMES, columns=dimensions)


def clip() -> PartialLabelClassifier:
    return PartialLabelClassifier(method="clip", device="cpu")


X, MASK, EMBEDDINGS = frames()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"X": X.drop(index=0), "y": MASK.drop(index=17)}, "index of X .* index of y .*at 0: 1 "),
        ({"y": MASK.sample(frac=1, random_state=0)}, "the index of X and the index of y differ"),
        ({"X": X[X.columns[::-1]]}, "columns of X and those of label_embeddings .*'d7' and 'd0'"),
        ({"seen": pd.Series(True, NAMES[::-1])}, "columns of y and the index of seen differ"),
    ],
)
def test_fit_refuses_frames_that_are_not_aligned(changed, told):
    with pytest.raises(UserError, match=told):
        clip().fit(**{"X": X, "y": MASK, "label_embeddings": EMBEDDINGS, **changed})


def test_frames_that_number_the_classes_otherwise_are_refused():
    """Answers would be rows of the embeddings, which these numbers are not."""
    turned = EMBEDDINGS.iloc[::-1].set_axis([2, 1, 0])
    with pytest.raises(UserError, match=r"label_embeddings numbers the classes 2, 1, 0"):
        clip().fit(X, TRUTH, turned)
    assert clip().fit(X, TRUTH, turned, classes=[2, 1, 0]).score(X, TRUTH) == 1
    from_one = MASK.set_axis([1, 2, 3], axis=1)
    with pytest.raises(UserError, match=r"columns of y numbers the classes 1, 2, 3"):
        clip().fit(X, from_one, VECTORS)
    answers = clip().fit(X, from_one, VECTORS, classes=[1, 2, 3]).predict(X)
    assert (answers == TRUTH + 1).all()
    assert clip().fit(X, MASK.set_axis(range(3), axis=1), VECTORS).score(X, TRUTH) == 1


def test_a_fit_that_fails_leaves_no_older_one_with_other_classes():
    fitted = clip().fit(X, MASK, EMBEDDINGS, classes=NAMES)
    fitted.set_params(scale=-1)
    with pytest.raises(UsageError, match="scale should be None or a number above 0"):
        fitted.fit(X, MASK[NAMES[::-1]].to_numpy(), VECTORS[::-1], classes=NAMES[::-1])
    with pytest.raises(UserError, match="is not fitted yet"):
        fitted.predict(X)


def test_inferred_classes_that_are_none_or_several_are_reported(capsys):
    names = np.array(["fox", "unknown", "fox|owl"], dtype=object)[TRUTH]
    names[:2] = "owl"
    clip().fit(X, pd.Series(names))
    told = capsys.readouterr().err
    assert "A class is called 'unknown': is it a value that is missing?" in told
    assert "('fox|owl'): are they lists? Give such an image a list of names." in told


@pytest.mark.parametrize("classes", [None, NAMES])
def test_score_refuses_frames_that_are_not_aligned(classes):
    fitted = clip().fit(X, MASK, EMBEDDINGS, classes=classes)
    assert fitted.score(X, MASK) == 1
    with pytest.raises(UserError, match="the index of X and the index of y differ"):
        fitted.score(X, MASK.sample(frac=1, random_state=0))
    with pytest.raises(UserError, match="the index of sample_weight differ"):
        fitted.score(X, MASK, sample_weight=pd.Series(1.0, X.index[::-1]))
    with pytest.raises(UserError, match="classes and the columns of y differ"):
        fitted.score(X, MASK[NAMES[::-1]])
    with pytest.raises(UserError, match="the columns of X and those of X in fit differ"):
        fitted.predict(X[X.columns[::-1]])


def test_score_knows_the_classes_that_fit_inferred():
    fitted = clip().fit(X, np.array(NAMES)[TRUTH])
    with pytest.raises(UserError, match="classes and the columns of y differ"):
        fitted.score(X, MASK[NAMES[::-1]])


def test_arrays_and_names_of_another_kind_pass():
    """The remedy of the message, and an index that names nothing of the other one."""
    shuffled = MASK.sample(frac=1, random_state=0)
    clip().fit(X, shuffled.to_numpy(), EMBEDDINGS)
    files = MASK.set_axis([f"{row}.jpg" for row in MASK.index])
    assert clip().fit(X, files, EMBEDDINGS).score(X, files) == 1
    index = [float("nan"), *range(1, len(X))]
    assert clip().fit(X.set_axis(index), MASK.set_axis(index), EMBEDDINGS).score(X, MASK) == 1


@pytest.mark.parametrize("rows", [17, 19])
def test_another_number_of_rows_is_reported_as_such(rows):
    with pytest.raises(UserError, match=r"should have shape \(18, 3\), but have"):
        clip().fit(X, pd.concat([MASK, MASK], ignore_index=True)[:rows], EMBEDDINGS)


@pytest.mark.parametrize(
    ("unknown", "told"),
    [
        (float("nan"), "a class is missing"),
        (7, r"several types \(int, str\)"),
        ("", "an empty name stands for an unknown class"),
        (" ", "an empty name stands for an unknown class"),
    ],
)
@pytest.mark.parametrize("kind", ["one each", "sets"])
def test_no_class_is_made_of_a_missing_name(unknown, told, kind):
    names = [unknown, *np.array(NAMES)[TRUTH[1:]].tolist()]
    with pytest.raises(UserError, match=told):
        clip().fit(X, names if kind == "one each" else [[name] for name in names])


@pytest.mark.parametrize("dtype", [int, float, object])
def test_minus_one_is_unknown_unless_it_is_listed_or_one_of_two(dtype):
    numbers = np.where(np.arange(len(X)) == 0, -1, TRUTH).astype(dtype)
    with pytest.raises(UserError, match=r"-1 stands for an unknown class: .* in classes="):
        clip().fit(X, numbers)
    listed = clip().fit(X, numbers, classes=[-1, 0, 1, 2])
    assert listed.classes_.tolist() == [-1, 0, 1, 2]
    signs = np.where(TRUTH == 0, -1, 1).astype(dtype)
    assert clip().fit(X, signs).score(X, signs) == 1


def test_a_missing_name_among_the_classes_is_refused():
    with pytest.raises(UserError, match="classes: a name is missing"):
        clip().fit(X, MASK.to_numpy(), VECTORS, classes=["ash", float("nan"), "oak"])


def test_uncalibrated_probabilities_are_reported(capsys):
    clip().fit(X, MASK, EMBEDDINGS).predict_proba(X)
    assert "fit held no images out: probabilities are an uncalib" in capsys.readouterr().err
    options = {"epochs": 1, "min_steps": 1}
    fitted = PartialLabelClassifier(options=options, device="cpu").fit(X, MASK, EMBEDDINGS)
    fitted.predict_proba(X)
    assert fitted.calibration_.images and "held" not in capsys.readouterr().err
