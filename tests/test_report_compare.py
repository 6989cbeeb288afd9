"""Two sweeps against each other: paired over common seeds, and who is alone is named."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from records import LAST_DIGIT, write_run
from scipy import stats

from pzsl.errors import UserError
from pzsl.reports import report


@pytest.fixture
def two(tmp_path):
    """Sweeps `a` and `b` of two methods and two rates; `b` has better `cc`, and `pop` besides."""
    rng = np.random.default_rng(5)
    for name, gain in (("a", 0.0), ("b", 2.0)):
        for method in ("cc", "rc", *(["pop"] if name == "b" else [])):
            for rate in (0.1, 0.3):
                for seed in range(4):
                    h = 60 + rng.normal(0, 0.3) + seed + gain * (method == "cc")
                    config = {"method": method, "rate": rate, "seed": seed, "model": name}
                    write_run(tmp_path / name, f"{method}-{rate}-{seed}", config, {"H": h})
    return tmp_path


def test_differences_are_those_of_scipy_and_of_both_csv_files(two):
    result = report(two / "a", two / "out", ("csv", "md", "html", "latex"), compare=two / "b")
    report(two / "b", two / "other", ("csv",))
    here, there = (pd.read_csv(two / name / "runs.csv") for name in ("out", "other"))
    assert len(result["compared"]) == 4
    for row in result["compared"]:
        first, second = (
            t[(t.method == row["method"]) & (t.rate == row["rate"])].sort_values("seed")["H"]
            for t in (here, there)
        )
        found = stats.ttest_rel(second, first)
        interval = found.confidence_interval()
        assert row["H_difference"] == pytest.approx(second.mean() - first.mean())
        assert (row["H_low"], row["H_high"]) == pytest.approx((interval.low, interval.high))
        assert row["H_p"] == pytest.approx(found.pvalue) and row["H_pairs"] == 4
        assert row["H_other"] == pytest.approx(second.mean())
    table = pd.read_csv(two / "out" / "compare.csv")
    expected = [row["H_difference"] for row in result["compared"]]
    assert table["H_difference"].tolist() == pytest.approx(expected, rel=LAST_DIGIT)
    text = (two / "out" / "table.md").read_text(encoding="utf-8")
    assert "above in 2, below in 0 and not significantly different in 2 of 4 rows." in text
    cc = next(row for row in result["compared"] if row["method"] == "cc" and row["rate"] == 0.1)
    for name in ("table.md", "index.html", "table.tex"):
        assert f"+{cc['H_difference']:.2f}" in (two / "out" / name).read_text(encoding="utf-8")


def test_rows_that_one_sweep_alone_has_are_named(two):
    result = report(two / "a", two / "out", ("csv",), compare=two / "b")
    told = [w for w in result["warnings"] if w.startswith("Not compared")]
    assert told == [
        f"Not compared: birds, pop, uniform, rate {rate}, is in the other sweep only."
        for rate in (0.1, 0.3)
    ]


def test_other_options_are_reported(two):
    warnings = report(two / "a", two / "out", ("csv",), compare=two / "b")["warnings"]
    assert [line for line in warnings if "other options" in line] == [
        f"{method} was run with other options in the other sweep: model a here and b there."
        for method in ("cc", "rc")
    ]


def test_other_caches_and_broken_records_are_reported(two):
    for path in (two / "b").rglob("config.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "cache_hash": "d" * 64}))
    (two / "b" / "rc-0.1-0" / "metrics.json").write_text("{")
    result = report(
        two / "a", two / "out", ("csv",), layout="methods-by-datasets", compare=two / "b"
    )
    assert any(
        "4 of 4 compared rows were made from different caches" in w for w in result["warnings"]
    )
    assert any(w.startswith("In the other sweep: Left out: ") for w in result["warnings"])
    rc = next(row for row in result["compared"] if row["method"] == "rc" and row["rate"] == 0.1)
    assert (rc["n"], rc["other_n"], rc["H_pairs"]) == (4, 3, 3)


def test_rows_of_equal_options_match_whatever_else_a_sweep_has(tmp_path):
    """A sweep with a preset or an option more has other labels for the same rows."""
    for sweep, ranks in (("a", (32,)), ("b", (16, 32))):
        for seed in range(2):
            write_run(tmp_path / sweep, f"clip{seed}", {"method": "clip", "seed": seed})
            for rank in ranks:
                config = {"method": "cc", "seed": seed, "options": {"rank": rank}}
                write_run(tmp_path / sweep, f"cc-{rank}-{seed}", config, {"H": float(rank)})
    write_run(tmp_path / "b", "more", {"method": "clip", "preset": "calibrated"})
    for here, there, labels in (
        ("a", "b", ["clip", "cc"]),
        ("b", "a", ["clip (default)", "cc (rank=32)"]),
    ):
        result = report(tmp_path / here, tmp_path / "out", ("csv",), compare=tmp_path / there)
        assert [row["label"] for row in result["compared"]] == labels
        assert all(row["H_difference"] == 0 for row in result["compared"])
        alone = [line for line in result["warnings"] if line.startswith("Not compared")]
        assert len(alone) == 2 and not [w for w in result["warnings"] if "other options" in w]


def test_rows_of_the_same_cache_match_first(tmp_path):
    for sweep, caches in (("a", "e"), ("b", "ef")):
        for cache in caches:
            config = {"method": "cc", "cache_hash": cache * 64}
            write_run(tmp_path / sweep, cache, config, {"H": 60.0 + (cache == "f")})
    for here, there in (("a", "b"), ("b", "a")):
        (row,) = report(tmp_path / here, tmp_path / "out", ("csv",), compare=tmp_path / there)[
            "compared"
        ]
        assert row["H_difference"] == 0 and row["cache_hash"] == row["other_cache_hash"]


def test_rows_of_the_same_noise_match_though_one_sweep_has_another_state_of_it(tmp_path):
    for sweep, sources in (("a", ("5e",)), ("b", ("5e", "77"))):
        for source in sources:
            plugins = {"candidates n.py:N": {"at": "/n.py:N", "source": source * 32}}
            config = {"method": "cc", "noise": "n.py:N", "plugins": plugins}
            write_run(tmp_path / sweep, source, config, {"H": 60.0 + (source == "77")})
    for here, there in (("a", "b"), ("b", "a")):
        result = report(tmp_path / here, tmp_path / "out", ("csv",), compare=tmp_path / there)
        assert [row["H_difference"] for row in result["compared"]] == [0]


def test_differences_are_in_a_metric_that_is_compared(two):
    shown = {"baseline": "cc", "compare": two / "b"}
    text = report(two / "a", two / "out", ("csv",), metrics=("seconds", "S"), **shown)["text"]
    assert "Differences in S: birds" in text and "The other sweep in S: birds" in text
    text = report(two / "a", two / "out", ("csv",), metrics="seconds", **shown)["text"]
    assert "Differences in H: birds" in text and "The other sweep in H: birds" in text


def test_sweeps_without_a_common_row_cannot_be_compared(two):
    write_run(two / "c", "a", {"dataset": "fish"})
    with pytest.raises(UserError, match="--compare: no row"):
        report(two / "a", two / "out", ("csv",), compare=two / "c")
    assert not (two / "out").exists()
