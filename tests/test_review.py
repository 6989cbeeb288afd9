"""The page of doubtful images: what it holds, and the corrections that come out of it."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from problems import write_cache

from pzsl import apply_corrections, labels, load_cache, review, train
from pzsl.datasets.own.rows import read_rows
from pzsl.errors import UsageError, UserError
from pzsl.inference.labelling.label_rows import by_gain, label_rows
from pzsl.inference.labelling.picture_files import find_pictures
from pzsl.inference.labelling.review_page import _in_script, _picture
from pzsl.inference.record import read_record
from pzsl.inference.restore import restore
from pzsl.reports.page import _thumbnail_of

SHORT = {"min_steps": 4, "epochs": 2}


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory) -> tuple[Path, Path, Path]:
    """A cache where a third of the single labels is wrong, a run on it, and its pictures."""
    folder = tmp_path_factory.mktemp("reviewed")
    cache = write_cache(folder / "toy.h5", each=30, spread=0.25, mislabelled=0.3)
    given = {"noise": ("file",), "seeds": 1, "workers": 1, "settings": SHORT}
    run = Path(train(cache, runs=folder / "runs", **given)["runs"][0]["path"])
    for number, path in enumerate(load_cache(cache).paths):
        file = folder / "pictures" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        colour = tuple(np.random.default_rng(int(path.split("/")[0])).integers(0, 255, 3).tolist())
        Image.new("RGB", (60 + number % 5, 60), colour).save(file)
    return cache, run, folder / "pictures"


def content_of(page: Path) -> dict:
    text = page.read_text(encoding="utf-8")
    return json.loads(re.search(r'type="application/json">(.*?)</script>', text, re.S)[1])


def true_labels(cache: Path) -> dict[str, str]:
    data = load_cache(cache)
    return {path: data.classes[row] for path, row in zip(data.paths, data.labels, strict=True)}


def test_the_page_shows_the_most_doubtful_images_and_sure_ones_beside(pzsl, reviewed, tmp_path):
    _, run, pictures = reviewed
    words = ["--run", run, "--images", pictures, "--count", "25", "--out", tmp_path / "out"]
    code, text, err = pzsl("review", *words, "--json")
    assert code == 0, err
    result = json.loads(text)
    assert result["images"] == 25 and result["missing"] == 0
    items = content_of(Path(result["page"]))["items"]
    rows = by_gain(label_rows(restore(read_record(run))))[:25]
    assert [item["path"] for item in items] == [row.path for row in rows]
    for item in items:
        assert item["candidates"][0] == item["label"]
        assert item["picture"].startswith("data:image/jpeg;base64,")
        assert len(item["alike"]) == len(item["candidates"]) <= 9
        assert item["alike"][0].startswith("data:image/jpeg;base64,")
    page = Path(result["page"]).read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:|//|/)""", page)  # nothing is fetched
    assert "://" not in page
    code, _, err = pzsl("review", *words)
    assert code == 1 and "exists already" in err


def test_pictures_that_moved_are_found_by_the_end_of_their_path(reviewed, tmp_path):
    """Names recur in every class folder: the folder's name tells them apart."""
    _, run, pictures = reviewed
    shutil.copytree(pictures, tmp_path / "new" / "deeper" / "pictures")
    result = review(run, tmp_path / "a", images=tmp_path / "new", count=10)
    assert result["missing"] == 0
    straight = review(run, tmp_path / "b", images=pictures, count=10)
    one, other = (content_of(Path(found["page"])) for found in (result, straight))
    assert one["items"] == other["items"]


def test_a_missing_picture_is_counted_and_none_at_all_is_refused(reviewed, tmp_path, capsys):
    _, run, pictures = reviewed
    first = by_gain(label_rows(restore(read_record(run))))[0].path
    shutil.copytree(pictures, tmp_path / "some")
    (tmp_path / "some" / first).unlink()
    result = review(run, tmp_path / "a", images=tmp_path / "some", count=5)
    assert result["missing"] == 1 and first in capsys.readouterr().err
    assert content_of(Path(result["page"]))["items"][0]["picture"] == ""
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="No picture is found"):
        review(run, tmp_path / "b", images=tmp_path / "empty", count=5)
    with pytest.raises(UserError, match="names no folder of pictures"):
        review(run, tmp_path / "b", count=5)


def test_names_with_markup_stay_text():
    text = _in_script({"path": "</script><script>alert(1)</script><!-- & 'ä' \u2028"})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text)["path"].startswith("</script>")


@pytest.mark.parametrize("mode", ["RGBA", "P", "L", "CMYK", "I;16", "1"])
def test_pictures_of_every_mode_get_a_thumbnail(mode):
    picture = Image.new("RGB", (300, 40), "red").convert("L" if mode == "I;16" else mode)
    picture = picture.convert("I").convert("I;16") if mode == "I;16" else picture
    assert _picture(lambda _: picture, "a.png", 64).startswith("data:image/jpeg;base64,")


