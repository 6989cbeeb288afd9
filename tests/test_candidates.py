"""Candidate sets: how they are held, what the draws obey, and what is refused."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pzsl.candidates import (
    KINDS,
    CandidateSets,
    choose_long_tail,
    generate,
    randomness,
    statistics,
    validate,
)
from pzsl.candidates.instance import join_probabilities
from pzsl.candidates.randomness import Stream, below, hashes, image_keys, stream, uniforms
from pzsl.candidates.sizes import check_size, expected_candidates
from pzsl.errors import UsageError, UserError

RATES = {"fixed-size": 4, "uss": 0.5}
"""The others are drawn at 0.3."""
PINNED_KEYS = [14357283545775935924, 695951499209813384]
PINNED_VALUES = [0.9392978514061051, 0.31061013931869574, 0.8597660158974398, 0.7374292331448775]


def names(count: int) -> list[str]:
    return [f"class/{number:05d}.jpg" for number in range(count)]


def similar(ids: list[str], classes: int) -> np.ndarray:
    """Probabilities that belong to the image id, whatever row it is in."""
    raw = uniforms(image_keys(ids, 99), np.arange(classes)) ** 4 + 1e-4
    return raw / raw.sum(axis=1, keepdims=True)


def draw(kind, ids, truth, seen, *, rate=None, eta=None, seed=0):
    rate = RATES.get(kind, 0.3) if rate is None else rate
    eta = (0.3 if kind == "noisy" else 0.0) if eta is None else eta
    return generate(
        kind,
        truth=np.asarray(truth),
        ids=ids,
        seen=np.asarray(seen),
        rate=rate,
        eta=eta,
        seed=seed,
        similarities=similar(ids, len(seen)) if KINDS[kind].similar else None,
    )


@st.composite
def problems(draw_from):
    seen = draw_from(st.lists(st.booleans(), min_size=6, max_size=14).filter(lambda s: sum(s) > 4))
    classes = np.flatnonzero(seen)
    count = draw_from(st.integers(1, 25))
    truth = classes[draw_from(st.lists(st.integers(0, 4), min_size=count, max_size=count))]
    return names(count), truth, np.array(seen), draw_from(st.integers(0, 2**63))


# --- the ragged form -----------------------------------------------------------------------------

lists = st.lists(st.sets(st.integers(0, 20), max_size=6), max_size=12)


@given(lists, st.data())
def test_ragged_sets_agree_with_plain_lists(sets, data):
    ragged = CandidateSets.from_lists(sets)
    plain = [sorted(labels) for labels in sets]
    assert ragged.to_lists() == plain
    assert len(ragged) == len(sets)
    assert ragged.sizes().tolist() == [len(row) for row in plain]
    assert ragged.rows().tolist() == [i for i, row in enumerate(plain) for _ in row]
    assert [ragged.row(i).tolist() for i in range(len(sets))] == plain
    labels = data.draw(st.lists(st.integers(0, 20), min_size=len(sets), max_size=len(sets)))
    inside = [label in row for label, row in zip(labels, plain, strict=True)]
    assert ragged.contains(np.array(labels, dtype=np.int64)).tolist() == inside
    rows = data.draw(st.lists(st.integers(0, len(sets) - 1)) if sets else st.just([]))
    chosen = ragged.subset(np.array(rows, dtype=np.int64))
    assert chosen.to_lists() == [plain[row] for row in rows]
    assert (ragged.offsets.dtype, ragged.labels.dtype) == (np.int64, np.int32)
    assert (chosen.offsets.dtype, chosen.labels.dtype) == (np.int64, np.int32)


# --- the random numbers --------------------------------------------------------------------------


def test_uniforms_are_uniform():
    values = uniforms(stream(image_keys(names(400), 3), Stream.MEMBERSHIP), np.arange(500)).ravel()
    assert values.min() >= 0 and values.max() < 1
    assert stats.kstest(values, "uniform").pvalue > 1e-3
    counts = np.histogram(values, bins=64, range=(0, 1))[0]
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("rate", [0.0, 2.0**-53, 0.1, 1 / 3, 0.5, 1 - 2.0**-53, 1.0])
def test_below_compares_uniforms_with_a_rate(rate, monkeypatch):
    monkeypatch.setattr(randomness, "_CACHED", 100)  # three images at a time
    keys, labels = stream(image_keys(names(70), 3), Stream.MEMBERSHIP), np.arange(33)
    np.testing.assert_array_equal(below(keys, labels, rate), uniforms(keys, labels) < rate)
    number = float(uniforms(keys[:1], labels[:1])[0, 0])
    assert not below(keys[:1], labels[:1], number)[0, 0], "a number is not below itself"
    assert below(keys[:1], labels[:1], np.nextafter(number, 1))[0, 0]


def test_every_bit_of_the_hashes_is_fair():
    words = hashes(image_keys(names(300), 5), np.arange(300)).ravel()
    for bit in range(64):
        ones = int(((words >> np.uint64(bit)) & np.uint64(1)).sum())
        assert abs(ones - len(words) / 2) < 5 * np.sqrt(len(words)) / 2, f"bit {bit}"


def _independent(first, second):
    table = np.histogram2d(first.ravel(), second.ravel(), bins=8, range=[[0, 1], [0, 1]])[0]
    return stats.chi2_contingency(table).pvalue > 1e-4


def test_numbers_of_labels_images_seeds_and_purposes_are_independent():
    ids, labels = names(301), np.arange(301)
    base = uniforms(stream(image_keys(ids, 0), Stream.MEMBERSHIP), labels)
    assert _independent(base[:, 1:], base[:, :-1])  # neighbouring labels
    assert _independent(base[1:], base[:-1])  # neighbouring images
    for seed in (1, 2, 2**32, -1):
        other = uniforms(stream(image_keys(ids, seed), Stream.MEMBERSHIP), labels)
        assert _independent(base, other)
    for purpose in (Stream.SWAP, Stream.REPLACEMENT):
        assert _independent(base, uniforms(stream(image_keys(ids, 0), purpose), labels))


def test_keys_are_pinned_so_that_published_settings_can_be_drawn_again():
    keys = image_keys(["a", "b/ü.jpg"], 7)
    values = uniforms(stream(keys, Stream.MEMBERSHIP), np.array([0, 644]))
    assert keys.tolist() == PINNED_KEYS
    assert values.ravel().tolist() == pytest.approx(PINNED_VALUES, abs=1e-15)


# --- properties of every kind --------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25)
@given(problems(), st.randoms(use_true_random=False))
def test_reordering_removing_or_adding_images_changes_no_set(kind, problem, random):
    ids, truth, seen, seed = problem
    whole = draw(kind, ids, truth, seen, seed=seed).to_lists()
    order = list(range(len(ids)))
    random.shuffle(order)
    order = order[: random.randint(1, len(order))]
    part = draw(kind, [ids[i] for i in order], truth[order], seen, seed=seed).to_lists()
    assert part == [whole[i] for i in order]
    more = draw(kind, ["new", *ids], [truth[0], *truth], seen, seed=seed).to_lists()
    assert more[1:] == whole


@pytest.mark.parametrize("kind", KINDS)
def test_a_block_boundary_changes_no_set(kind, monkeypatch):
    ids, seen = names(40), np.arange(30) < 25
    truth = np.arange(40) % 25
    whole = draw(kind, ids, truth, seen)
    monkeypatch.setattr("pzsl.candidates.generation._BLOCK", 75)  # three images at a time
    parts = draw(kind, ids, truth, seen)
    assert parts.to_lists() == whole.to_lists()


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25)
@given(problems())
def test_sets_hold_seen_classes_in_order_and_pass_the_boundary_check(kind, problem):
    ids, truth, seen, seed = problem
    sets = draw(kind, ids, truth, seen, seed=seed)
    again = validate(sets.offsets, sets.labels, seen, "drawn")
    assert again.to_lists() == sets.to_lists()
    if kind != "noisy":
        assert sets.contains(truth).all()


@pytest.mark.parametrize("kind", KINDS)
def test_seeds_and_images_differ(kind):
    seen, truth = np.ones(40, bool), np.zeros(30, int)
    first = draw(kind, names(30), truth, seen, seed=1).to_lists()
    assert first == draw(kind, names(30), truth, seen, seed=1).to_lists()
    assert first != draw(kind, names(30), truth, seen, seed=2).to_lists()
    assert len({tuple(row) for row in first}) > 25


@pytest.mark.parametrize("kind", ["uniform", "noisy", "instance"])
def test_rate_0_leaves_the_truth_alone_and_rate_1_takes_every_seen_label(kind):
    ids, seen, truth = names(20), np.arange(9) % 3 > 0, np.array([1, 2, 4, 5] * 5)
    none = draw(kind, ids, truth, seen, rate=0.0, eta=0.0)
    assert none.to_lists() == [[label] for label in truth]
    every = draw(kind, ids, truth, seen, rate=1.0)
    assert every.to_lists() == [[1, 2, 4, 5, 7, 8]] * 20


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "fixed-size"])
def test_one_seen_class_means_singletons(kind):
    seen = np.array([False, True, False])
    assert draw(kind, names(5), [1] * 5, seen).to_lists() == [[1]] * 5


def test_no_image_gives_no_set():
    sets = draw("noisy", [], np.empty(0, np.int64), [True, True])
    assert len(sets) == 0 and sets.labels.shape == (0,)
    assert statistics(sets, np.empty(0, np.int64))["mean_candidates"] is None


# --- what each kind promises ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["uniform", "noisy", "instance"])
@pytest.mark.parametrize("rate", [0.02, 0.1, 0.5, 0.9])
def test_expected_size_is_one_plus_rate_times_wrong_labels(kind, rate):
    count, classes = 1000, 101
    sets = draw(kind, names(count), np.arange(count) % classes, np.ones(classes, bool), rate=rate)
    error = np.sqrt(count * (classes - 1) * rate * (1 - rate))  # an upper bound for `instance`
    expected = count * (1 + rate * (classes - 1))
    assert abs(sets.sizes().sum() - expected) < 4.5 * error


def test_uniform_sets_are_nested_over_rates():
    ids, seen, truth = names(50), np.ones(60, bool), np.arange(50)
    small, large = (draw("uniform", ids, truth, seen, rate=rate) for rate in (0.1, 0.3))
    assert all(set(a) <= set(b) for a, b in zip(small.to_lists(), large.to_lists(), strict=True))


@pytest.mark.parametrize("eta", [0.1, 0.3])
def test_noisy_swaps_the_truth_of_a_share_eta_and_nothing_else(eta):
    count, classes = 3000, 20
    ids, seen, truth = names(count), np.ones(classes, bool), np.arange(count) % classes
    clean = draw("uniform", ids, truth, seen, rate=0.3).to_lists()
    dirty = draw("noisy", ids, truth, seen, rate=0.3, eta=eta).to_lists()
    swapped, joined = 0, []
    for before, after, label in zip(clean, dirty, truth, strict=True):
        if before == after:
            continue
        (new,) = set(after) - set(before)
        assert set(before) - set(after) == {label}
        swapped += 1
        joined.append((new - label) % classes)
    assert stats.binomtest(swapped, count, eta).pvalue > 1e-3
    counts = np.bincount(joined, minlength=classes)[1:]
    assert stats.chisquare(counts).pvalue > 1e-3  # any non-candidate is as likely


def test_noisy_keeps_sets_that_hold_every_seen_label():
    seen = np.array([True, True, False])
    for row in draw("noisy", names(200), [0] * 200, seen, rate=0.5, eta=0.9).to_lists():
        assert row in ([0], [1], [0, 1])
    full = draw("noisy", names(200), [0] * 200, seen, rate=1.0, eta=0.9)
    assert full.to_lists() == [[0, 1]] * 200


@pytest.mark.parametrize("wrong", [0, 1, 5, 9])
def test_fixed_size_draws_every_wrong_label_equally_often(wrong):
    count = 2000
    sets = draw("fixed-size", names(count), [3] * count, np.ones(10, bool), rate=wrong)
    assert set(sets.sizes().tolist()) == {wrong + 1}
    counts = np.delete(np.bincount(sets.labels, minlength=10), 3)
    assert np.bincount(sets.labels)[3] == count
    assert (counts - counts.mean()).std() <= 4 * np.sqrt(count * 0.25)
    assert counts.sum() == wrong * count


def test_uss_is_uniform_over_all_sets_with_the_truth():
    count = 4000
    sets = draw("uss", names(count), [2] * count, np.ones(5, bool)).to_lists()
    every = [
        sorted({2, *rest}) for n in range(5) for rest in itertools.combinations((0, 1, 3, 4), n)
    ]
    counts = [sets.count(one) for one in every]
    assert sum(counts) == count
    assert stats.chisquare(counts).pvalue > 1e-3


def _slow_scale(others, rate):
    low, high = 0.0, 1e12
    for _ in range(300):
        middle = (low + high) / 2
        if np.minimum(1, middle * others).mean() < rate:
            low = middle
        else:
            high = middle
    return np.minimum(1, high * others)


@settings(max_examples=60)
@given(
    st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=12),
    st.floats(0.0, 0.999),
)
def test_join_probabilities_equal_bisection_and_have_the_mean_rate(others, rate):
    others = np.array(others)
    row = np.concatenate([others[:1], [0.0], others[1:]])[None]
    found = np.delete(join_probabilities(row, rate)[0], 1)
    assert found == pytest.approx(_slow_scale(others, rate), abs=1e-6)
    assert found.mean() == pytest.approx(rate, abs=1e-9)
    assert found.max() <= 1
    assert join_probabilities(row * 1e-9, rate)[0] == pytest.approx(
        join_probabilities(row, rate)[0], abs=1e-9
    )


def test_instance_prefers_labels_that_look_alike():
    count, classes = 2000, 6
    chances = np.tile([0.5, 0.3, 0.1, 0.06, 0.04, 0.0], (count, 1))
    sets = generate(
        "instance",
        truth=np.zeros(count, np.int64),
        ids=names(count),
        seen=np.ones(classes, bool),
        rate=0.4,
        seed=0,
        similarities=chances,
    )
    found = np.bincount(sets.labels, minlength=classes) / count
    expected = _slow_scale(chances[0, 1:], 0.4)
    assert found[0] == 1
    assert found[1:] == pytest.approx(expected, abs=0.05)


def test_instance_takes_similarities_of_all_or_of_seen_classes_alike():
    ids, seen, truth = names(30), np.arange(12) % 4 > 0, np.full(30, 5)
    full = similar(ids, 12)
    common = {"truth": truth, "ids": ids, "seen": seen, "rate": 0.3, "seed": 0}
    whole = generate("instance", **common, similarities=full)
    part = generate("instance", **common, similarities=full[:, seen])
    assert whole.to_lists() == part.to_lists()


def test_instance_asks_for_similarities_in_blocks_as_small_as_the_classes_are_many(monkeypatch):
    ids, seen, truth = names(30), np.ones(12, bool), np.full(30, 5)
    full, asked = similar(ids, 12), []
    common = {"truth": truth, "ids": ids, "seen": seen, "rate": 0.3, "seed": 0}
    whole = generate("instance", **common, similarities=full)

    def some(start, stop):
        asked.append(stop - start)
        return full[start:stop]

    monkeypatch.setattr("pzsl.candidates.generation._BLOCK", 7 * 12)
    assert generate("instance", **common, similarities=some).to_lists() == whole.to_lists()
    assert asked == [7, 7, 7, 7, 2]


@pytest.mark.parametrize("kind", ["uniform", "noisy", "instance"])
def test_sets_beyond_the_memory_are_refused_with_their_size_and_what_fits(kind, monkeypatch):
    monkeypatch.setattr("pzsl.candidates.sizes.machine_memory", lambda: 16 * 2**30)
    with pytest.raises(UserError, match=r"10,000,000 images about 2,101 .*470 GiB.*fixed-size:10"):
        check_size(kind, 0.1, 10_000_000, 21_000)
    check_size("fixed-size", 10, 10_000_000, 21_000)
    check_size(kind, 0.1, 100_000, 4_000)
    monkeypatch.setattr("pzsl.candidates.sizes.machine_memory", lambda: None)
    check_size(kind, 0.1, 10_000_000, 21_000)


@settings(max_examples=15)
@given(st.sampled_from(sorted(KINDS)), st.floats(0, 1), st.integers(2, 30), st.integers(0, 99))
def test_the_expected_size_of_a_set_is_that_of_those_drawn(kind, rate, classes, seed):
    rate = {"uss": 0.5, "fixed-size": float(round(rate * (classes - 1)))}.get(kind, rate)
    expected, ids = expected_candidates(kind, rate, classes), names(2000)
    if expected is None or kind == "uniform:added":
        return
    near = similar(ids, classes) if KINDS[kind].similar else None
    sizes = generate(
        kind,
        truth=np.zeros(2000, np.int64),
        ids=ids,
        seen=np.ones(classes, bool),
        rate=rate,
        seed=seed,
        similarities=near,
    ).sizes()
    assert sizes.mean() == pytest.approx(expected, abs=6 * (classes / 4 / 2000) ** 0.5 + 0.01)


def test_instance_survives_probabilities_that_underflowed():
    certain = np.zeros((50, 8), dtype=np.float32)
    certain[:, 0] = 1.0
    sets = generate(
        "instance",
        truth=np.zeros(50, np.int64),
        ids=names(50),
        seen=np.ones(8, bool),
        rate=0.5,
        seed=0,
        similarities=certain,
    )
    assert 3.5 < sets.sizes().mean() < 5.5


def test_published_instance_sets_are_clipped_and_not_rescaled():
    """min(1, rate p_j / mean p) of each wrong label; where p is peaked, few join."""
    count = 4000
    chances = np.array([0.02, 0.9, 0.05, 0.02, 0.01, 0.0])
    common = {"truth": np.zeros(count, np.int64), "ids": names(count), "seen": np.ones(6, bool)}
    common |= {"seed": 0, "similarities": np.tile(chances, (count, 1))}
    found, ours = (
        np.bincount(generate(kind, rate=0.3, **common).labels, minlength=6) / count
        for kind in ("instance:published", "instance")
    )
    mean = sum(chances[1:]) / 6  # over all labels, the true one counting 0
    expected = [1.0, *(min(1.0, 0.3 * p / mean) for p in chances[1:])]
    assert found == pytest.approx(expected, abs=0.03)
    assert found.sum() < ours.sum() == pytest.approx(1 + 0.3 * 5, abs=0.1)


@settings(max_examples=40)
@given(problems(), st.sampled_from([0.0, 0.1, 0.5]))
def test_an_added_label_joins_where_the_truth_is_alone(problem, rate):
    ids, truth, seen, seed = problem
    plain, added = (
        draw(kind, ids, truth, seen, rate=rate, seed=seed).to_lists()
        for kind in ("uniform", "uniform:added")
    )
    for before, after, label in zip(plain, added, truth, strict=True):
        if len(before) > 1:
            assert before == after
        else:
            assert len(after) == 2 and label in after and seen[after].all()


def test_added_labels_are_equally_likely():
    truth = np.zeros(3000, np.int64)
    sets = draw("uniform:added", names(3000), truth, np.ones(6, bool), rate=0.0)
    assert stats.chisquare(np.bincount(sets.labels, minlength=6)[1:]).pvalue > 1e-3


# --- long tails ----------------------------------------------------------------------------------


@settings(max_examples=40)
@given(problems(), st.sampled_from([1.0, 2.0, 10.0, 100.0]), st.randoms(use_true_random=False))
def test_a_long_tail_falls_off_as_told_and_follows_from_ids_alone(problem, imbalance, random):
    ids, truth, _, seed = problem
    kept = choose_long_tail(truth, ids, imbalance, seed)
    classes, counts = np.unique(truth, return_counts=True)
    left = np.array([int(kept[truth == label].sum()) for label in classes])
    shares = imbalance ** (-np.arange(len(classes)) / max(len(classes) - 1, 1))
    profiles = [
        [
            max(1, int(count * shares[rank] + 1e-9))
            for count, rank in zip(counts, order, strict=True)
        ]
        for order in itertools.permutations(range(len(classes)))
    ]
    assert left.tolist() in profiles
    order = list(range(len(ids)))
    random.shuffle(order)
    again = choose_long_tail(truth[order], [ids[i] for i in order], imbalance, seed)
    assert (again == kept[order]).all()
    assert (choose_long_tail(truth, ids, 2 * imbalance, seed) <= kept).all()


def test_long_tails_differ_by_seed_and_one_is_the_whole_set():
    truth = np.arange(400) % 8
    tails = [choose_long_tail(truth, names(400), 50, seed) for seed in range(4)]
    sizes = {tuple(np.bincount(truth[tail])) for tail in tails}
    assert len(sizes) == 4 and {tuple(sorted(each)) for each in sizes} == {
        tuple(sorted(int(50 * 50 ** (-rank / 7) + 1e-9) for rank in range(8)))
    }
    assert choose_long_tail(truth, names(400), 1, 0).all()


# --- memory --------------------------------------------------------------------------------------


def test_memory_grows_with_the_candidates_not_with_images_times_classes():
    count, classes = 20_000, 1_000  # N x C would be 20 MB of bool, 160 MB of hashes
    ids, truth = names(count), np.arange(count) % classes
    tracemalloc.start()
    sets = generate(
        "uniform", truth=truth, ids=ids, seen=np.ones(classes, bool), rate=0.002, seed=0
    )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sets.sizes().mean() == pytest.approx(3, abs=0.1)
    assert peak < 16e6


# --- statistics ----------------------------------------------------------------------------------


def test_statistics_count_sizes_and_truth_outside():
    sets = CandidateSets.from_lists([[0, 1], [2], [0, 1, 2], [1]])
    told = statistics(sets, np.array([0, 1, -1, 1]))
    assert told == {
        "mean_candidates": 1.75,
        "smallest": 1,
        "largest": 3,
        "truth_outside": pytest.approx(100 / 3),
    }
    assert statistics(sets, np.full(4, -1))["truth_outside"] is None


# --- what is refused -----------------------------------------------------------------------------

GOOD = {"truth": np.array([0, 1]), "ids": ["a", "b"], "seen": np.array([True, True, False])}


@pytest.mark.parametrize(
    ("kind", "change", "error", "words"),
    [
        ("unifrom", {}, UsageError, "Did you mean 'uniform'"),
        ("uniform", {"rate": 1.01}, UsageError, "should lie in 0..1"),
        ("uniform", {"rate": float("nan")}, UsageError, "should lie in 0..1"),
        ("noisy", {"rate": -0.1}, UsageError, "should lie in 0..1"),
        ("instance", {"rate": 2}, UsageError, "should lie in 0..1"),
        ("noisy", {"eta": 1.0}, UsageError, "below 1"),
        ("noisy", {"eta": -0.1}, UsageError, "below 1"),
        ("uniform", {"eta": 0.2}, UsageError, "use 'noisy'"),
        ("fixed-size", {"rate": 0.5}, UsageError, "whole number"),
        ("fixed-size", {"rate": 2}, UsageError, "from 0 to 1"),
        ("uss", {"rate": 0.1}, UsageError, "fixed rate 0.5"),
        ("instance", {}, UsageError, "needs the similarities"),
        ("instance", {"similarities": np.ones((3, 2))}, UserError, "(2, 3) or (2, 2)"),
        ("instance", {"similarities": -np.ones((2, 3))}, UserError, "row 0"),
        ("uniform", {"truth": np.array([0, -1])}, UserError, "'b' is unknown"),
        ("uniform", {"truth": np.array([0, 2])}, UserError, "'b' is of class 2"),
        ("uniform", {"truth": np.array([0])}, UserError, "should be (2,)"),
        ("uniform", {"seen": np.zeros(3, bool)}, UserError, "no class is seen"),
    ],
)
def test_generate_refuses_in_one_line(kind, change, error, words):
    with pytest.raises(error) as caught:
        generate(kind, **{**GOOD, "rate": 0.1, "seed": 0, **change})
    assert type(caught.value) is error
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("offsets", "labels", "words"),
    [
        ([0, 1, 1], [0], "f.csv: row 1 has no candidate label"),
        ([0, 1, 3], [0, 1, 9], "row 1 has candidate 9, outside 0..3"),
        ([0, 1, 3], [0, -1, 1], "row 1 has candidate -1"),
        ([0, 1, 3], [0, 1, 3], "row 1 has the unseen class 3"),
        ([0, 1, 3], [0, 2, 3], "row 1 has no seen class"),
        ([0, 1, 4], [0, 1, 0, 1], "row 1 has candidate 1 twice"),
        ([0, 2, 1, 2], [0, 1], "offsets fall at row 1"),
        ([0, 1], [0, 1], "from 0 to 2"),
        ([], [], "from 0 to 0"),
    ],
)
def test_validate_names_the_row(offsets, labels, words):
    with pytest.raises(UserError, match=r"f\.csv") as caught:
        validate(np.array(offsets, np.int64), np.array(labels, np.int32), np.arange(4) < 2, "f.csv")
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_validate_refuses_numbers_that_are_no_integers():
    with pytest.raises(UserError, match="integers"):
        validate(np.array([0.0, 1.0]), np.array([0]), np.array([True]), "f.csv")


def test_validate_sorts_and_can_look_at_training_rows_only():
    offsets, labels = np.array([0, 2, 2, 4]), np.array([1, 0, 2, 1], dtype=np.int32)
    sets = validate(offsets, labels, np.ones(3, bool), "f.csv", rows=np.array([0, 2]))
    assert sets.to_lists() == [[0, 1], [1, 2]]
    with pytest.raises(UserError, match="row 2 has candidate 1 twice"):
        validate(offsets, labels * 0 + 1, np.ones(3, bool), "f.csv", rows=np.array([2]))
