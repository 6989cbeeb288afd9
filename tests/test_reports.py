"""Reports: the numbers, what keeps groups apart, hostile records, and the page itself."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
import shlex
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from quick_processes import run_python
from records import CONFIG, LAST_DIGIT, METRICS, write_run

from pzsl.errors import UsageError, UserError
from pzsl.methods import METHODS, make_options
from pzsl.reports import report
from pzsl.reports.dataset_figures import pictures_of
from pzsl.reports.figures import styles
from pzsl.reports.groups import rows_of
from pzsl.reports.provenance import command_of
from pzsl.reports.records import Run, read_runs
from pzsl.sweep_progress import FINISHED, SweepWatcher, write_plan
from pzsl.training.config import Source, expand
from pzsl.training.settings import read_settings

HOSTILE = '<script>alert("x")</script>'


def sweep(root: Path) -> pd.DataFrame:
    """Two methods, two rates, three seeds, with seeded metrics; returns them as a table."""
    rng, rows = np.random.default_rng(0), []
    for method in ("clip", "clip-pzsl"):
        for rate in (0.1, 0.3):
            for seed in range(3):
                values = {key: float(rng.uniform(40, 90)) for key in ("S", "U", "T1")}
                values["H"] = 2 * values["S"] * values["U"] / (values["S"] + values["U"])
                config = {"method": method, "rate": rate, "seed": seed}
                epochs = [{"epoch": e, "disambiguation": 50.0 + e + seed} for e in (1, 2, 3)]
                write_run(root / "first", f"{method}-{rate}-{seed}", config, values, epochs)
                rows.append({**config, **values})
    return pd.DataFrame(rows)


@pytest.fixture
def runs(tmp_path):
    return tmp_path / "runs"


@pytest.fixture
def make(runs, tmp_path):
    """Report on `runs` in some formats."""
    return lambda *formats: report(runs, tmp_path / "out", formats or ("csv",))


# --- the numbers ---------------------------------------------------------------------------------


def test_means_and_deviations_equal_pandas(runs, make):
    table = sweep(runs)
    found = make()
    assert (found["finished"], found["unfinished"], found["warnings"]) == (12, 0, [])
    assert len(found["rows"]) == 4
    for row in found["rows"]:
        group = table[(table.method == row["method"]) & (table.rate == row["rate"])]
        assert (row["n"], row["seeds"]) == (3, [0, 1, 2])
        for metric in ("S", "U", "H", "T1"):
            assert row[f"{metric}_mean"] == pytest.approx(group[metric].mean())
            assert row[f"{metric}_std"] == pytest.approx(group[metric].std())  # pandas: ddof = 1


def test_a_case_done_by_hand(runs, make):
    for seed, h in enumerate((60.0, 62.0, 67.0)):
        write_run(runs, f"{seed}", {"seed": seed}, {"H": h, "T1": None if seed else 70.0})
    (row,) = make()["rows"]
    assert row["H_mean"] == 63.0
    assert row["H_std"] == pytest.approx(13**0.5)
    assert (row["T1_mean"], row["T1_std"]) == (70.0, None)
    assert row["seconds_mean"] == 2.0
    assert row["label"] == "clip-pzsl"


def test_one_seed_has_no_deviation_and_null_metrics_stay_null(runs, make):
    write_run(runs, "a", metrics={"disambiguation": None})
    (row,) = make()["rows"]
    assert (row["n"], row["H_mean"], row["H_std"]) == (1, 54.5, None)
    assert (row["disambiguation_mean"], row["disambiguation_std"]) == (None, None)


def test_the_csv_files_hold_every_row_and_every_run(runs, make, tmp_path):
    table = sweep(runs)
    result = make("csv")
    rows = pd.read_csv(tmp_path / "out" / "table.csv")
    expected = [row["H_mean"] for row in result["rows"]]
    assert rows["H_mean"].tolist() == pytest.approx(expected, rel=LAST_DIGIT)
    assert rows["seeds"].tolist() == ["0 1 2"] * 4
    single = pd.read_csv(tmp_path / "out" / "runs.csv")
    keys = ["method", "rate", "seed"]
    merged = single.merge(table, on=keys, suffixes=("", "_true"))
    assert len(merged) == 12
    assert merged["H"].tolist() == pytest.approx(merged["H_true"].tolist(), rel=LAST_DIGIT)
    folders = {path.parent.relative_to(runs).as_posix() for path in runs.rglob("config.json")}
    assert set(single["path"]) == folders


# --- what is one group ---------------------------------------------------------------------------


def labels(result):
    return [row["label"] for row in result["rows"]]


def test_settings_presets_and_data_sets_make_rows_of_their_own(runs, make):
    changes = [{}, {"dataset": "x"}, {"method": "cc"}, {"preset": "paper"}, {"noise": "noisy"}]
    changes += [{"rate": 0.3}, {"eta": 0.2}, {"rate": None}]
    for number, change in enumerate(changes):
        write_run(runs, str(number), change)
    rows = make()["rows"]
    assert [row["n"] for row in rows] == [1] * len(changes)


def test_groups_that_differ_in_options_only_are_told_apart_by_them(runs, make):
    options = [{"lr": 0.1, "adapters": {"rank": 4}}, {"lr": 0.1, "adapters": {"rank": 8}}]
    for number, option in enumerate(options):
        for seed in range(2):
            write_run(runs, f"{number}-{seed}", {"options": option, "seed": seed})
    write_run(runs, "cc", {"method": "cc", "options": {"lr": 0.5}})
    result = make()
    assert labels(result) == ["cc", "clip-pzsl (adapters.rank=4)", "clip-pzsl (adapters.rank=8)"]
    assert [row["n"] for row in result["rows"]] == [1, 2, 2]


def test_an_option_that_some_runs_lack_tells_them_apart(runs, make):
    write_run(runs, "a", {"options": {"epochs": 10, "views": 2}})
    write_run(runs, "b", {"options": {"epochs": 10}})
    assert labels(make()) == ["clip-pzsl (views=-)", "clip-pzsl (views=2)"]


def test_an_unforeseen_key_of_the_configuration_keeps_groups_apart(runs, make):
    write_run(runs, "a", {"labels": "text"})
    write_run(runs, "b", {"labels": "attributes"})
    assert labels(make()) == ["clip-pzsl (labels=attributes)", "clip-pzsl (labels=text)"]


def test_the_preset_is_shown_where_there_are_several(runs, make):
    write_run(runs, "a", {"preset": "default"})
    write_run(runs, "b", {"preset": "paper"})
    write_run(runs, "c", {"method": "cc", "preset": "default"})
    write_run(runs, "d", {"method": "clip", "preset": None})
    assert labels(make()) == ["clip", "cc", "clip-pzsl (default)", "clip-pzsl (paper)"]


def test_runs_of_several_caches_are_shown_apart_with_a_warning(runs, make, tmp_path):
    write_run(runs, "a", {"cache_hash": "aaaabbbbcccc"})
    write_run(runs, "b", {"cache_hash": "ddddeeeeffff"})
    result = make("md")
    assert len(result["rows"]) == 2
    (warning,) = result["warnings"]
    assert "birds" in warning and "2 different caches (aaaabbbb, ddddeeee)" in warning
    text = (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    assert "## birds (cache aaaabbbb)" in text and "2 different caches" in text


def test_a_data_sets_title_is_its_caches_name(runs, make, tmp_path):
    for number, cache in enumerate(
        ("cache/sun-l14.h5", "C:\\caches\\sun-b32.h5", "other/sun-l14.h5")
    ):
        folder = write_run(runs, str(number), {"dataset": "sun", "cache_hash": f"{number}" * 64})
        (folder / "env.json").write_text(json.dumps({"cache": cache}))
    make("md")
    text = (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    for title in ("## sun-b32", "## sun-l14 (cache 00000000)", "## sun-l14 (cache 22222222)"):
        assert f"{title}\n" in text


def test_the_same_configuration_found_twice_counts_once(runs, make):
    write_run(runs, "one/a")
    write_run(runs, "two/a", metrics={"H": 99.0})
    result = make()
    assert result["rows"][0]["n"] == 1 and result["rows"][0]["H_mean"] == 54.5
    assert "two/a has the same configuration as one/a" in result["warnings"][0]


def test_equal_configurations_are_one_however_their_numbers_are_written(runs, make):
    place = {"plugins": {"methods mine.py:Mine": {"at": "/here/mine.py:Mine", "source": "5e"}}}
    write_run(runs, "a", {"rate": 0.3, **place})
    place["plugins"]["methods mine.py:Mine"]["at"] = "/there/mine.py:Mine"
    write_run(runs, "b", {"rate": 0.1 + 0.2, "few_shot": 0, "imbalance": 1, **place})
    write_run(runs, "c", {"rate": 0.1 + 0.2, "seed": 1, **place})
    result = make()
    (row,) = result["rows"]
    assert (row["n"], row["seeds"], row["rate"], row["label"]) == (2, [0, 1], 0.3, "clip-pzsl")
    assert result["warnings"] == ["Left out: b has the same configuration as a."]


def test_linked_folders_are_read_too_and_each_folder_once(runs, make, tmp_path):
    write_run(tmp_path / "elsewhere", "a")
    write_run(runs, "b", config={"seed": 1})
    (runs / "linked").symlink_to(tmp_path / "elsewhere")
    (runs / "b" / "again").symlink_to(runs)
    result = make()
    assert result["rows"][0]["n"] == 2 and not result["warnings"]
    assert [run.path for run in read_runs(runs).runs] == ["b", "linked/a"]
    assert [status.state for status in SweepWatcher(runs).run_statuses()] == [FINISHED, FINISHED]


def test_unfinished_runs_are_counted_not_reported(runs, make):
    write_run(runs, "done")
    folder = runs / "sweep" / "begun"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({**CONFIG, "seed": 1}))
    result = make()
    assert (result["finished"], result["unfinished"]) == (1, 1)
    assert result["waiting"] == ["sweep/begun"]


def test_planned_runs_that_nobody_has_begun_are_unfinished(runs, make):
    write_run(runs / "sun", "cc-0", {"method": "cc"})
    write_plan(runs / "sun", dict.fromkeys(("cc-0", "cc-1"), ("cc", "default")))
    assert make()["waiting"] == ["sun/cc-1"]


def test_failed_runs_are_counted_and_named_with_their_reason(runs, make, tmp_path):
    write_run(runs, "done")
    folder = write_run(runs, "bad", {"seed": 1})
    (folder / "metrics.json").unlink()
    (folder / "failed.json").write_text(json.dumps({"error": "the loss\nis NaN at epoch 3"}))
    result = make("html")
    assert result["failed"] == [{"path": "bad", "reason": "the loss is NaN at epoch 3"}]
    assert (result["finished"], result["unfinished"]) == (1, 0)
    assert "bad: the loss is NaN at epoch 3" in page_of(tmp_path)[0]


def test_metrics_without_their_configuration_are_named_not_counted(runs, make):
    write_run(runs, "done")
    (write_run(runs, "lost") / "config.json").unlink()
    result = make()
    assert result["finished"] == 1
    assert result["warnings"] == ["Left out: lost/metrics.json has no config.json beside it."]


def test_a_foreign_configuration_is_named_not_counted(runs, make):
    write_run(runs, "done")
    (runs / "model").mkdir()
    (runs / "model" / "config.json").write_text('{"architectures": ["CLIPModel"]}')
    result = make()
    assert result["unfinished"] == 0
    assert result["warnings"] == [
        "Left out: model/config.json is not of a run: it has no 'method' and 'seed'."
    ]


def test_missing_seeds_are_named(runs, make):
    for method, seeds in (("cc", 3), ("rc", 2)):
        for seed in range(seeds):
            write_run(runs, f"{method}{seed}", {"method": method, "seed": seed})
    (row,) = make()["missing"]
    assert (row["label"], row["seeds"]) == ("rc", [2])


def test_a_rows_command_makes_its_configurations_again():
    options = asdict(make_options("clip-pzsl", "paper", {"epochs": 7, "prototypes": False}))
    runs = [
        Run(
            "x",
            *("d", "c", "clip-pzsl", "paper", "noisy"),
            0.15,
            0.25,
            seed,
            {"labels": "both"},
            {},
        )
        for seed in (0, 1, 4)
    ]
    text = {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in options.items()
    }
    runs = [
        replace(run, few_shot=2, settings=text, environment={"cache": "my c.h5"}) for run in runs
    ]
    lines = command_of(runs).splitlines()
    assert [line[-24:] for line in lines] == [
        "--first-seed 0 --seeds 2",
        "--first-seed 4 --seeds 1",
    ]
    on_gpu = replace(runs[0], options={"labels": "both", "device": "cuda"})
    assert "--device cuda --set" in command_of([on_gpu]) and "--device" not in lines[0]
    words = shlex.split(lines[0])
    given = dict(zip(words[2::2], words[3::2], strict=True))
    assert (given["--cache"], given["--few-shot"], given["--labels"]) == ("my c.h5", "2", "both")
    sets = [b for a, b in itertools.pairwise(words) if a == "--set"]
    grid = expand(
        Source("d", "c", "m"),
        [given["--method"]],
        [given["--preset"]],
        [given["--noise"]],
        [float(given["--rate"])],
        [float(given["--eta"])],
        range(2),
        given["--labels"],
        read_settings(sets),
        [2],
    )
    assert [run.seed for run in grid] == [0, 1]
    assert {(run.noise, run.rate, run.eta, run.few_shot) for run in grid} == {
        ("noisy", 0.15, 0.25, 2)
    }
    assert all(dict(run.options) == options for run in grid)


def test_the_page_tells_where_a_row_comes_from(runs, make, tmp_path):
    folder = write_run(runs, "a b", {"model": "ViT-B-32"})
    environment = {"cache": "cache/birds.h5", "device": "cpu", "packages": {"torch": "2.9"}}
    (folder / "env.json").write_text(
        json.dumps({**environment, "finished": "2026-01-02T03:04:05Z"})
    )
    make("html", "csv")
    text, tags = page_of(tmp_path)
    for expected in ("cache/birds.h5", "c" * 64, "torch 2.9", "2026-01-02T03:04:05Z", "ViT-B-32"):
        assert expected in text
    assert "pzsl train --cache cache/birds.h5 --method clip-pzsl --preset default" in text
    assert {"../runs/a%20b/", "runs.csv"} <= set(tags.addresses)


def test_a_broken_environment_costs_its_facts_only(runs, make):
    folder = write_run(runs, "a")
    (folder / "env.json").write_text("{")
    result = make("html")
    assert result["finished"] == 1 and "env.json is not valid JSON" in result["warnings"][0]


# --- broken and hostile records ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("config.json", "{", "bad/config.json is not valid JSON"),
        ("metrics.json", '{"H": 1', "bad/metrics.json is not valid JSON"),
        ("metrics.json", "[1]", "should hold a JSON object"),
        ("metrics.json", '{"H": NaN}', "'H' is not finite"),
        ("metrics.json", '{"H": 1e999}', "'H' is not finite"),
        ("metrics.json", '{"H": "high"}', "'H' should be a number or null"),
        ("metrics.json", '{"H": true}', "'H' should be a number or null"),
        ("metrics.json", '{"H": ' + "1" * 400 + "}", "'H' is not finite"),
        ("metrics.json", b"\xff\xfe\x00", "is not valid JSON"),
        ("config.json", "[" * 100_000, "is not valid JSON"),
        ("config.json", json.dumps({**CONFIG, "method": 3}), "'method' should be a text"),
        ("config.json", json.dumps({**CONFIG, "dataset": None}), "'dataset' should be a text"),
        ("config.json", json.dumps({**CONFIG, "seed": 0.5}), "'seed' should be a whole number"),
        ("config.json", json.dumps({**CONFIG, "rate": "x"}), "'rate' should be a number"),
        ("config.json", json.dumps({**CONFIG, "options": [1]}), "'options' should be"),
    ],
)
def test_a_broken_record_is_named_and_costs_itself_only(runs, make, name, content, words):
    write_run(runs, "good")
    folder = write_run(runs, "bad", {"seed": 1})
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    result = make()
    assert result["finished"] == 1 and result["rows"][0]["seeds"] == [0]
    (warning,) = result["warnings"]
    assert words in warning and "bad" in warning and "\n" not in warning


def test_a_broken_history_costs_the_curve_only(runs, make):
    folder = write_run(runs, "a", history=[{"epoch": 1, "disambiguation": 1.0}])
    with (folder / "history.jsonl").open("a") as file:
        file.write('{"epoch": 2, "disamb')
    result = make("html")
    assert result["finished"] == 1
    assert "line 2 of a/history.jsonl" in result["warnings"][0]


@pytest.mark.parametrize("folder", ["nowhere", "empty"])
def test_without_a_finished_run_one_line_says_what_to_do(tmp_path, folder):
    (tmp_path / "empty" / "run").mkdir(parents=True)
    (tmp_path / "empty" / "run" / "config.json").write_text("{}")
    with pytest.raises(UserError, match="pzsl train") as caught:
        report(tmp_path / folder, tmp_path / "out")
    assert folder in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_an_unknown_format_is_wrong_usage_and_nothing_is_written(runs, tmp_path):
    write_run(runs, "a")
    with pytest.raises(UsageError, match="Did you mean 'html'"):
        report(runs, tmp_path / "out", ("htm",))
    assert not (tmp_path / "out").exists()


class Tags(HTMLParser):
    """Collects tags, text and addresses of a page."""

    def __init__(self):
        super().__init__()
        self.tags, self.text, self.addresses = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [v for k, v in attrs if k in ("src", "href", "xlink:href", "action")]
        assert not any(k.startswith("on") for k, _ in attrs)

    def handle_data(self, data):
        self.text.append(data)


def page_of(tmp_path) -> tuple[str, Tags]:
    text = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(text)
    return text, tags


def hostile_runs(runs):
    for number, method in enumerate((HOSTILE, "$\\frac{$", '"><img src=x onerror=alert(1)>')):
        config = {"method": method, "dataset": HOSTILE, "cache_hash": HOSTILE, "seed": number}
        config |= {"noise": HOSTILE, "preset": HOSTILE, "options": {HOSTILE: HOSTILE}}
        epochs = [{"epoch": e, "disambiguation": 50.0} for e in (1, 2)]
        write_run(runs, str(number), config, {"H": 50.0 + number}, epochs)


def test_names_from_records_are_escaped_in_the_page(runs, make, tmp_path):
    hostile_runs(runs)
    make("html")
    text, tags = page_of(tmp_path)
    assert tags.tags.count("script") == 1 and "img" not in tags.tags  # the page's own
    assert HOSTILE not in text
    assert any(HOSTILE in piece for piece in tags.text)  # shown, as what it is


def test_names_from_records_are_escaped_in_markdown_and_latex(runs, make, tmp_path):
    hostile_runs(runs)
    write_run(runs, "pipe", {"method": "a|b_c*[d](e)&%#"})
    make("md", "latex")
    markdown = (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    assert "<script" not in markdown and "<img" not in markdown
    assert "a\\|b\\_c\\*\\[d\\](e)&amp;%#" in markdown
    latex = (tmp_path / "out" / "table.tex").read_text(encoding="utf-8")
    assert "a\\textbar{}b\\_c{*}{[}d{]}(e)\\&\\%\\#" in latex
    assert "\\$\\textbackslash{}frac\\{\\$" in latex


def test_control_characters_never_reach_the_terminal(runs, make):
    write_run(runs, "a", {"method": "x\x1b[2J\ny", "options": {"k\x07": "v\x9b"}})
    write_run(runs, "b", {"method": "x\x1b[2J\ny", "options": {"k\x07": "w"}})
    assert all(label.isprintable() for label in labels(make()))


def test_a_name_never_becomes_a_formula_of_a_spreadsheet(runs, make, tmp_path):
    write_run(runs, "a", {"method": "=1+1", "rate": -0.0})
    make("csv")
    text = (tmp_path / "out" / "runs.csv").read_text(encoding="utf-8")
    (row,) = csv.DictReader(io.StringIO(text))
    assert row["method"] == "'=1+1" and float(row["H"]) == 54.5


# --- the page and the other formats --------------------------------------------------------------


def test_the_page_stands_alone_and_shows_tables_and_curves(runs, make, tmp_path):
    sweep(runs)
    make("html")
    text, tags = page_of(tmp_path)
    own = ("#", "../runs/")  # works offline: nothing is loaded, and links stay on this machine
    assert not [a for a in tags.addresses if not a.startswith(own)]
    assert not re.search(r"url\((?!#)", text) and "@import" not in text
    assert tags.tags.count("svg") == 3 + 2  # H, S and U over the rate; epochs for each of two rates
    words = " ".join(tags.text)
    for expected in ("H over the noise rate: uniform", "Disambiguation over the epochs", "AUSUC"):
        assert expected in words
    for expected in ("harmonic mean of S and U", "sample standard deviation", "uniform, rate 0.3"):
        assert expected.lower() in words.lower()
    assert "#010203" not in text  # drawn in the ink of the page, light or dark


def test_ids_in_the_page_are_unique_and_every_reference_has_its_target(runs, make, tmp_path):
    sweep(runs)
    for seed in range(2):
        write_run(runs, f"other-{seed}", {"dataset": "fish", "seed": seed, "rate": seed / 2})
    make("html")
    text, _ = page_of(tmp_path)
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', text)) <= set(ids)


def test_one_single_rate_is_drawn_as_dots_with_names(runs, make, tmp_path):
    for number, method in enumerate(("clip", "cc", "rc")):
        write_run(runs, method, {"method": method}, {"H": 50.0 + number})
    make("html")
    _, tags = page_of(tmp_path)
    assert tags.tags.count("svg") == 3
    assert "H: uniform, rate 0.1" in tags.text


def test_a_page_without_any_harmonic_mean_still_has_its_table(runs, make, tmp_path):
    nothing = dict.fromkeys(METRICS)
    write_run(runs, "a", {"noise": "file", "rate": None, "eta": None}, {**nothing, "S": 61.25})
    make("html", "md", "latex", "csv")
    text, tags = page_of(tmp_path)
    assert "svg" not in tags.tags and "61.25" in text


def test_the_same_records_give_the_same_bytes(runs, tmp_path):
    sweep(runs)
    every = ("html", "md", "latex", "csv")
    for name in ("one", "two"):
        report(runs, tmp_path / name, every)
    for path in sorted((tmp_path / "one").iterdir()):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


def test_the_best_of_each_setting_is_bold_in_markdown_and_page(runs, make, tmp_path):
    for rate, winner in ((0.1, "cc"), (0.3, "rc")):
        for method in ("cc", "rc"):
            best = {"H": 77.0} if method == winner else {"H": 60.0}
            write_run(runs, f"{method}{rate}", {"method": method, "rate": rate}, best)
    make("md", "html")
    lines = (tmp_path / "out" / "table.md").read_text(encoding="utf-8").splitlines()
    bold = [line for line in lines if "**77.00**" in line]
    assert [re.findall(r"\w+", line)[0] for line in bold] == ["cc", "rc"]
    text, _ = page_of(tmp_path)
    assert text.count('class="best">77.00') == 2
    assert len(re.findall(r"<td>\s*60\.00", text)) == 2  # the H of the losers


def test_nothing_is_bold_without_a_rival(runs, make, tmp_path):
    write_run(runs, "a")
    make("md")
    assert "**" not in (tmp_path / "out" / "table.md").read_text(encoding="utf-8")


def test_the_curve_of_disambiguation_ends_in_the_tables_value(runs):
    epochs = [{"epoch": e, "disambiguation": 70.0 + e} for e in (0, 1)]  # as records count them
    for seed in range(2):
        write_run(runs, f"{seed}", {"seed": seed}, {"disambiguation": 90.0 + seed}, epochs)
    pairs = rows_of(read_runs(runs).runs)
    ((_, figure),) = pictures_of(pairs, styles({"clip-pzsl": "clip-pzsl"}), []).epochs
    (line,) = figure.axes[0].get_lines()
    assert line.get_xdata().tolist() == [1, 2, 3] and line.get_ydata().tolist() == [70, 71, 90.5]


def test_the_gap_to_the_oracle_is_drawn_where_there_is_one(runs):
    for method, h in (("oracle", 80.0), ("cc", 74.5), ("rc", 70.0)):
        write_run(runs, method, {"method": method}, {"H": h})
    pairs = rows_of(read_runs(runs).runs)
    looks = styles({row["label"]: row["method"] for row, _ in pairs})
    gaps = [f for name, f in pictures_of(pairs, looks, []).more if name.startswith("Gap of H")]
    points = [container[0].get_xdata()[0] for container in gaps[0].axes[0].containers]
    assert points == [5.5, 10.0]
    write_run(runs, "again", {"method": "oracle", "seed": 1}, {"H": 90.0})  # no other has seed 1
    gaps = pictures_of(rows_of(read_runs(runs).runs), looks, []).more[-1][1]
    assert [one[0].get_xdata()[0] for one in gaps.axes[0].containers] == [5.5, 10.0]
    assert not [n for n, _ in pictures_of(pairs[:2], looks, []).more if n.startswith("Gap of H")]


def test_colour_and_mark_belong_to_the_method():
    names = ["clip", "clip-pzsl", "cc", "a-strangers", "oracle", "lws"]
    every = styles({name: name for name in names})
    for name in names:
        assert styles({name: name})[name] == every[name]
    assert len({(one.colour, one.marker) for one in every.values()}) == len(names)
    built_in = styles({"cc (rank=4)": "cc", **{name: name for name in METHODS}})
    assert len({(one.colour, one.marker) for one in built_in.values()}) == len(METHODS) + 1
    two = styles({"cc": "cc", "cc (rank=4)": "cc"})
    assert two["cc"] == every["cc"] and two["cc (rank=4)"].colour == every["cc"].colour
    assert two["cc (rank=4)"].marker != every["cc"].marker


def test_figures_are_also_written_as_files(runs, tmp_path):
    sweep(runs)
    files = report(runs, tmp_path / "out", ("svg", "png"))["files"]
    assert all(Path(file).parent.name == "figures" for file in files)
    svg, png = (sorted(f for f in files if f.endswith(kind)) for kind in (".svg", ".png"))
    assert len(svg) == len(png) == 1 + 2 + 2  # H; S and U; epochs at two rates
    for file in svg:
        ElementTree.parse(file)
    assert all(Path(file).read_bytes().startswith(b"\x89PNG") for file in png)


def test_only_the_wanted_formats_are_written(runs, make, tmp_path):
    write_run(runs, "a")
    files = make("latex", "csv")["files"]
    out = tmp_path / "out"
    assert sorted(files) == sorted(map(str, out.iterdir()))
    assert {path.name for path in out.iterdir()} == {"table.tex", "table.csv", "runs.csv"}


# --- the command ---------------------------------------------------------------------------------


def run_command(*words):
    return run_python("-m", "pzsl", "report", *words)


def test_the_command_prints_the_table_and_the_files(runs, tmp_path):
    sweep(runs)
    done = run_command(runs, "--out", tmp_path / "out", "--format", "csv,md", "--format", "latex")
    assert done.returncode == 0, done.stderr
    assert re.search(r"Method +Noise +Rate +n +S +U +H +T1 +AUSUC", done.stdout)
    assert re.search(r"clip-pzsl +uniform +0\.3 +3 +\d\d\.\d\d ± \d+\.\d\d", done.stdout)
    assert done.stdout.count("wrote ") == 4


def test_the_command_prints_one_json_document(runs, tmp_path):
    write_run(runs, "a")
    (runs / "b").mkdir()
    (runs / "b" / "config.json").write_text("{")
    (runs / "b" / "metrics.json").write_text("{}")
    done = run_command(runs, "--out", tmp_path / "out", "--json", "--format", "csv")
    result = json.loads(done.stdout)
    assert {"method", "noise", "rate", "n", "S_mean", "S_std"} <= set(result["rows"][0])
    assert done.stderr.startswith("Warning: Left out:") and done.stderr.count("\n") == 1


def test_the_command_fails_in_one_line(tmp_path):
    done = run_command(tmp_path / "none")
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "pzsl train" in done.stderr
    (tmp_path / "runs").mkdir()
    assert run_command(tmp_path / "runs", "--format", "pdf").returncode == 2