def test_what_is_transparent_is_white_on_the_review_page_and_in_the_report(tmp_path):
    Image.new("RGBA", (8, 8)).save(tmp_path / "a.png")
    opened = Image.open(tmp_path / "a.png")
    for uri in (_thumbnail_of(tmp_path, "a.png"), _picture(lambda _: opened, "a.png", 8)):
        shown = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
        assert shown.getpixel((4, 4)) == (255, 255, 255)


@pytest.mark.parametrize("error", [Image.DecompressionBombError, IndexError, OSError])
def test_a_picture_that_no_decoder_can_read_is_missing(error):
    def broken(path):
        raise error(path)

    assert _picture(broken, "x.png", 64) == ""


def write_corrections(file: Path, chosen: dict[str, str]) -> Path:
    with file.open("w", encoding="utf-8", newline="") as target:
        csv.writer(target).writerows([("path", "label"), *chosen.items()])
    return file


def test_corrections_become_the_only_candidate(pzsl, reviewed, tmp_path):
    cache, run, _ = reviewed
    truth, doubtful = true_labels(cache), label_rows(restore(read_record(run)))[:20]
    chosen = {row.path: truth[row.path] for row in doubtful[:19]} | {doubtful[19].path: ""}
    file = write_corrections(tmp_path / "corrections.csv", chosen)
    table = tmp_path / "table.csv"
    code, text, err = pzsl("review", "--run", run, "--apply", file, "--out", table, "--json")
    assert code == 0, err
    result = json.loads(text)
    assert (result["corrected"], result["removed"]) == (19, 1)
    rows = {row.path: row for row in read_rows(table)}
    assert len(rows) == result["images"] == len(truth) - 1
    for path, label in chosen.items():
        assert path not in rows if not label else rows[path].candidates == (label,)
    given = {row.path: tuple(row.given) for row in label_rows(restore(read_record(run)))}
    for path, row in rows.items():
        if path in given and path not in chosen:
            assert row.candidates == given[path]
    assert {row.label for row in rows.values() if row.unseen} == {
        f"class {n}" for n in range(8, 12)
    }


def test_labels_that_were_asked_about_do_not_become_the_truth(tmp_path):
    """Without candidates beside them, the next run asks about them again."""
    cache = write_cache(tmp_path / "toy.h5")
    given = {"noise": ("file",), "seeds": 1, "workers": 1, "settings": SHORT}
    train(cache, runs=tmp_path / "runs", **given)
    labels_of = true_labels(cache)
    path = next(path for path in labels_of if path.startswith("0/"))
    file = write_corrections(tmp_path / "corrections.csv", {path: "class 1"})
    only = tmp_path / "runs" / "toy"  # the folder of the one run's folder
    table = apply_corrections(file, only, tmp_path / "table.csv")["table"]
    rows = {row.path: row for row in read_rows(Path(table))}
    assert {path: row.label for path, row in rows.items()} == {**labels_of, path: "class 1"}
    assert not any(row.candidates for row in rows.values())


@pytest.mark.parametrize("stored", [False, True])
def test_drawn_sets_do_not_become_data_and_a_correction_changes_the_label(tmp_path, capsys, stored):
    cache = write_cache(tmp_path / "toy.h5", mislabelled=0.3 if stored else None)
    given = {"noise": ("uniform",), "rate": 0.5, "seeds": 1, "workers": 1, "settings": SHORT}
    train(cache, runs=tmp_path / "runs", imbalance=4.0, **given)
    told = "sets that the cache holds are not used"
    assert (told in capsys.readouterr().err) == stored
    data, only = load_cache(cache), tmp_path / "runs" / "toy"
    labels(only, tmp_path / "labels.csv")
    assert "sets that were drawn for this run (noise uniform)" in capsys.readouterr().err
    path = label_rows(restore(read_record(only)))[0].path
    other = next(name for name in data.classes if name not in true_labels(cache)[path])
    file = write_corrections(tmp_path / "corrections.csv", {path: other})
    rows = {row.path: row for row in read_rows(apply_to(file, only, tmp_path / "table.csv"))}
    assert {row.path: row.label for row in rows.values()} == {**true_labels(cache), path: other}
    for row, (image, split) in enumerate(zip(data.paths, data.splits, strict=True)):
        own: tuple[str, ...] = ()
        if stored and split == "trainval":
            start, end = data.candidate_offsets[row : row + 2]
            own = tuple(data.classes[label] for label in data.candidate_labels[start:end])
            own = (other,) if image == path else own
        assert rows[image].candidates == own


def apply_to(corrections: Path, run: Path, table: Path) -> Path:
    return Path(apply_corrections(corrections, run, table)["table"])


