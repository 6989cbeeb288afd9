"""The details of the best row: what is drawn and told is what the runs recorded."""

from __future__ import annotations

import json
import re

import pytest
from PIL import Image
from records import details_of, write_run

from pzsl.errors import UsageError
from pzsl.reports import report
from pzsl.reports.best_row import best_row, class_results, seen_unseen_curves
from pzsl.reports.comparison import add_marks
from pzsl.reports.dataset_figures import pictures_of
from pzsl.reports.details import read_details
from pzsl.reports.figures import styles
from pzsl.reports.groups import rows_of
from pzsl.reports.records import read_runs

LOOKS = styles({"cc": "cc", "rc": "rc"})


@pytest.fixture
def runs(tmp_path):
    """`cc` with two seeds that recorded details, and `rc`, of higher H, an older record."""
    for seed in range(2):
        epochs = [{"epoch": e, "weights": [[0.5 + e / 10, 0.2], [0.5, 0.5]]} for e in (1, 2)]
        folder = write_run(
            tmp_path / "runs", f"cc{seed}", {"method": "cc", "seed": seed}, history=epochs
        )
        (folder / "details.json").write_text(json.dumps(details_of(seed)))
    write_run(tmp_path / "runs", "rc", {"method": "rc"}, {"H": 60.0})
    return tmp_path / "runs"


def pairs_of(runs):
    return rows_of(read_runs(runs).runs)


def test_classes_and_confusions_are_those_of_all_seeds_together(runs):
    best = best_row(pairs_of(runs), [])
    assert best.label == "cc"
    told = [(one.name, one.accuracy, one.test) for one in best.worst]
    assert told == [("<script>alert(1)</script>", 25.0, 20), ("owl", 50.0, 40)]
    assert [(one.name, one.accuracy) for one in best.best] == [
        ("cat", 90.0),
        ("100% & _more_", 50.0),
    ]
    pairs = [(one.true, one.predicted, one.images, one.share) for one in best.confusions]
    assert pairs == [
        ("owl", "cat", 20, 50.0),
        ("<script>alert(1)</script>", "100% & _more_", 15, 75.0),
        ("100% & _more_", "cat", 10, 50.0),
    ]


def test_a_class_has_the_mean_number_of_training_images(runs):
    details = [read_details(run, []) for run in pairs_of(runs)[0][1]]
    details[1] = details[1]._replace(train=(20, 10, 20, 0))  # another seed of a long tail
    means = (40 * (len(details) - 1) + 20) / len(details), 10, 20, 0
    assert tuple(one.train for one in class_results(details)) == means


def test_the_closer_look_is_at_no_row_of_fewer_seeds(tmp_path):
    for method, seeds, h in (("a", 2, 50.0), ("b", 2, 60.0), ("lucky", 1, 70.0)):
        for seed in range(seeds):
            config = {"method": method, "seed": seed}
            folder = write_run(tmp_path, f"{method}{seed}", config, {"H": h, "S": h, "U": h})
            (folder / "details.json").write_text(json.dumps(details_of(seed)))
    pairs = pairs_of(tmp_path)
    add_marks(pairs)
    assert best_row(pairs, []).label == "b"


def test_the_curve_has_the_point_that_gamma_chose(runs):
    ((name, figure),) = seen_unseen_curves(pairs_of(runs), LOOKS, [])
    curve, chosen = figure.axes[0].get_lines()
    assert name == "uniform, rate 0.1"
    assert curve.get_xydata().tolist() == [[0, 80], [50, 60], [70, 0]]
    assert chosen.get_xydata().tolist() == [[50.0, 60.0]]  # U and S of metrics.json


def test_weights_are_drawn_over_the_epochs_and_after_training(runs):
    (_, path, figure), _ = best_row(pairs_of(runs), []).weights
    assert path == "cat/1.png"
    truth, other = figure.axes[0].get_lines()
    assert list(truth.get_xdata()) == [1, 2, 3]  # as the epochs of disambiguation
    assert (truth.get_label(), list(truth.get_ydata())) == ("cat (true)", [0.6, 0.7, 0.9])
    assert list(other.get_ydata()) == [0.2, 0.2, 0.1]


def test_the_map_has_every_label_before_and_after(runs):
    figure = dict(best_row(pairs_of(runs), []).figures)[
        "Label embeddings before (hollow) and after (full) training"
    ]
    points = [line for line in figure.axes[0].get_lines() if line.get_marker() != "None"]
    assert [len(line.get_xdata()) for line in points] == [3, 3, 1, 1]
    assert points[3].get_xydata().tolist() == [[0.0, 0.0]]  # owl, after


def test_old_records_have_no_best_row(tmp_path):
    write_run(tmp_path, "a", {"method": "cc"})
    pictures = pictures_of(pairs_of(tmp_path), LOOKS, [])
    assert (pictures.best_row, pictures.curves) == (None, [])


