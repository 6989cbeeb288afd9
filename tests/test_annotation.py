"""Candidate sets from what encoders answer: the rules, the joining, the cache and the table."""

from __future__ import annotations

import csv
import json
import re
import signal
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import caches
import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import unit
from quick_processes import run_python

from pzsl.annotation import annotate
from pzsl.bench.annotate import measure_annotate
from pzsl.candidates import CandidateSets, annotate_images, annotation, check_rule, join, statistics
from pzsl.cli import main
from pzsl.datasets.own.table import load_rows
from pzsl.errors import UsageError, UserError
from pzsl.exchange import export_cache, import_npz
from pzsl.store import CacheHeader, CacheWriter, load_cache

TEMPLATES = ("a {}.", "one {}.", "the {}.", "(descriptions: words.json, 0123456789ab)")
SEEN, UNSEEN, EACH, DIM = 6, 3, 9, 12


def write_cache(
    path: Path, noise: int = 1, hide: bool = False, backwards: bool = False, **changes: object
) -> Path:
    """A cache of noisy images and four noisy templates.

    Args:
        noise: seed of images and texts; the classes are the same for all.
        hide: training images have no label.
        backwards: images and classes in the opposite order.
        changes: of the header.
    """
    rng, classes = np.random.default_rng(noise), SEEN + UNSEEN
    centres = unit(np.random.default_rng(0).standard_normal((classes, DIM)))
    labels = np.repeat(np.arange(classes), EACH)
    number = np.tile(np.arange(EACH), classes)
    splits = np.where(number % 3 < 2, "trainval", "test_seen").astype("U11")
    splits[labels >= SEEN] = "test_unseen"
    images = unit(centres[labels] + 0.3 * rng.standard_normal((len(labels), DIM)))
    shape = (classes, len(TEMPLATES), DIM)
    text = unit(centres[:, None] + 0.25 * rng.standard_normal(shape))
    rows, names = np.arange(len(labels)), np.arange(classes)
    if backwards:
        rows, names = rows[::-1], names[::-1]
        labels = classes - 1 - labels
    shown = np.where((splits == "trainval") & hide, -1, labels)
    header = CacheHeader(
        dataset="made",
        split_hash="0" * 64,
        origin={},
        classes=tuple(f"class {c}" for c in names),
        seen=names < SEEN,
        templates=TEMPLATES,
        paths=tuple(f"{row}.png" for row in rows),
        labels=shown[rows].astype(np.int64),
        splits=splits[rows],
        dim=DIM,
        model="made",
        pretrained=f"noise {noise}",
        weights_hash="",
        preprocessing={},
        logit_scale=20.0,
        precision="fp32",
    )
    with CacheWriter(path, replace(header, **changes)) as writer:
        writer.write_text(text[names])
        writer.write(np.arange(len(rows)), images[rows])
        return writer.finish()


def sets_of(path: Path) -> dict[str, set[str]]:
    """The candidate names of each training image."""
    cache = load_cache(path)
    sets = CandidateSets(cache.candidate_offsets, cache.candidate_labels)
    return {
        cache.paths[row]: {cache.classes[label] for label in sets.row(row)}
        for row in np.flatnonzero(cache.splits == "trainval")
    }


