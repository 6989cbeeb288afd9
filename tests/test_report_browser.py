"""The page in a browser: sorted and filtered by its own script, quiet, accessible, in any width."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from records import details_of, write_run

from pzsl.reports import report


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="Playwright is not installed: pip install playwright"
    )
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("No Chromium is installed")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    """A page of five methods, two rates and two seeds, one metric missing here and there."""
    root, rng = tmp_path_factory.mktemp("page"), np.random.default_rng(0)
    for index, method in enumerate(("clip", "cc", "rc", "pico", "<b>bold</b> & _co_")):
        for rate in (0.1, 0.3):
            for seed in range(2):
                values = {k: float(rng.uniform(40, 90)) for k in ("S", "U", "H")}
                values["T1"] = None if method == "rc" else 50.0 + 10 * index
                config = {"method": method, "rate": rate, "seed": seed}
                epochs = [{"epoch": e, "disambiguation": 50.0 + e} for e in (1, 2, 3)]
                folder = write_run(root / "runs", f"{index}-{rate}-{seed}", config, values, epochs)
                (folder / "details.json").write_text(json.dumps(details_of()))
    report(root / "runs", root / "out", ("html",))
    return root / "out" / "index.html"


@pytest.fixture
def open_page(browser, page_file):
    """Opens the page; fails on console errors and on requests for anything but the page."""
    pages, wrong = [], []

    def opened(width=1280, **options):
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        page = context.new_page()
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "request",
            lambda request: (
                wrong.append(request.url) if request.url != page_file.as_uri() else None
            ),
        )
        page.goto(page_file.as_uri())
        pages.append(context)
        return page

    yield opened
    for context in pages:
        context.close()
    assert wrong == []


def first_cells(page) -> list[list[str]]:
    """Method and T1 of each shown row of the data set's table, setting by setting."""
    bodies = page.locator("section[id] table").first.locator("tbody").all()
    rows = [body.locator("tr:not(.setting):visible").all() for body in bodies]
    return [[row.locator("th").inner_text() for row in group] for group in rows]


def test_a_click_on_a_heading_sorts_within_each_setting(open_page):
    page = open_page()
    button = page.locator("section[id] table").first.get_by_role("button", name="T1")
    button.focus()
    page.keyboard.press("Enter")
    assert first_cells(page) == [["<b>bold</b> & _co_", "pico", "cc", "clip", "rc"]] * 2
    assert page.locator("th[aria-sort=descending]").inner_text() == "T1"
    button.click()
    assert first_cells(page) == [["clip", "cc", "pico", "<b>bold</b> & _co_", "rc"]] * 2


def test_the_filter_shows_the_methods_whose_name_holds_a_text(open_page):
    page = open_page()
    page.get_by_label("Show methods with").fill("c")
    assert [sorted(names) for names in first_cells(page)] == [
        ["<b>bold</b> & _co_", "cc", "clip", "pico", "rc"]
    ] * 2
    page.get_by_label("Show methods with").fill("pic")
    assert first_cells(page) == [["pico"]] * 2
    assert page.locator("table.plain tbody tr[hidden]").count() == 0  # pairs of classes, no methods


def test_without_script_the_page_says_the_same(open_page):
    page = open_page(java_script_enabled=False)
    assert len(first_cells(page)[0]) == 5
    assert page.get_by_role("button").count() == 0


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_window_and_the_first_column_stays(open_page, width):
    page = open_page(width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    box = page.locator("section[id] .scroll").first
    box.evaluate("box => box.scrollLeft = 300")
    heads = box.locator("thead th").first, box.locator("tbody th[scope=row]").first
    left = box.bounding_box()["x"]
    assert [round(head.bounding_box()["x"] - left) for head in heads] == [0, 0]


AXE = Path(os.environ.get("AXE_CORE", "node_modules/axe-core/axe.min.js"))


@pytest.mark.skipif(not AXE.is_file(), reason="axe-core isn't installed: npm install axe-core")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(open_page, scheme):
    page = open_page(390, color_scheme=scheme)
    page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run().then(result => result.violations.map(v => [v.impact, v.id]))")
    assert not [fault for fault in found if fault[0] in ("serious", "critical")]
