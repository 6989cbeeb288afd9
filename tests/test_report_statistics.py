"""Statistics of the report against SciPy, and which rows are compared with which."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records import LAST_DIGIT, write_run
from scipy import stats

from pzsl.errors import UsageError
from pzsl.methods import METHODS
from pzsl.reports import report
from pzsl.reports.statistics import mean_ranks, paired_difference
from pzsl.training.config import Source, expand

PERCENT = st.floats(0, 100).map(lambda value: round(value, 3))


@given(st.lists(st.tuples(PERCENT, PERCENT), min_size=2, max_size=8))  # SciPy tries all 2^n signs
@settings(deadline=None, max_examples=60)
def test_differences_equal_scipys_paired_t_test_and_wilcoxon(pairs):
    first, second = (dict(enumerate(values)) for values in zip(*pairs, strict=True))
    found = paired_difference(first, second, signed_ranks=True)
    differences = np.subtract(*np.array(pairs).T)
    assert found.n == len(pairs) and found.mean == pytest.approx(differences.mean(), abs=1e-12)
    if differences.std() > 1e-9:
        test = stats.ttest_rel([a for a, _ in pairs], [b for _, b in pairs])
        interval = test.confidence_interval(0.95)
        assert found.p == pytest.approx(test.pvalue, rel=1e-6, abs=1e-12)
        assert (found.low, found.high) == pytest.approx(tuple(interval), rel=1e-6, abs=1e-9)
        assert (found.verdict == "tie") == (found.low <= 0 <= found.high)
    if np.count_nonzero(differences) < 6:
        assert found.wilcoxon is None
    else:
        assert found.wilcoxon == pytest.approx(stats.wilcoxon(list(differences)).pvalue)


def test_values_that_differ_in_their_last_bits_are_equal():
    first = {seed: 0.1 + 0.2 + seed for seed in range(8)}
    second = {seed: 0.3 + seed for seed in range(8)}
    assert first[0] != second[0]
    found = paired_difference(first, second, signed_ranks=True)
    assert (found.mean, found.verdict, found.p, found.wilcoxon) == (0, "tie", 1.0, None)


def test_a_difference_done_by_hand():
    found = paired_difference({0: 62.0, 1: 63.0, 2: 67.0}, {0: 60.0, 1: 62.0, 2: 64.0, 3: 1.0})
    half = 4.302652729911275 / 3**0.5  # quantile of t with two degrees of freedom; deviation 1
    assert found[:2] == (3, 2.0)
    assert (found.low, found.high) == pytest.approx((2 - half, 2 + half))
    assert found.verdict == "tie" and found.wilcoxon is None


def test_constant_differences_and_single_seeds():
    same = paired_difference({0: 5.0, 1: 6.0}, {0: 5.0, 1: 6.0})
    assert (same.mean, same.low, same.high, same.p, same.verdict) == (0, 0, 0, 1, "tie")
    assert paired_difference({0: 2.0, 1: 3.0}, {0: 1.0, 1: 2.0}).verdict == "win"
    single = paired_difference({0: 2.0}, {0: 1.0})
    assert (single.n, single.mean, single.p, single.verdict) == (1, 1.0, None, None)
    assert paired_difference({0: 2.0}, {1: 1.0}) is None


@given(st.lists(st.lists(PERCENT, min_size=4, max_size=4), min_size=1, max_size=6))
@settings(deadline=None)
def test_mean_ranks_equal_pandas(scores):
    table = pd.DataFrame(scores, columns=list("abcd"))
    expected = table.rank(axis=1, ascending=False).mean()
    assert mean_ranks(table.to_dict("records")) == pytest.approx(expected.to_dict())


# --- rows ----------------------------------------------------------------------------------------


@pytest.fixture
def make(tmp_path):
    """Report on runs of methods with a value of H for each seed."""

    def write(values, **config):
        for method, seeds in values.items():
            for seed, h in enumerate(seeds):
                name = f"{method}-{seed}-{'-'.join(map(str, config.values()))}"
                write_run(tmp_path / "runs", name, {"method": method, "seed": seed, **config}, h)

    def build(*formats, **options):
        return report(tmp_path / "runs", tmp_path / "out", formats or ("csv",), **options)

    build.write = lambda values, **config: write(
        {method: [{"H": h} for h in hs] for method, hs in values.items()}, **config
    )
    return build


def marks(result, metric="H"):
    return {row["label"]: row[f"{metric}_mark"] for row in result["rows"]}


NEAR = {"a": [70, 72, 71, 70.5], "b": [70.2, 71.5, 70.6, 71], "c": [60, 61, 60.5, 60.2]}


def test_ties_with_the_best_are_marked_and_losers_are_not(make):
    make.write(NEAR)
    assert marks(make()) == {"a": "best", "b": "tie", "c": ""}


def test_a_row_of_fewer_seeds_is_neither_best_nor_tied(make):
    make.write({**NEAR, "few": [99, 98]})
    result = make("csv", "md", baseline="a")
    assert marks(result) == {"a": "best", "b": "tie", "c": "", "few": "fewer"}
    few = next(row for row in result["rows"] if row["label"] == "few")
    assert (few["n"], few["H_pairs"], few["H_difference"]) == (2, 2, 27.5)  # its own two seeds


def test_the_oracle_is_no_rival(make):
    make.write({**NEAR, "oracle": [90, 90, 90, 90]})
    assert marks(make()) == {"a": "best", "b": "tie", "c": "", "oracle": ""}


def test_one_seed_each_is_ranked_but_nothing_is_called_a_tie(make):
    make.write({"a": [70], "b": [70.001], "c": [69.9]})
    assert marks(make()) == {"a": "best", "b": "best", "c": ""}


def test_differences_to_a_baseline_are_in_rows_and_csv(make, tmp_path):
    make.write(NEAR)
    result = make(baseline="c")
    row = next(row for row in result["rows"] if row["label"] == "a")
    test = stats.ttest_rel(NEAR["a"], NEAR["c"])
    assert row["baseline"] == "c" and row["H_pairs"] == 4
    assert row["H_difference"] == pytest.approx(np.mean(NEAR["a"]) - np.mean(NEAR["c"]))
    assert row["H_p"] == pytest.approx(test.pvalue)
    assert (row["H_low"], row["H_high"]) == pytest.approx(tuple(test.confidence_interval()))
    table = pd.read_csv(tmp_path / "out" / "table.csv").set_index("label")
    assert table.loc["a", "H_low"] == pytest.approx(row["H_low"], rel=LAST_DIGIT)
    assert np.isnan(table.loc["c", "H_low"])


def test_the_best_as_baseline_is_that_of_each_setting(make):
    make.write({"a": [70, 71], "b": [60, 62]}, rate=0.1)
    make.write({"a": [50, 51], "b": [60, 62]}, rate=0.3)
    rows = make(baseline="best")["rows"]
    assert [(row["rate"], row["baseline"]) for row in rows[::2]] == [(0.1, "a"), (0.3, "b")]


def test_a_baseline_that_no_row_or_several_rows_are_named_is_wrong_usage(make):
    make.write(NEAR)
    with pytest.raises(UsageError, match="no row is named 'z'"):
        make(baseline="z")
    make.write({"a": [1, 2]}, options={"epochs": 3})
    with pytest.raises(UsageError, match=r"fits several rows.*'a \(epochs=10\)'"):
        make(baseline="a")


def test_settings_without_the_baseline_are_reported(make):
    make.write(NEAR, rate=0.1)
    make.write({"b": [1, 2], "c": [2, 3]}, rate=0.3)
    result = make(baseline="a")
    assert "1 of 2 settings have no row of 'a'." in result["warnings"]


def test_standings_over_data_sets(make):
    make.write({"a": [70, 71, 72], "b": [60, 62, 60], "c": [50, 51, 50]}, dataset="one")
    make.write({"a": [50, 51, 52], "b": [60, 62, 60], "c": [50, 51, 52]}, dataset="two")
    make.write({"d": [99, 99, 98]}, dataset="two")
    lines = {line["label"]: line for line in make()["standings"]}
    assert [lines[name]["rank"] for name in "abcd"] == [1.75, 1.5, 2.75, None]
    assert (lines["d"]["settings"], lines["d"]["of"]) == (1, 2)
    assert [lines["a"][name] for name in ("wins", "ties", "losses")] == [2, 1, 2]
    against_b = {line["label"]: line for line in make(baseline="b")["standings"]}
    assert [against_b["a"][name] for name in ("wins", "ties", "losses")] == [1, 0, 1]


def test_settings_without_the_baseline_count_for_nobody(make):
    make.write({"a": [70, 71, 72], "b": [60, 62, 60], "c": [50, 51, 50]}, rate=0.1)
    make.write({"b": [60, 62, 60], "c": [50, 51, 50], "oracle": [99, 98, 99]}, rate=0.3)
    result = make(baseline="a")
    lines = {line["label"]: line for line in result["standings"]}
    assert [lines["b"][name] for name in ("wins", "ties", "losses")] == [0, 0, 1]
    against_oracle = {line["label"]: line for line in make(baseline="oracle")["standings"]}
    assert [against_oracle["b"][name] for name in ("wins", "ties", "losses")] == [0, 0, 1]
    assert "oracle" not in against_oracle
    make.write({"b": [60, 62], "c": [50, 51]}, dataset="other")
    titles = make(baseline="a")["text"].splitlines()
    assert "Differences in H: birds" in titles and "Differences in H: other" not in titles


def test_where_nothing_was_tested_no_counts_are_shown(make):
    make.write({"a": [70], "b": [60]}, rate=0.1)
    make.write({"a": [70], "b": [60]}, rate=0.3)
    lines = make()["text"].splitlines()
    assert any(line.split() == ["a", "1.00", "2", "of", "2", "-", "-", "-"] for line in lines)


def test_a_label_that_stands_for_other_options_on_another_data_set_is_reported(make):
    make.write({"a": [70, 71], "b": [60, 62]}, dataset="one", options={"rank": 8}, results=6)
    make.write({"b": [60, 62]}, dataset="two", options={"rank": 8}, results=6)
    assert not any("stands for" in warning for warning in make()["warnings"])
    make.write({"a": [50, 51]}, dataset="two", options={"rank": 64}, results=6)
    make.write({"a": [50, 51]}, dataset="three", options={"rank": 64}, results=5)
    (warning,) = (warning for warning in make()["warnings"] if "stands for" in warning)
    assert "'a' stands for other options on other data sets" in warning
    assert "rank: 8 on one, 64 on three, 64 on two" in warning
    assert "results: 6 on one, 5 on three, 6 on two" in warning


def test_a_row_without_common_seeds_is_marked_as_not_tested(make, tmp_path):
    for method, seeds in (("a", (0, 1, 2)), ("b", (3, 4, 5)), ("c", (2, 3, 4))):
        for seed in seeds:
            config = {"method": method, "seed": seed}
            write_run(tmp_path / "runs", f"{method}{seed}", config, {"H": 54.5 + (method == "b")})
    result = make()
    assert marks(result) == {"a": "", "b": "best", "c": ""}
    assert [line for line in result["warnings"] if line.startswith("Not tested")] == [
        "Not tested: birds, a, uniform, rate 0.1: it shares fewer than two seeds with the best "
        "row: train both with the same seeds."
    ]


def test_numbers_of_an_older_version_are_reported(make):
    make.write({"b": [60, 62]}, results=6)
    make.write({"a": [70, 71]}, results=5)
    (warning,) = (warning for warning in make()["warnings"] if "version" in warning)
    assert warning.startswith("On birds the numbers of a are of an older version of pzsl than")


def test_numbers_of_one_sweep_are_of_one_version(make, tmp_path):
    axes = ["default"], ["uniform"], [0.1], [0.0], [0]
    for labels in ("text", "attributes", "both"):
        for run in expand(Source("birds", "hash", "m"), [*METHODS], *axes, labels):
            write_run(tmp_path / "runs", run.name, run.as_dict())
    assert not any("version" in warning for warning in make()["warnings"])


def test_a_plugin_with_another_source_on_another_data_set_is_reported(make):
    for dataset, source in (("one", "5e"), ("two", "77")):
        record = {"methods m.py:M": {"at": f"/{dataset}/m.py:M", "source": source}}
        make.write({"m.py:M": [70, 71], "b": [1, 2]}, dataset=dataset, plugins=record)
    warnings = [warning for warning in make()["warnings"] if "'m.py:M' stands for" in warning]
    assert len(warnings) == 1 and ".source: 5e on one, 77 on two" in warnings[0]


def test_a_noise_that_was_changed_is_another_setting(make):
    """Its candidate sets are others; other settings of the same method have no other label."""
    for dataset in ("one", "two"):
        make.write({"a": [60, 61], "b": [50, 51]}, dataset=dataset, noise="uniform")
    for method, source in (("a", "5e" * 32), ("b", "77" * 32)):
        plugins = {"candidates n.py:N": {"at": "/n.py:N", "source": source}}
        make.write({method: [60, 61]}, dataset="one", noise="n.py:N", plugins=plugins)
        if method == "a":
            assert {row["noise"] for row in make()["rows"]} == {"uniform", "n.py:N"}
    result = make()
    assert {(row["noise"], row["label"], row["H_mark"]) for row in result["rows"]} == {
        ("n.py:N (5e5e5e5e)", "a", ""),
        ("n.py:N (77777777)", "b", ""),
        ("uniform", "a", "best"),
        ("uniform", "b", ""),
    }
    assert not any("other options" in warning for warning in result["warnings"])


def test_a_method_that_was_changed_is_another_row(make):
    make.write({"b": [1, 2]})
    for source in ("5e" * 32, "77" * 32):
        plugins = {"methods m.py:M": {"at": "/m.py:M", "source": source}}
        make.write({"m.py:M": [60, 61]}, plugins=plugins)
    labels = {row["label"] for row in make()["rows"]}
    assert labels == {"b", "m.py:M (m.py:M=5e5e5e5e)", "m.py:M (m.py:M=77777777)"}


def test_versions_that_follow_from_other_options_are_not_in_labels(make):
    for classifier, results in (("clip", 6), ("gda", 7)):
        options = {"classifier": classifier}
        make.write({"conse": [60, 61]}, options=options, results=results)
    labels = {row["label"] for row in make()["rows"]}
    assert labels == {"conse (classifier=clip)", "conse (classifier=gda)"}


def test_a_row_has_the_same_label_on_every_data_set(make):
    """Here one data set also has another rank; the encoder differs, too."""
    for dataset, ranks in (("one", (16, 32)), ("two", (32,))):
        make.write({"b": [60, 61]}, dataset=dataset)
        for rank in ranks:
            make.write({"a": [rank, rank + 1]}, dataset=dataset, model=dataset, options={"r": rank})
    result = make()
    assert {(row["dataset"], row["label"]) for row in result["rows"]} == {
        *(("one", name) for name in ("b", "a (r=16)", "a (r=32)")),
        *(("two", name) for name in ("b", "a (r=32)")),
    }
    ranks = {line["label"]: line["rank"] for line in result["standings"]}
    assert ranks == {"b": 1, "a (r=32)": 2, "a (r=16)": None}