def contents(path: Path) -> dict[str, np.ndarray]:
    """All data sets of a file but the candidates."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: (
                found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
            )
        )
    return {name: data for name, data in found.items() if "candidates" not in name}


def run_main(monkeypatch, capsys, *words) -> tuple[int, str, str]:
    """Run the command in this process: exit code, stdout, stderr."""
    monkeypatch.setattr(sys, "argv", ["pzsl", *map(str, words)])
    code = 0
    try:
        main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


# --- the rules -----------------------------------------------------------------------------------


def slow_rule(rule: str, image, text, k: int, scale: float) -> set[int]:
    """Each rule for one image, in words; text is (K, T, D)."""
    if rule == "union":
        return {int(np.argmax(text[:, t] @ image)) for t in range(text.shape[1])}
    mean = text.mean(axis=1)
    scores = scale * (mean / np.linalg.norm(mean, axis=1, keepdims=True)) @ image
    p = np.exp(scores.astype(np.float64)) / np.exp(scores.astype(np.float64)).sum()
    best = sorted(range(len(p)), key=lambda c: -p[c])[:k]
    return {c for c in best if rule == "topk" or p[c] >= 0.5 * p.max()}


@given(
    seed=st.integers(0, 10**6),
    classes=st.integers(1, 7),
    templates=st.integers(1, 4),
    count=st.integers(1, 9),
    rule=st.sampled_from(["union", "topk", "ratio"]),
    share=st.floats(0, 1),
    block=st.sampled_from([1, 40, 1 << 20]),
)
def test_every_rule_does_what_it_says(seed, classes, templates, count, rule, share, block):
    rng = np.random.default_rng(seed)
    images = unit(rng.standard_normal((count, 5)))
    text = unit(rng.standard_normal((classes, templates, 5)))
    ids = np.sort(rng.choice(50, classes, replace=False))
    rows = rng.choice(count, size=rng.integers(1, count + 1), replace=False)
    k = 0 if rule == "union" else 1 + int(share * (classes - 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(annotation, "BLOCK", block)
        sets = annotate_images(images, rows, text, ids, rule, k, 10.0)
    expected = [sorted(ids[list(slow_rule(rule, images[r], text, k, 10.0))]) for r in rows]
    assert sets.to_lists() == expected
    assert sets.sizes().min() >= 1


def test_a_rule_knows_its_k_and_names_what_is_wrong():
    assert (check_rule("union", None, 9), check_rule("topk", None, 9)) == (0, 3)
    assert (check_rule("ratio", None, 9), check_rule("ratio", None, 2)) == (5, 2)
    assert check_rule("topk", 9, 9) == 9
    with pytest.raises(UsageError, match="means nothing to the rule 'union'"):
        check_rule("union", 2, 9)
    for k in (0, 10):
        with pytest.raises(UsageError, match=r"should lie in 1\.\.9"):
            check_rule("topk", k, 9)
    with pytest.raises(UsageError, match="Did you mean 'ratio'"):
        check_rule("rato", None, 9)


def test_memory_does_not_grow_with_the_scores():
    images = unit(np.random.default_rng(0).standard_normal((20_000, 8)))
    text = unit(np.random.default_rng(1).standard_normal((300, 9, 8)))
    tracemalloc.start()
    annotate_images(images, np.arange(len(images)), text, np.arange(300), "union", 0, 1.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * annotation.BLOCK < 20_000 * 300 * 4


def test_the_bench_measures_speed_and_memory():
    found = measure_annotate(quick=True)
    assert found["ratios"]["speed, product = 1"] > 0.1  # 0.5 and more where nothing else runs
    assert 0 < found["figures"]["megabytes beside the images"] < 200


# --- several annotators --------------------------------------------------------------------------


@given(data=st.data())
def test_joined_sets_hold_what_enough_annotators_name(data):
    count, annotators = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 4))
    one_set = st.sets(st.integers(0, 5), min_size=1, max_size=4)
    lists = st.lists(one_set, min_size=count, max_size=count)
    answers = [data.draw(lists) for _ in range(annotators)]
    each = st.sampled_from([0.1, 0.2, 0.5, 1.0, 3.0])
    weights = [data.draw(each) for _ in range(annotators)]
    agree = data.draw(st.none() | st.sampled_from([0.1, 0.3, 1.0, 1.5, 9.0]))
    joined = join([CandidateSets.from_lists(sets) for sets in answers], weights, agree)
    for row in range(count):
        total = {
            label: sum(w for w, sets in zip(weights, answers, strict=True) if label in sets[row])
            for label in set().union(*(sets[row] for sets in answers))
        }
        least = 0 if agree is None else min(agree, max(total.values())) - 1e-9
        assert joined.row(row).tolist() == sorted(c for c, w in total.items() if w >= least)


def test_other_encoders_join_by_name_whatever_their_order(tmp_path, capsys):
    one = write_cache(tmp_path / "one.h5", noise=1)
    two = write_cache(tmp_path / "two.h5", noise=2, backwards=True)
    result = annotate(one, others=[(two, 0.5)], out=tmp_path / "any.h5")
    both = annotate(one, others=[(two, 0.5)], agree=1.5, out=tmp_path / "both.h5")
    annotate(one), annotate(two)
    assert " of 36 images reaches --agree 1.5:" in capsys.readouterr().err
    any_of, agreed = sets_of(tmp_path / "any.h5"), sets_of(tmp_path / "both.h5")
    for path, own in sets_of(one).items():
        other = sets_of(two)[path]
        assert any_of[path] == own | other
        assert agreed[path] == (own & other or own)  # where none agree, the heavier one is heard
    assert [who["weight"] for who in result["annotators"]] == [1.0, 0.5]
    assert both["mean_candidates"] < result["mean_candidates"]
    told = load_cache(tmp_path / "both.h5").annotation
    assert told["agree"] == 1.5
    assert [who["pretrained"] for who in told["annotators"]] == ["noise 1", "noise 2"]


def test_other_images_under_the_same_names_are_reported(tmp_path, capsys):
    one, same = write_cache(tmp_path / "one.h5"), write_cache(tmp_path / "same.h5", noise=2)
    annotate(one, others=[(same, 1.0)], out=tmp_path / "out.h5")
    assert "another label" not in capsys.readouterr().err
    other = write_cache(tmp_path / "other.h5", paths=load_cache(one).paths[::-1])
    annotate(one, others=[(other, 1.0)])
    assert "of 36 training images have another label than in" in capsys.readouterr().err


def test_annotators_that_do_not_fit_are_named(tmp_path):
    one, two = write_cache(tmp_path / "one.h5"), tmp_path / "two.h5"
    paths = tuple(f"other{row}.png" for row in range((SEEN + UNSEEN) * EACH))
    write_cache(two, paths=paths)
    with pytest.raises(UserError, match=r"two.h5: image '0.png' isn't there \(36 of 36"):
        annotate(one, others=[(two, 1.0)])
    other = write_cache(tmp_path / "3.h5", classes=("?", *(f"class {c}" for c in range(1, 9))))
    with pytest.raises(UserError, match="class 'class 0' isn't there"):
        annotate(one, others=[(other, 1.0)])
    with pytest.raises(UsageError, match="above 0, not -1"):
        annotate(one, others=[(one, -1.0)])
    with pytest.raises(UsageError, match="need a second annotator"):
        annotate(one, agree=2.0)
    assert load_cache(one).candidate_labels is None


# --- into the cache ------------------------------------------------------------------------------


def test_a_cache_is_annotated_over_seen_classes_and_keeps_all_else(tmp_path):
    path = write_cache(tmp_path / "x.h5")
    before, plain = contents(path), load_cache(path)
    result = annotate(path)
    cache = load_cache(path)
    after = contents(path)
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before if name != "checksum")
    sets = CandidateSets(cache.candidate_offsets, cache.candidate_labels)
    train = cache.splits == "trainval"
    assert (sets.sizes()[train] >= 1).all() and (sets.sizes()[~train] == 0).all()
    assert cache.seen[sets.labels].all()
    text = cache.text[:SEEN]
    for row in np.flatnonzero(train):
        assert set(sets.row(row)) == slow_rule("union", cache.images[row], text, 0, 20.0)
    told = statistics(sets.subset(np.flatnonzero(train)), cache.labels[train])
    assert {name: result[name] for name in told} == told
    assert (result["images"], result["classes"], result["templates"]) == (36, 6, 4)
    assert cache.annotation["rule"] == "union"
    assert cache.annotation["annotators"][0]["templates"] == list(TEMPLATES)
    assert cache.fingerprint != plain.fingerprint
    assert isinstance(cache.candidate_labels, np.ndarray) and not list(tmp_path.glob("*.*ing"))


def test_what_the_truth_says_of_the_sets_is_reported_by_class_too(tmp_path):
    path = write_cache(tmp_path / "x.h5")
    result = annotate(path, rule="topk", k=1)
    cache, sets = load_cache(path), sets_of(path)
    share = {}
    for label in range(SEEN):
        rows = np.flatnonzero((cache.labels == label) & (cache.splits == "trainval"))
        name = cache.classes[label]
        share[name] = 100 * np.mean([name not in sets[cache.paths[row]] for row in rows])
    assert result["truth_outside_by_class"] == pytest.approx(np.mean(list(share.values())))
    worst = result["worst_class"]
    assert worst["truth_outside"] == pytest.approx(share[worst["name"]] or 0.0)
    assert worst["truth_outside"] == pytest.approx(max(share.values())) != 0
    assert result["never_named"] == SEEN - len(set().union(*sets.values()))


def test_annotations_differ_in_fingerprint_and_equal_ones_do_not(tmp_path):
    path, prints = write_cache(tmp_path / "x.h5"), set()
    ways = [{}, {"rule": "topk"}, {"rule": "topk", "k": 2}, {"rule": "ratio"}, {"templates": "0"}]
    # With k = 1 and one template the sets are the same, and yet another annotation made them.
    ways += [{"rule": "topk", "k": 1, "templates": "0"}]
    for way in ways:
        annotate(path, overwrite=True, **way)
        prints.add(load_cache(path).fingerprint)
    assert len(prints) == len(ways)
    annotate(path, overwrite=True, **ways[-1])
    assert load_cache(path).fingerprint in prints


def test_annotating_again_and_again_does_not_grow_the_file(tmp_path):
    path = caches.make(tmp_path / "x.h5", caches.header(4000))
    sizes = []
    for _ in range(4):
        annotate(path, rule="topk", k=3, overwrite=True)
        sizes.append(path.stat().st_size)
    candidates = 8 * 4001 + 4 * 3 * 2000
    assert sizes[-1] - sizes[0] < candidates / 3  # a little is lost each time, not all of it


def test_nothing_that_is_there_is_lost_without_a_word(tmp_path):
    path, table = write_cache(tmp_path / "x.h5"), tmp_path / "x.csv"
    annotate(path)
    before = path.read_bytes()
    with pytest.raises(UserError, match="of an earlier annotation: replace them with --overwrite"):
        annotate(path, rule="topk")
    own = caches.make(tmp_path / "own.h5", caches.candidates(caches.header()))
    with pytest.raises(UserError, match="that came with the data"):
        annotate(own)
    table.write_text("mine")
    for target in (table, own):
        with pytest.raises(UserError, match=f"{target.name} exists already"):
            annotate(path, out=target)
    with pytest.raises(UsageError, match=r"give a cache \(.h5\) or a table \(.csv\)"):
        annotate(path, out=tmp_path / "x.txt")
    assert path.read_bytes() == before and table.read_text() == "mine"
    annotate(own, out=tmp_path / "copy.h5")
    assert load_cache(tmp_path / "copy.h5").annotation and not load_cache(own).annotation


MOMENTS = {
    "while it copies": "h5py.File.copy = after(h5py.File.copy)",
    "while it writes": "layout.h5py.File.create_dataset = after(h5py.File.create_dataset)",
    "before the new name": "pathlib.Path.replace = lambda *_: die()",
}
BOMB = """
import os, pathlib, shutil, signal, sys
import h5py
from pzsl.annotation import annotate
from pzsl.store.hdf5 import layout

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def after(method):
    return lambda *args, **options: (method(*args, **options), die())

