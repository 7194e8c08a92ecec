"""The page in a real browser without a head: quiet, self-contained, readable on a phone."""

import shutil

import pytest

from xlingual.cli import main

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed (pip install 'xlingual[browser]')"
)
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium is on the PATH")


@pytest.fixture(scope="module")
def address(run_folders, tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    assert main.main(["report", *run_folders, f"--output={folder}"]) == 0
    return (folder / "report.html").as_uri()


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        # No sandbox: containers that run tests seldom allow one.
        chromium = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def open_page(browser, address, *, width=1280, scheme="light"):
    """Returns the page, and what it said and asked for while it was loaded."""
    page = browser.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
    noise = []
    page.on("console", lambda message: noise.append(message.text))
    page.on("pageerror", lambda error: noise.append(str(error)))
    page.on("request", lambda request: noise.append(request.url))
    page.goto(address)
    return page, noise


def test_the_page_is_quiet_and_asks_for_nothing(browser, address):
    page, noise = open_page(browser, address)
    assert noise == [address]
    assert page.locator("section").count() == 12
    assert page.locator("figure svg").count() >= 15
    unnamed = "svg[role=img]:not([aria-label]), img:not([alt]), figure:not(:has(table))"
    assert page.locator(unnamed).count() == 0


def test_arabic_runs_from_the_right_and_programs_from_the_left(browser, address):
    page, _ = open_page(browser, address)
    directions = page.evaluate(
        """() => [...document.querySelectorAll('.foreign')].map(node => {
            const range = document.createRange();
            range.setStart(node.firstChild, 0);
            range.setEnd(node.firstChild, 1);
            const first = range.getBoundingClientRect(), box = node.getBoundingClientRect();
            const right = box.right - first.right < first.left - box.left;
            return [node.lang || 'code', getComputedStyle(node).direction, right];
        })"""
    )
    assert {tuple(one) for one in directions} == {
        ("ar", "rtl", True), ("de", "ltr", False), ("en", "ltr", False), ("code", "ltr", False),
    }  # fmt: skip


def test_a_phone_needs_no_scrolling_to_the_side(browser, address):
    page, _ = open_page(browser, address, width=390)
    page.evaluate("document.querySelectorAll('details').forEach(node => { node.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    sizes = page.evaluate(
        """() => [...document.querySelectorAll('figure svg text')].map(
            node => node.getBoundingClientRect().height)"""
    )
    assert min(sizes) > 8, "letters of charts, in pixels"


def test_light_and_dark_differ(browser, address):
    grounds, lines = [], []
    for scheme in ("light", "dark"):
        page, _ = open_page(browser, address, scheme=scheme)
        grounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        lines.append(
            page.evaluate(
                """getComputedStyle([...document.querySelectorAll('#chart-loss path')].find(
                    node => node.getAttribute('style').includes('--run0'))).stroke"""
            )
        )
    assert grounds == ["rgb(251, 251, 249)", "rgb(20, 22, 26)"]
    assert len(set(lines)) == 2


def test_values_are_shown_under_the_pointer_and_by_keys(browser, address):
    page, _ = open_page(browser, address)
    picture, tip = page.locator("#chart-loss svg"), page.locator("#tip")
    assert tip.is_hidden()
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    page.mouse.move(box["x"] + box["width"] - 2, box["y"] + 20)
    assert tip.inner_text().split("\n") == ["step 100", "first 3", "second 2"]
    page.mouse.move(0, 0)
    assert tip.is_hidden()
    picture.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    assert tip.inner_text().startswith("step ")
    page.keyboard.press("Escape")
    assert tip.is_hidden()