@pytest.mark.parametrize(
    "change",
    [
        {"classes": {}},
        {"classes": {"name": ["a"], "seen": [1, 1], "train": [1]}},
        {"confusions": [[9, 0, 1]]},
        {"confusions": [[0, 1]]},
        {"curve": {"S": [1.0], "U": [1.0, 2.0]}},
        {"curve": {"S": ["x"], "U": [1.0]}},
        {"map": {"class": [0], "before": [[1, 2]], "after": []}},
        {"images": [{"path": 3, "truth": 0, "candidates": [0], "weights": [1.0]}]},
        {"images": [{"path": "a", "truth": 0, "candidates": [0], "weights": [1.0, 2.0]}]},
        {"images": 3},
    ],
)
def test_damaged_details_are_named_and_cost_the_pictures_only(tmp_path, change):
    folder = write_run(tmp_path / "runs", "a")
    (folder / "details.json").write_text(json.dumps({**details_of(), **change}))
    result = report(tmp_path / "runs", tmp_path / "out", ("html",))
    (warning,) = result["warnings"]
    assert warning.startswith("No details of a: details.json is damaged (") and "\n" not in warning
    assert result["finished"] == 1


def test_a_history_that_nests_too_deep_costs_the_pictures_only(tmp_path):
    folder = write_run(tmp_path / "runs", "a")
    (folder / "details.json").write_text(json.dumps(details_of()))
    (folder / "history.jsonl").write_text("[" * 100_000 + "]" * 100_000)
    result = report(tmp_path / "runs", tmp_path / "out", ("html",))
    assert any("nested too deep" in warning for warning in result["warnings"])
    assert result["finished"] == 1


def test_the_page_shows_names_safely_and_pictures_within_their_folder(runs, tmp_path):
    (tmp_path / "images" / "cat").mkdir(parents=True)
    for name in ("images/cat/1.png", "x.png"):  # the second lies outside the folder of images
        Image.new("RGB", (300, 200), "red").save(tmp_path / name)
    report(runs, tmp_path / "out", ("html", "svg"), images=tmp_path / "images")
    text = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "<script>alert" not in text and "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "100% &amp; _more_" in text and "A closer look at the row with the highest H: cc" in text
    assert len(re.findall(r'<img src="data:image/jpeg;base64,', text)) == 1
    names = {path.name for path in (tmp_path / "out" / "figures").iterdir()}
    assert "birds-seen-unseen-curve-uniform-rate-0-1.svg" in names
    assert "birds-weights-cat-1-png-true-label-cat.svg" in names


def test_a_folder_without_the_pictures_is_reported(runs, tmp_path, capsys):
    (tmp_path / "images").mkdir()
    result = report(runs, tmp_path / "out", ("html",), images=tmp_path / "images")
    (warning,) = [line for line in result["warnings"] if line.startswith("No picture is shown")]
    assert "1.png is not there; --images takes the folder of the data" in warning
    with pytest.raises(UsageError, match="none is not a folder"):
        report(runs, tmp_path / "out", images=tmp_path / "none")
    report(runs, tmp_path / "out", ("csv",), images=tmp_path / "images")
    assert "--images means nothing here: only a page" in capsys.readouterr().err


def test_a_figures_file_names_each_line_once(runs, tmp_path):
    for number, rate in enumerate((0.1, 0.3)):
        write_run(runs, f"other{number}", {"method": "rc", "rate": rate})
        write_run(runs, f"more{number}", {"method": "cc", "rate": rate, "seed": 5})
    write_run(runs, "single", {"method": "rc", "noise": "uss"})
    write_run(runs, "single2", {"method": "cc", "noise": "uss"})
    report(runs, tmp_path / "out", ("html", "svg"))
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    in_figures = "".join(re.findall("<svg.*?</svg>", page, re.DOTALL))
    assert in_figures.count(">rc<") == 3  # of the dots: H, S and U; the others have a legend beside
    for name in ("h-over-the-noise-rate-uniform", "h-uss-rate-0-1"):
        drawing = (tmp_path / "out" / "figures" / f"birds-{name}.svg").read_text(encoding="utf-8")
        assert drawing.count(">rc<") == drawing.count(">cc<") == 1, name
    curve = "birds-seen-unseen-curve-uniform-rate-0-1.svg"
    drawing = (tmp_path / "out" / "figures" / curve).read_text(encoding="utf-8")
    assert drawing.count(">cc<") == 1


def test_the_gap_is_to_the_best_oracle_of_the_same_labels(tmp_path):
    runs = tmp_path / "oracles"
    for labels, rank, h in (("text", 32, 80.0), ("text", 4, 75.0), ("attributes", 32, 60.0)):
        config = {"method": "oracle", "labels": labels, "options": {"rank": rank}}
        write_run(runs, f"o{labels}{rank}", config, {"H": h})
    for labels, h in (("text", 70.0), ("attributes", 59.0), ("both", 10.0)):
        write_run(runs, f"m{labels}", {"method": "rc", "labels": labels}, {"H": h})
    pairs = rows_of(read_runs(runs).runs)
    looks = styles({row["label"]: row["method"] for row, _ in pairs})
    (gaps,) = (f for name, f in pictures_of(pairs, looks, []).more if name.startswith("Gap of H"))
    points = [container[0].get_xdata()[0] for container in gaps.axes[0].containers]
    assert sorted(points) == [1.0, 10.0]


def test_the_page_says_how_candidate_sets_were_made(runs, tmp_path):
    for name, rule, k in (("a", "union", None), ("b", "topk", 3)):
        folder = write_run(runs, f"by-{rule}", {"cache_hash": name * 64, "noise": "annotated"})
        (folder / "env.json").write_text(json.dumps({"annotation": {"rule": rule, "k": k}}))
    report(runs, tmp_path / "out", ("html",))
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "<dd>union</dd>" in page and "<dd>topk</dd>" in page and "<dd>null</dd>" not in page