{moment}
annotate(sys.argv[1], rule="topk", overwrite=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_leaves_the_cache_as_it_was(tmp_path, moment):
    path = write_cache(tmp_path / "x.h5")
    annotate(path)
    before = path.read_bytes()
    code = BOMB.format(moment=MOMENTS[moment])
    done = run_python("-c", code, path)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert path.read_bytes() == before
    annotate(path, rule="topk", overwrite=True)
    assert load_cache(path).annotation["rule"] == "topk"
    assert {file.name for file in tmp_path.iterdir()} == {"x.h5"}


def test_an_annotated_cache_is_still_the_one_that_was_extracted(tmp_path):
    path = caches.make(tmp_path / "pets.h5")
    annotate(path, rule="topk", k=2)
    with CacheWriter(path, caches.header()) as writer:
        assert writer.whole and writer.resumed == 7
    with (
        pytest.raises(UserError, match="logit_scale"),
        CacheWriter(path, caches.header(logit_scale=3.0)),
    ):
        pass


def test_the_annotation_goes_out_and_comes_back(tmp_path):
    path = write_cache(tmp_path / "x.h5")
    annotate(path, rule="ratio")
    (file,) = export_cache(path, tmp_path / "x.npz")
    back, cache = load_cache(import_npz(file, tmp_path / "y.h5")), load_cache(path)
    assert back.annotation == cache.annotation
    assert np.array_equal(back.candidate_labels, cache.candidate_labels)


# --- which templates -----------------------------------------------------------------------------


def test_templates_are_chosen_by_number_or_by_a_file(tmp_path):
    path, file = write_cache(tmp_path / "x.h5"), tmp_path / "some.txt"
    file.write_text(f"{TEMPLATES[3]}\n\n{TEMPLATES[1]}\n")
    by_number = annotate(path, templates="1,3-3", out=tmp_path / "1.h5")
    annotate(path, templates=str(file), out=tmp_path / "2.h5")
    assert by_number["templates"] == 2
    assert load_cache(tmp_path / "1.h5").fingerprint == load_cache(tmp_path / "2.h5").fingerprint
    text = load_cache(path).text[:SEEN, [1, 3]]
    cache = load_cache(tmp_path / "1.h5")
    names = sets_of(tmp_path / "1.h5")
    for row in np.flatnonzero(cache.splits == "trainval"):
        expected = slow_rule("union", cache.images[row], text, 0, 20.0)
        assert names[cache.paths[row]] == {cache.classes[label] for label in expected}


@pytest.mark.parametrize("wanted", ["4", "2-1", "1-9", "one", "", "1,,2"])
def test_templates_that_the_cache_does_not_have_are_named(tmp_path, wanted):
    path = write_cache(tmp_path / "x.h5")
    with pytest.raises(UsageError, match="--templates"):
        annotate(path, templates=wanted)
    file = tmp_path / "own.txt"
    file.write_text("a photo of a {}.\n")
    with pytest.raises(UsageError, match="no text embeddings of the template 'a photo"):
        annotate(path, templates=str(file))


def test_a_cache_of_attributes_alone_can_not_answer(tmp_path):
    head = replace(caches.header(), templates=(), attributes=np.ones((4, 2), np.float32))
    path = tmp_path / "a.h5"
    with CacheWriter(path, head) as writer:
        writer.write_text(np.empty((4, 0, caches.DIM), np.float32))
        writer.write(np.arange(7), caches.images(7))
        writer.finish()
    with pytest.raises(UserError, match="holds no text embeddings"):
        annotate(path)


# --- as a table ----------------------------------------------------------------------------------


def test_a_table_holds_the_sets_and_no_label_of_a_training_image(tmp_path):
    path, out = write_cache(tmp_path / "x.h5"), tmp_path / "x.csv"
    annotate(path, out=out)
    assert load_cache(path).candidate_labels is None
    with out.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "label", "candidates", "split"]
    assert all((row["label"] == "") == (row["split"] == "trainval") for row in rows)
    annotate(path)
    data, cache = load_rows(out), load_cache(path)
    sets = CandidateSets(data.candidates.offsets, data.candidates.labels)
    expected = sets_of(path)
    assert data.paths == cache.paths
    for row in np.flatnonzero(data.splits == "trainval"):
        assert {data.classes[c] for c in sets.row(row)} == expected[data.paths[row]]


