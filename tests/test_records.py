"""Records whose parts don't belong together: refused by whoever reads them, in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from problems import write_cache
from records import write_run

from pzsl import report, train
from pzsl.errors import UserError
from pzsl.inference import refine
from pzsl.inference.record import read_record
from pzsl.record_hashes import PARTS
from pzsl.reports.records import read_runs


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory) -> Path:
    """A folder with the runs `a` and `b`, alike but for their seeds."""
    folder = tmp_path_factory.mktemp("records")
    cache = write_cache(folder / "c.h5")
    settings = {"epochs": 2, "min_steps": 4}
    rows = train(cache, method="proden", rate=0.3, seeds=2, settings=settings, workers=1,
                 runs=folder / "made")["runs"]  # fmt: skip
    for name, row in zip("ab", rows, strict=True):
        Path(row["path"]).rename(folder / name)
    return folder


@pytest.fixture
def runs(two_runs, tmp_path) -> Path:
    """A copy of it."""
    for name in "ab":
        shutil.copytree(two_runs / name, tmp_path / "runs" / name)
    return tmp_path / "runs"


def test_whole_records_are_read(runs, tmp_path):
    assert len(read_runs(runs).runs) == 2 and not read_runs(runs).warnings
    assert refine(runs / "a", tmp_path / "labels.csv")["images"] == 8 * 14


@pytest.mark.parametrize("part", [*PARTS, "metrics.json"])
def test_a_part_of_another_run_is_refused_by_name(part, runs, tmp_path):
    other = (runs / "b" / part).read_bytes()
    if part == "env.json":  # it may be the same for both: they are of one machine and one second
        other = other.replace(b'"finished": "2', b'"finished": "1')
    (runs / "a" / part).write_bytes(other)
    with pytest.raises(UserError, match=r"a: .* is of another run, or was changed: put"):
        refine(runs / "a", tmp_path / "labels.csv")
    if part != "model.safetensors":  # of which a report makes no use
        (warning,) = read_runs(runs).warnings
        assert "is of another run" in warning and "\n" not in warning


def test_train_takes_no_damaged_record_for_a_finished_run(tmp_path):
    given = {"method": "clip", "rate": 0.1, "seeds": 1, "workers": 1, "runs": tmp_path / "runs"}
    cache = write_cache(tmp_path / "c.h5")
    (row,) = train(cache, **given)["runs"]
    metrics = Path(row["path"], "metrics.json")
    whole = metrics.read_text()
    metrics.write_text(json.dumps(json.loads(whole) | {"H": 99.0}))
    with pytest.raises(UserError, match=r"metrics\.json was changed .* remove the run's metrics"):
        train(cache, **given)
    metrics.write_text(whole[:50])
    with pytest.raises(
        UserError, match=r"metrics\.json is not valid JSON .* remove the run's metrics"
    ):
        train(cache, **given)
    metrics.unlink()
    assert train(cache, **given)["runs"][0]["H"] == row["H"]


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_is_missing_is_reported(part, runs, tmp_path):
    (runs / "a" / part).unlink()
    with pytest.raises(UserError) as caught:
        refine(runs / "a", tmp_path / "labels.csv")
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        ("metrics.json", "gamma", float("nan")),
        ("metrics.json", "gamma", None),
        ("metrics.json", "H", 99.0),
        ("config.json", "rate", None),
        ("config.json", "seed", -1),
        ("config.json", "eta", "much"),
        ("config.json", "noise", ["uniform"]),
        ("config.json", "options", []),
    ],
)
@pytest.mark.parametrize("old", [False, True])
def test_a_value_that_was_changed_is_refused(file, key, value, old, runs):
    """`old`: a record from before parts knew each other, whose values alone can tell."""
    if old:
        metrics = json.loads((runs / "a" / "metrics.json").read_text())
        metrics = {k: v for k, v in metrics.items() if k not in ("parts", "checksum")}
        (runs / "a" / "metrics.json").write_text(json.dumps(metrics))
        assert read_record(runs / "a").config.method == "proden"
    path = runs / "a" / file
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    if old and key == "H":
        return  # nothing can tell
    with pytest.raises(UserError, match=r"damaged|changed"):
        read_record(runs / "a")
    if not old:
        assert len(read_runs(runs).runs) == 1 and len(read_runs(runs).warnings) == 1


@pytest.mark.parametrize("value", [-1, 100.1, 6130])
def test_a_percentage_that_is_none_is_left_out(value, tmp_path):
    for seed in range(2):
        write_run(tmp_path, f"r{seed}", {"seed": seed}, {"H": value} if seed else {})
    records = read_runs(tmp_path)
    assert len(records.runs) == 1
    assert f"'H' is {value:g}, and should be 0 to 100" in records.warnings[0]


def test_a_mean_over_fewer_runs_than_its_row_has_is_reported(tmp_path):
    for seed in range(3):
        metrics = {"H": None} if seed == 1 else {"H": 40.0 + seed}
        write_run(tmp_path / "runs", f"r{seed}", {"seed": seed}, {**metrics, "T1": None})
    told = report(tmp_path / "runs", tmp_path / "out", ("csv",))["warnings"]
    assert [line for line in told if " runs, as " in line] == [
        "birds, clip-pzsl, uniform, rate 0.1: H is of 2 of 3 runs, as the others have none: train "
        "those again."
    ]


@pytest.mark.parametrize(
    ("metrics", "told"),
    [
        ({"H": 90.0}, "'H' is 90.00, but 'S' and 'U' make it 54.55: the file was changed"),
        ({"S": 0.0, "U": 0.0, "H": 50.0}, "make it 0.00"),
        ({"S": 0.0, "U": 0.0, "H": 0.0}, None),
        ({"H": 54.5}, None),
        ({"U": None, "H": 90.0}, None),
    ],
)
def test_an_h_that_is_not_the_mean_of_s_and_u_is_reported(metrics, told, tmp_path):
    write_run(tmp_path, "r", {}, metrics)
    warnings = read_runs(tmp_path).warnings
    assert len(warnings) == (told is not None)
    assert told is None or told in warnings[0]


def test_a_file_in_place_of_the_folder_of_runs_is_reported(tmp_path):
    (tmp_path / "x.h5").write_bytes(b"x")
    with pytest.raises(UserError, match=r"No folder .*x\.h5': it is a file\."):
        read_runs(tmp_path / "x.h5")


def test_a_packed_model_in_place_of_a_run_is_reported(tmp_path):
    (tmp_path / "SHA256SUMS").write_text("")
    with pytest.raises(UserError, match="is a packed model: give the run"):
        read_record(tmp_path)
