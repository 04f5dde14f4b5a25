"""The HTML report as a person opens it."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from eyas.operations.report import read_results, write_report
from tests.support.headless_browser import Browser, headless_browser
from tests.support.workspace import WIDTHS, write_workspace

EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    artifacts = write_workspace(tmp_path_factory.mktemp("report") / "artifacts", candidates=40)
    manifest = artifacts / "fetch/manifest.json"
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(content | {"classes": [EVIL, *content["classes"][1:]], "source": {"train": EVIL}}))
    return write_report(artifacts, params={}).with_suffix(".html")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with headless_browser() as browser:
        yield browser


def test_it_asks_for_nothing_and_complains_of_nothing(browser: Browser, page: Path) -> None:
    browser.requests.clear()
    browser.open(page)
    browser.hover("svg[data-candidate] .winner")
    assert browser.complaints == []
    assert [url for url in browser.requests if not url.startswith("data:")] == [page.as_uri()]


def test_hovering_a_candidate_shows_its_widths(browser: Browser, page: Path) -> None:
    winner = read_results(page.parent.parent).winner
    browser.open(page)
    assert browser.evaluate("document.getElementById('tip').hidden")
    browser.hover("svg[data-candidate] .winner")
    assert not browser.evaluate("document.getElementById('tip').hidden")
    text = browser.evaluate("document.getElementById('tip').textContent")
    assert f"candidate {winner.index}, rank 1" in text
    shares = zip(winner.widths, WIDTHS.values(), strict=True)
    assert "  ".join(f"{width}/{channels}" for width, channels in shares) in text
    browser.hover("h1")
    assert browser.evaluate("document.getElementById('tip').hidden")


def test_hovering_a_bar_names_its_group(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.hover(".bars g[data-tip]")
    text = browser.evaluate("document.getElementById('tip').textContent")
    assert text.startswith(next(iter(WIDTHS)))


@pytest.mark.parametrize("width", [1400, 400])
def test_no_screen_is_too_narrow_and_dark_is_dark(browser: Browser, page: Path, width: int) -> None:
    corners = {}
    for dark in (False, True):
        browser.open(page, width=width, dark=dark)
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
        with Image.open(io.BytesIO(browser.picture())) as picture:
            corners[dark] = sum(picture.convert("RGB").getpixel((2, 2)))
            assert len(picture.convert("RGB").getcolors(1 << 24) or []) > 20
    assert corners[False] > 600
    assert corners[True] < 150


def test_names_of_the_user_are_text(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.evaluate("[...document.scripts].every(s => s.textContent != 'alert(1)')")
    assert EVIL in browser.evaluate("document.getElementById('data').textContent")