@pytest.mark.parametrize("name", ["cat|dog", " cat", "red\nfox", "['a', 'b']", "set()", "<NA>"])
def test_a_class_name_that_would_be_read_otherwise_is_refused(tmp_path, name):
    names = tuple(name if c == 3 else f"class {c}" for c in range(SEEN + UNSEEN))
    path = write_cache(tmp_path / "x.h5", classes=names)
    with pytest.raises(UserError, match=rf"'{re.escape(name)}' can't stand in a list"):
        annotate(path, out=tmp_path / "x.csv")
    assert not (tmp_path / "x.csv").exists()


def test_the_columns_of_several_people_are_joined(tmp_path, capsys):
    table = tmp_path / "people.csv"
    table.write_text(
        "path,label,Anna,ben,cleo,split\n"
        "1.jpg,,fox,fox|dog,cat,trainval\n"
        "2.jpg,,dog,,cat|fox,trainval\n"
        "3.jpg,cat,,,,trainval\n"
        "4.jpg,owl,,,,test_unseen\n"
    )
    from pzsl.datasets import Annotators

    def names(agree, *weights):
        data = load_rows(table, annotators=Annotators(weights, agree))
        sets = CandidateSets(data.candidates.offsets, data.candidates.labels)
        assert data.origin[-1] == ("annotators", str(Annotators(weights, agree)))
        return [{data.classes[c] for c in sets.row(row)} for row in range(3)]

    everyone = (("Anna", 1.0), ("ben", 0.5), ("cleo", 1.5))
    assert names(None, *everyone) == [{"fox", "dog", "cat"}, {"dog", "cat", "fox"}, {"cat"}]
    assert names(1.5, *everyone) == [{"fox", "cat"}, {"cat", "fox"}, {"cat"}]
    assert "reaches --agree" not in capsys.readouterr().err
    assert names(9.0, *everyone[:2]) == [{"fox"}, {"dog"}, {"cat"}]
    assert "no label of 2 of 4 images reaches --agree 9:" in capsys.readouterr().err
    with pytest.raises(UserError, match="no column 'dora'"):
        names(None, ("dora", 1.0))
    for weights, agree in (((("a", 1.0), ("A", 1.0)), None), ((("a", 0.0),), None), ((), 0.0)):
        with pytest.raises(UsageError):
            Annotators(weights, agree)


