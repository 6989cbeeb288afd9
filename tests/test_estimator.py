"""Methods on plain arrays: the numbers of a run, the manners of scikit-learn, and its errors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import make_problem, write_cache
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import Normalizer
from sklearn.utils.estimator_checks import check_estimator

import pzsl
from pzsl import PartialLabelClassifier, load_cache, train
from pzsl.errors import UsageError, UserError
from pzsl.inference.record import read_record
from pzsl.inference.restore import restore
from pzsl.store.unit_length import TOLERANCE

SHORT = {"min_steps": 4, "epochs": 2}


def toy(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Images, a mask of candidates, label embeddings of seen and unseen classes, the truth."""
    problem, truth = make_problem(seed)
    candidates = problem.candidates
    mask = np.zeros((len(truth), 12), dtype=bool)
    mask[np.repeat(np.arange(len(truth)), candidates.sizes.numpy()), candidates.labels.numpy()] = (
        True
    )
    labels = np.concatenate([problem.seen.numpy(), problem.unseen.numpy()])
    return problem.images.numpy(), mask, labels, truth


def short(**words) -> PartialLabelClassifier:
    return PartialLabelClassifier(**{"options": SHORT, "scale": 20.0, "device": "cpu", **words})


@pytest.mark.parametrize("method", ["clip", "clip-pzsl", "conse", "lws", "co-reg"])
def test_it_has_the_numbers_of_a_run_on_the_same_data(tmp_path: Path, method: str):
    cache = write_cache(tmp_path / "toy.h5", candidates=True)
    given = {"noise": ("file",), "seeds": 1, "workers": 1, "runs": tmp_path / "runs"}
    run = train(cache, method=(method,), settings=SHORT, **given)["runs"][0]
    data = load_cache(cache)
    rows = np.flatnonzero(data.splits == "trainval")
    offsets, labels = data.candidate_offsets, data.candidate_labels
    sets = [labels[offsets[row] : offsets[row + 1]].tolist() for row in rows]
    fitted = short(method=method).fit(data.images[rows], sets, data.label_embeddings(), data.seen)
    test = np.flatnonzero(data.splits != "trainval")
    trained = restore(read_record(run["path"]))
    with torch.no_grad():
        expected = trained.method.scores(torch.from_numpy(np.array(data.images[test])))
    expected[:, : trained.seen] -= trained.gamma
    found = fitted.decision_function(data.images[test])[:, np.argsort(~data.seen, kind="stable")]
    assert np.array_equal(found, expected.numpy())
    metrics = json.loads((Path(run["path"]) / "metrics.json").read_text())
    assert fitted.gamma_ == metrics["gamma"]
    right = 100 * (fitted.labels_ == data.labels[rows]).mean()
    assert right == pytest.approx(metrics["disambiguation"])


def test_predictions_are_the_argmax_and_probabilities_the_softmax_of_the_scores():
    images, mask, labels, _ = toy()
    fitted = short().fit(images, mask, labels)
    scores = fitted.decision_function(images)
    assert scores.shape == (len(images), 12)
    assert np.array_equal(fitted.predict(images), scores.argmax(1))
    scores = scores / fitted.calibration_.temperature
    expected = np.exp(scores - scores.max(1, keepdims=True))
    expected /= expected.sum(1, keepdims=True)
    assert np.allclose(fitted.predict_proba(images), expected, atol=1e-6)


def test_it_finds_the_true_labels_and_knows_unseen_classes():
    images, mask, labels, truth = toy()
    fitted = short().fit(images, mask, labels)
    assert fitted.seen_.tolist() == [True] * 8 + [False] * 4
    assert (fitted.labels_ == truth).mean() > 0.95
    assert ((fitted.confidence_ > 0) & (fitted.confidence_ <= 1 + 1e-6)).all()
    assert (fitted.predict(labels) == np.arange(12)).mean() > 0.9  # a name is like its images


@settings(max_examples=5, deadline=None)
@given(
    st.permutations(range(12)),
    st.floats(0.1, 10).filter(lambda length: length == 1 or abs(length - 1) > 2 * TOLERANCE),
)
def test_the_order_of_classes_and_the_length_of_vectors_do_not_matter(order, length):
    images, mask, labels, _ = toy()
    order = np.array(order)
    plain = short(method="clip").fit(images, mask, labels)
    moved = short(method="clip").fit(length * images, mask[:, order], labels[order] * length)
    scores = plain.decision_function(images)
    assert np.allclose(moved.decision_function(images), scores[:, order], atol=1e-4)
    assert np.array_equal(order[moved.labels_], plain.labels_)


def test_masks_and_lists_say_the_same():
    images, mask, labels, _ = toy()
    lists = [set(np.flatnonzero(row).tolist()) for row in mask]
    one, other = (short().fit(images, given, labels) for given in (mask, lists))
    assert np.array_equal(one.decision_function(images), other.decision_function(images))


