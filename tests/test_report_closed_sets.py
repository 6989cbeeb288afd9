"""Where no class is unseen there is no H: reports compare, rank and draw by S."""

from __future__ import annotations

import json

import pytest
from records import details_of, write_run

from pzsl import report

CLOSED = {"U": None, "H": None, "T1": None, "AUSUC": None}
BETTER, WORSE = "cc", "clip"


def write_sweep(root, gain=0.0, **changes):
    """Two methods at two rates with three seeds; only S tells them apart."""
    for method, s in ((BETTER, 70.0), (WORSE, 60.0)):
        for rate in (0.1, 0.3):
            for seed in range(3):
                config = {"method": method, "rate": rate, "seed": seed, "dataset": "closed"}
                metrics = {**CLOSED, "S": s + gain + seed, "disambiguation": 80.0}
                write_run(root, f"{method}{rate}{seed}", config | changes, metrics)
    return root


@pytest.fixture
def runs(tmp_path):
    return write_sweep(tmp_path / "runs")


def test_the_best_and_the_differences_to_it_are_those_of_s(runs, tmp_path):
    result = report(runs, tmp_path / "out", baseline="best")
    assert not result["warnings"]
    assert {row["baseline"] for row in result["rows"]} == {BETTER}
    table = result["text"].partition("Differences in S: closed")[2]
    assert table.count("-10.00 [-10.00, -10.00], n = 3") == 2


def test_methods_are_ranked_by_s(runs, tmp_path):
    result = report(runs, tmp_path / "out")
    ranks = {line["label"]: (line["rank"], line["wins"]) for line in result["standings"]}
    assert ranks == {BETTER: (1.0, 2), WORSE: (2.0, 0)}
    assert "S over 2 settings. Mean rank" in (tmp_path / "out" / "table.md").read_text()


@pytest.mark.parametrize("layout", ["methods-by-rates", "methods-by-datasets"])
def test_the_other_layouts_show_s(runs, tmp_path, layout):
    text = report(runs, tmp_path / "out", layout=layout)["text"]
    assert "S of " in text and "71.00 ± 1.00" in text and "H of" not in text


def test_two_sweeps_are_compared_in_s(runs, tmp_path):
    other = write_sweep(tmp_path / "other", gain=2.0)
    result = report(runs, tmp_path / "out", compare=other)
    assert "The other sweep in S: closed" in result["text"]
    page = (tmp_path / "out" / "table.md").read_text()
    assert "S of the other sweep is above in 4, below in 0" in page


def test_the_page_draws_s_and_looks_at_the_row_with_the_highest(runs, tmp_path):
    for folder in runs.iterdir():
        (folder / "details.json").write_text(json.dumps(details_of()))
    report(runs, tmp_path / "out", formats=["html"])
    page = (tmp_path / "out" / "index.html").read_text()
    assert "S over the noise rate" in page
    assert f"the row with the highest S: {BETTER}" in page
    assert page.count("<figcaption>S over the noise rate") == 1


def test_seeds_that_no_test_compares_are_told_of(tmp_path):
    for method, seeds in ((BETTER, (0, 1)), (WORSE, (2, 3))):
        for seed in seeds:
            config = {"method": method, "seed": seed}
            metrics = CLOSED | {"S": 60.0 + seed / 10 + (method == BETTER)}
            write_run(tmp_path / "runs", f"{method}{seed}", config, metrics)
    warnings = report(tmp_path / "runs", tmp_path / "out")["warnings"]
    assert any(warning.startswith(f"Not tested: birds, {WORSE}") for warning in warnings)


def test_beside_a_set_with_unseen_classes_each_is_ranked_by_its_own_metric(runs, tmp_path):
    for method, h in ((BETTER, 40.0), (WORSE, 50.0)):
        for seed in range(3):
            config = {"method": method, "seed": seed, "dataset": "open", "cache_hash": "d" * 64}
            write_run(runs, f"open{method}{seed}", config, {"H": h, "S": h, "U": h})
    result = report(runs, tmp_path / "out", layout="methods-by-datasets")
    ranks = {line["label"]: (line["rank"], line["of"]) for line in result["standings"]}
    assert ranks == {BETTER: (4 / 3, 3), WORSE: (5 / 3, 3)}
    page = (tmp_path / "out" / "table.md").read_text()
    assert "H (S where no class is unseen) over 3 settings" in page
    assert "71.00" in result["text"]