def test_spellings_of_a_class_share_its_votes_one_per_person(tmp_path):
    from pzsl.datasets import Annotators

    table, listed = tmp_path / "people.csv", tmp_path / "classes.txt"
    table.write_text(
        "path,anna,ben,carl,split\n"
        "1.jpg,Red Fox,red fox,dingo,trainval\n"
        "2.jpg,red fox,red_fox,dingo,trainval\n"
        "3.jpg,owl|Owl,red fox,red fox,trainval\n"
        "4.jpg,owl,Owl,owl,trainval\n"
    )
    listed.write_text("owl\nRED FOX\n")
    people = Annotators((("anna", 1.0), ("ben", 1.0), ("carl", 1.0)), 2.0)
    for classes, fox in ((None, "red fox"), (listed, "RED FOX")):
        data = load_rows(table, classes=classes, annotators=people)
        assert [data.classes[label] for label in data.candidates.labels] == [fox] * 3 + ["owl"]
        assert data.candidates.offsets.tolist() == [0, 1, 2, 3, 4]


# --- training on it ------------------------------------------------------------------------------

QUICK = ["--seeds", 1, "--workers", 1, "--set", "min_steps=4,epochs=2"]


def test_the_commands_annotate_and_train_without_a_single_true_label(tmp_path, monkeypatch, capsys):
    metrics = []
    for name, hide in (("known", False), ("hidden", True)):
        path = write_cache(tmp_path / f"{name}.h5", hide=hide)
        code, out, err = run_main(monkeypatch, capsys, "annotate", "--cache", path, "--json")
        result = json.loads(out)
        assert code == 0 and "rule union" in err
        assert (result["truth_outside"] is None) == (result["worst_class"] is None) == hide
        words = [
            "--noise",
            "annotated",
            "--method",
            "clip-pzsl,proden",
            "--runs",
            tmp_path / "runs",
        ]
        code, out, err = run_main(
            monkeypatch, capsys, "train", "--cache", path, *words, *QUICK, "--json"
        )
        assert code == 0, err
        runs = json.loads(out)["runs"]
        assert {run["noise"] for run in runs} == {"annotated"}
        assert all((run["disambiguation"] is None) == hide for run in runs)
        metrics.append([{key: run[key] for key in ("S", "U", "H", "T1", "gamma")} for run in runs])
        told = json.loads((Path(runs[0]["path"]) / "env.json").read_text())["annotation"]
        assert told == load_cache(path).annotation
    assert metrics[0] == metrics[1]