def test_it_clones_as_scikit_learn_wants_it():
    words = {"method": "cc", "options": SHORT, "seed": 3}
    copy = clone(PartialLabelClassifier(**words))
    assert {name: copy.get_params()[name] for name in words} == words
    assert copy.set_params(seed=4).seed == 4
    with pytest.raises(UsageError, match="sede"):
        copy.set_params(sede=4)
    assert "PartialLabelClassifier" in pzsl.__all__


def test_what_is_wrong_is_said_in_one_line():
    images, mask, labels, _ = toy()
    empty, unknown, zero = mask.copy(), [[0]] * len(images), images.copy()
    empty[7] = False
    unknown[5] = [0, 12]
    zero[3] = 0
    words = [["class 0"]] * len(images)
    wrong = [
        ((images[0], mask, labels), r"X should be an array \(n, D\).*\(16,\)"),
        ((images[:, :5], mask, labels), "5 dimensions and label_embeddings 16"),
        ((zero, mask, labels), "X, row 3 is all zero"),
        ((images, mask[:, :5], labels), r"\(240, 12\), but have \(240, 5\)"),
        ((images, mask[:9].tolist(), labels), r"\(240, 12\), but have \(9, 12\)"),
        ((images, mask.astype(int), labels), "mask of bool"),
        ((images, empty, labels), "row 7 has no candidate"),
        ((images, unknown, labels), "row 5 has candidate 12"),
        ((images, words, labels), "row 0 should be a collection of class numbers"),
        ((images, mask, labels, [True] * 3), r"seen should be \(12,\)"),
        ((images, mask, labels, np.arange(12) < 4), "row 1 has the unseen class 5"),
    ]
    for arrays, part in wrong:
        with pytest.raises(UserError, match=part) as error:
            short().fit(*arrays)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="call fit first"):
        short().predict(images)
    with pytest.raises(UserError, match="expecting 16 features"):
        short(method="clip").fit(images, mask, labels).predict(images[:, :5])
    with pytest.raises(UsageError, match="needs true labels"):
        short(method="oracle").fit(images, mask, labels)
    with pytest.raises(UsageError, match="Unknown method"):
        short(method="clop").fit(images, mask, labels)


# --- scikit-learn's own conventions --------------------------------------------------------------

CANNOT_APPLY = {
    "check_estimators_dtypes": "it rounds X to whole numbers, and a vector of zeros has no angle",
    "check_dtype_object": "vectors are numbers; arrays of objects are refused",
    "check_supervised_y_2d": "a y of one column is read without a warning, others are masks",
}


def test_scikit_learn_s_own_checks_pass_or_cannot_apply():
    found = check_estimator(
        PartialLabelClassifier(method="prototype", device="cpu"),
        expected_failed_checks=CANNOT_APPLY,
        on_skip=None,
        on_fail=None,
    )
    failed = [each for each in found if each["status"] == "failed"]
    assert not [(each["check_name"], str(each["exception"])) for each in failed]
    assert sum(each["status"] == "passed" for each in found) >= 40
    expected = {each["check_name"] for each in found if each["status"] == "xfail"}
    assert expected == {*CANNOT_APPLY}  # none of the reasons has become untrue


def test_pipeline_and_search_take_it():
    images, mask, labels, truth = toy()
    pipe = Pipeline([("scale", Normalizer()), ("classify", short(method="clip"))])
    pipe.fit(images, mask, classify__label_embeddings=labels)
    assert pipe.score(images, truth) == (pipe.predict(images) == truth).mean() > 0.9
    folds = KFold(3, shuffle=True, random_state=0)
    search = GridSearchCV(short(method="clip"), {"scale": [10.0, 20.0]}, cv=folds)
    search.fit(images, mask, label_embeddings=labels)
    assert search.best_params_["scale"] in (10.0, 20.0) and search.best_score_ > 0.9
    given = {"label_embeddings": labels}
    scores = cross_val_score(short(method="clip"), images, mask, cv=folds, params=given)
    assert scores.shape == (3,) and scores.min() > 0.9
    assert repr(short(method="clip", seed=3)).startswith("PartialLabelClassifier(")


def test_scorers_and_wrappers_take_its_scores_of_two_classes():
    y = np.array(["cat", "dog"])[np.arange(60) % 2]
    offset = np.where(y == "cat", 1, -1)[:, None]
    points = np.random.default_rng(0).standard_normal((60, 16)) + 0.3 * offset
    model = short(method="prototype").fit(points, y)
    scores, predicted = model.decision_function(points), model.predict(points)
    assert scores.shape == (60,) and {*predicted} == {*y}
    assert np.array_equal(predicted == "dog", scores > 0)
    ahead = model.predict_proba(points)[:, 1] / model.predict_proba(points)[:, 0]
    assert np.allclose(scores, np.log(ahead) * model.calibration_.temperature, atol=1e-3)
    auc = cross_val_score(short(method="prototype"), points, y, scoring="roc_auc")
    assert auc.min() > 0.7
    three = np.arange(60) % 3
    many = OneVsRestClassifier(short(method="prototype")).fit(points, three)
    assert many.decision_function(points).shape == (60, 3)