def test_wrong_corrections_are_refused_before_anything_is_written(pzsl, reviewed, tmp_path):
    cache, run, _ = reviewed
    path = label_rows(restore(read_record(run)))[0].path
    test_image = next(
        p
        for p, s in zip(load_cache(cache).paths, load_cache(cache).splits, strict=True)
        if s != "trainval"
    )
    wrong = [
        ("path,label\nnone.png,class 1\n", "'none.png' is not a training image"),
        (f"path,label\n{test_image},class 1\n", "is a test image, and only labels of training"),
        (f"path,label\n{path},clas 1\n", "unknown class 'clas 1'"),
        (f"path,label\n{path},Class_9\n", "'Class_9' is an unseen class, which no training image"),
        (f"path,label\n{path},class 1\n{path},class 2\n", "a different label in a row above"),
        ("a,b\n1,2\n", "no column 'path'"),
        (f"path,label,label\n{path},class 1,class 2\n", "two columns are called 'label'"),
        (f"path,label\n{path}", "1 fields, but the header has 2"),  # a download that was cut off
        ("", "no column 'path'"),
    ]
    for text, part in wrong:
        (tmp_path / "c.csv").write_text(text, encoding="utf-8")
        words = ["--run", run, "--apply", tmp_path / "c.csv", "--out", tmp_path / "t.csv"]
        code, out, err = pzsl("review", *words)
        assert (code, out) == (1, "") and part in err, err
        assert not (tmp_path / "t.csv").exists()


def test_corrections_are_read_as_programs_and_people_write_them(reviewed, tmp_path, capsys):
    _, run, _ = reviewed
    paths = [row.path for row in label_rows(restore(read_record(run)))]
    lines = f"path;label\n./{paths[0]};Class_1\n{paths[1]};\n"
    (tmp_path / "c.csv").write_text(lines, encoding="utf-16")
    told = apply_corrections(tmp_path / "c.csv", run, tmp_path / "t.csv")
    assert (
        told["corrected"] == told["removed"] == 1 and "more columns" not in capsys.readouterr().err
    )
    (row,) = [row for row in read_rows(tmp_path / "t.csv") if row.path == paths[0]]
    assert "class 1" in (row.label, *row.candidates)
    (tmp_path / "none.csv").write_text("path,label\n")
    apply_corrections(tmp_path / "none.csv", run, tmp_path / "same.csv")
    labels(run, tmp_path / "labels.csv")
    apply_corrections(tmp_path / "labels.csv", run, tmp_path / "all.csv")
    told = capsys.readouterr().err
    assert "corrects no image" in told and f"for all of its {len(paths)} images" in told


def test_a_page_is_no_table_and_pictures_at_addresses_are_reported(reviewed, tmp_path):
    cache, run, pictures = reviewed
    with pytest.raises(UsageError, match=r"looks like a table, which --apply"):
        review(run, tmp_path / "x.csv", images=pictures)
    data = load_cache(cache)
    data.provenance["origin"]["root"] = "s3://bucket/photos"
    with pytest.raises(UserError, match=r"at s3://bucket/photos.* give it as --images"):
        find_pictures(data)


# --- in a browser --------------------------------------------------------------------------------


@pytest.fixture
def browser():
    """A Chromium of the system, driven by Playwright; skipped where either is missing."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="Playwright is not installed: pip install playwright"
    )
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium is installed: the review page is not opened")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()


def test_twenty_images_corrected_by_keyboard_make_the_next_run_better(
    pzsl, reviewed, tmp_path, browser
):
    cache, run, pictures = reviewed
    truth, data = true_labels(cache), load_cache(cache)
    result = review(run, tmp_path / "review", images=pictures, count=40)
    page = browser.new_page()
    requests: list[str] = []
    faults: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda fault: faults.append(str(fault)))
    page.goto(Path(result["page"]).as_uri())
    items = content_of(Path(result["page"]))["items"]
    page.keyboard.press("1")
    page.keyboard.press("u")  # taken back
    assert "0 of 40, 0 answered" in page.inner_text("#count")
    for item in items[:20]:
        right = truth[item["path"]]
        if right in item["candidates"]:
            page.keyboard.press(str(item["candidates"].index(right) + 1))
        else:
            page.keyboard.press("o")
            page.keyboard.type(right)
            page.keyboard.press("Enter")
    page.keyboard.press("s")
    assert "21 of 40, 20 answered" in page.inner_text("#count")
    with page.expect_download() as download:
        page.keyboard.press("d")
    download.value.save_as(tmp_path / "corrections.csv")
    assert not faults and all(url.startswith(("file:", "data:", "blob:")) for url in requests)

    table = tmp_path / "table.csv"
    apply_corrections(tmp_path / "corrections.csv", run, table)
    place = {path: row for row, path in enumerate(data.paths)}
    order = [place[row.path] for row in read_rows(table)]
    np.save(tmp_path / "x.npy", np.array(data.images)[order])
    np.save(tmp_path / "t.npy", data.label_embeddings())
    (tmp_path / "classes.txt").write_text("\n".join(data.classes), encoding="utf-8")
    words = ["--table", table, "--text", tmp_path / "t.npy", "--classes", tmp_path / "classes.txt"]
    words += ["--out", tmp_path / "again.h5"]
    code, _, err = pzsl("import", tmp_path / "x.npy", *words)
    assert code == 0, err
    given = {"noise": ("file",), "seeds": 1, "workers": 1, "settings": SHORT}
    again = train(tmp_path / "again.h5", runs=tmp_path / "runs", **given)["runs"][0]
    before = labels(run, tmp_path / "before.csv")
    after = labels(again["path"], tmp_path / "after.csv")
    assert after["disambiguation"] > before["disambiguation"]