def test_annotated_sets_and_sets_from_a_file_do_not_pass_for_each_other(
    tmp_path, monkeypatch, capsys
):
    def refused(path: Path, noise: str) -> str:
        words = ["train", "--cache", path, "--noise", noise, "--runs", tmp_path / "runs"]
        code, out, err = run_main(monkeypatch, capsys, *words)
        assert (code, out) == (1, "")
        return err.strip().splitlines()[-1]

    path = write_cache(tmp_path / "x.h5")
    assert "pzsl annotate --cache" in refused(path, "annotated")
    annotate(path)
    assert "use --noise annotated" in refused(path, "file")
    own = caches.make(tmp_path / "own.h5", caches.candidates(caches.header()))
    assert "use --noise file" in refused(own, "annotated")


def test_the_command_says_what_the_sets_are_like(tmp_path, monkeypatch, capsys):
    path, other = write_cache(tmp_path / "x.h5"), write_cache(tmp_path / "y.h5", noise=2)
    words = ["annotate", "--cache", path, "--with", f"{other}:0.5", "--agree", 0.5]
    code, out, err = run_main(monkeypatch, capsys, *words)
    assert code == 0
    assert f"{path}: 36 training images, 6 seen classes" in out
    assert "candidates" in out and "truth outside" in out
    assert f"pzsl train --cache {path} --noise annotated" in out
    assert "weight 0.5" in err
    code, out, err = run_main(monkeypatch, capsys, "annotate", "--cache", path, "--k", 3)
    assert code == 2 or "--overwrite" in err
    code, out, _ = run_main(monkeypatch, capsys, "inspect", path)
    assert code == 0 and "annotation rule: union" in out


def test_a_cache_does_not_grow_with_each_annotation(tmp_path):
    path = write_cache(tmp_path / "x.h5")
    for k in (3, 2, 4, 3, 2, 4):
        annotate(path, rule="topk", k=k, overwrite=True)
    once = write_cache(tmp_path / "once.h5")
    annotate(once, rule="topk", k=4)
    assert path.stat().st_size == once.stat().st_size


def test_a_flipped_bit_is_not_annotated_over(tmp_path):
    path = write_cache(tmp_path / "x.h5")
    content = bytearray(path.read_bytes())
    with h5py.File(path) as file:
        content[file["/image/features"].id.get_offset()] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="checksum differs"):
        annotate(path)
    assert path.read_bytes() == content