@pytest.mark.parametrize("kind", ["sparse", "tensor", "names", "frame"])
def test_candidates_of_every_kind_say_the_same(kind):
    images, mask, labels, _ = toy()
    names = np.array([f"class {row}" for row in range(12)])
    given = {
        "sparse": lambda: csr_matrix(mask),
        "tensor": lambda: torch.from_numpy(mask),
        "names": lambda: [names[row].tolist() for row in mask],
        "frame": lambda: pd.DataFrame(mask),
    }[kind]()
    plain = short(method="clip").fit(images, mask, labels, classes=names)
    other = short(method="clip").fit(images, given, labels, classes=names)
    assert np.array_equal(plain.decision_function(images), other.decision_function(images))
    assert other.predict(images).tolist() == plain.predict(images).tolist()
    assert set(other.predict(images)) <= {*names.tolist()} and other.labels_[0] in names


def test_one_name_an_image_needs_no_label_embeddings():
    images, _, _, truth = toy()
    names = np.array([f"class {row}" for row in range(8)])[truth]
    fitted = short(method="prototype").fit(images, names)
    assert fitted.classes_.tolist() == [f"class {row}" for row in range(8)]
    assert fitted.score(images, names) > 0.95
    with pytest.raises(UserError, match="names 'clas 1', which is not a class"):
        fitted.score(images[:1], ["clas 1"])


# --- what frames and tensors bring along ----------------------------------------------------------


def test_names_in_frames_that_contradict_each_other_are_refused():
    images, mask, labels, _ = toy()
    names = [f"class {number}" for number in range(12)]
    turned = pd.DataFrame(mask[:, ::-1], columns=names[::-1])
    for words in ({"classes": names}, {"label_embeddings": pd.DataFrame(labels, index=names)}):
        given_all = {"label_embeddings": labels, **words}
        with pytest.raises(UserError, match=r"the columns of y.* differ|differ .*class 11"):
            short(method="clip").fit(images, turned, **given_all)
    with pytest.raises(UserError, match="classes and the index of label_embeddings differ"):
        embeddings = pd.DataFrame(labels[::-1], index=names[::-1])
        short(method="clip").fit(images, mask, embeddings, classes=names)
    frame = pd.DataFrame(images, index=np.arange(len(images))[::-1])
    with pytest.raises(UserError, match="the index of X and the index of y differ"):
        short(method="clip").fit(frame, pd.DataFrame(mask), labels)
    fitted = short(method="clip").fit(
        pd.DataFrame(images), pd.DataFrame(mask, columns=names), labels, classes=names
    )
    assert fitted.classes_.tolist() == names


def test_half_floats_of_torch_are_read_and_masked_values_are_not():
    images, mask, labels, _ = toy()
    halves = torch.tensor(images).bfloat16()
    fitted = short(method="clip").fit(halves, mask, labels)
    assert (fitted.predict(halves) == fitted.predict(halves.float())).all()
    with pytest.raises(UserError, match="X: entries are masked"):
        fitted.predict(np.ma.array(images, mask=images > 0))


@pytest.mark.parametrize(
    ("y", "told"),
    [
        (["a", None] * 3, "a class is missing"),
        (["a", float("nan")] * 3, "a class is missing"),
        (["a", 1] * 3, r"several types \(int, str\)"),
    ],
)
def test_classes_that_are_missing_or_mixed_are_reported(y, told):
    with pytest.raises(UserError, match=told):
        short().fit(np.eye(6), pd.Series(y, dtype=object))


@pytest.mark.parametrize(
    "words", [{"method": ["clip"]}, {"method": None}, {"preset": None}, {"options": ["rank"]}]
)
def test_arguments_of_another_type_end_in_one_line(words):
    images, mask, labels, _ = toy()
    with pytest.raises(UsageError, match="should be a"):
        short(**words).fit(images, mask, labels)


def test_answers_depend_on_values_alone():
    """Not on memory layout, number types of the seed, or what the caller has set in torch."""
    images, mask, vectors, _ = toy()
    options = {"epochs": 1, "min_steps": 2}

    def answers(points, seed=0):
        model = PartialLabelClassifier(options=options, seed=seed)
        return model.fit(points, mask, vectors).decision_function(points)

    expected = answers(images)
    assert np.array_equal(answers(np.asfortranarray(images), np.int64(0)), expected)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode():
            assert np.array_equal(answers(images), expected)
            assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
