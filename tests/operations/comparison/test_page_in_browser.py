"""The comparison as a person opens it, also on a narrow screen."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from eyas.operations.comparison.comparison import compare_networks
from eyas.operations.comparison.comparison_page import comparison_page
from tests.operations.comparison.test_comparison import ELSEWHERE, HALF, QUARTER, counted, origin
from tests.support.headless_browser import Browser, headless_browser

CUT = """
[...document.querySelectorAll("th, td, h1, a, pre, .legend li, .plot text")].filter(one => one.getClientRects().length)
  .filter(one => one.getBoundingClientRect().left < 0
    || one.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5)
  .map(one => one.outerHTML.slice(0, 200))
"""
"""What reaches beyond the page."""
LONG = "cifar10_training_free+finetune.recipe.learning_rate=0.004"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with headless_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("comparison")
    settings = {f"finetune.recipe.{name}": "s3://bucket/" + name * 9 for name in ("learning_rate", "weight_decay")}
    times = {"model": {"median": 0.03, "q25": 0.02, "q75": 0.04}}
    networks = [
        replace(HALF, origin=replace(origin(1), settings=settings), verdict_lines=("Success: held", "advice")),
        replace(QUARTER, origin=replace(origin(2), settings={"score.seed": "3"})),
        replace(ELSEWHERE, name=LONG, latency={**HALF.latency, "milliseconds": times}),
    ]
    path = folder / "comparison.html"
    steps = [f"eyas predict workspaces/{LONG}/artifacts/export/bundle/golden/0.png --version 2"]
    path.write_text(comparison_page(compare_networks(networks, counted, "2026-11-27"), folder, steps))
    return path


@pytest.mark.parametrize("width", [1400, 400, 360])
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_is_cut_and_nothing_is_asked_for(browser: Browser, page: Path, width: int, dark: bool) -> None:
    browser.requests.clear()
    browser.open(page, width=width, dark=dark)
    assert browser.evaluate("document.querySelectorAll('.compared tbody tr').length") == 5
    assert browser.evaluate("document.querySelectorAll('.plot').length") == 2
    assert browser.evaluate("document.querySelectorAll('.fields tbody tr').length") == 3
    assert browser.evaluate(CUT) == []
    assert browser.evaluate(
        "[...document.querySelectorAll('.scroll')].every(one => one.scrollWidth <= one.clientWidth)"
    )
    assert browser.complaints == []
    assert [url for url in browser.requests if not url.startswith("data:")] == [page.as_uri()]


def test_links_can_be_followed_from_where_the_page_lies(browser: Browser, page: Path) -> None:
    report = page.parent / "there is a+report=1.html"
    report.write_text("<title>the report</title>")
    network = replace(HALF, origin=replace(origin(1), report=report))
    page.write_text(comparison_page(compare_networks([network, QUARTER], counted), page.parent))
    browser.open(page)
    address = browser.evaluate("document.querySelector('.compared a').href")
    assert address == report.as_uri()


def test_a_printed_page_is_as_wide_as_the_paper(browser: Browser, page: Path) -> None:
    browser.open(page, width=690)
    browser.call("Emulation.setEmulatedMedia", media="print")
    assert browser.evaluate("document.documentElement.scrollWidth") <= 690


TOUCHED = """
[...document.querySelectorAll(".plot > svg")].flatMap(plot =>
  [...plot.querySelectorAll(".mark-label")].filter(label => {
    const box = label.getBoundingClientRect();
    const line = plot.querySelector("polyline");
    const on = (left, top, right, bottom) =>
      left < box.right && right > box.left && top < box.bottom && bottom > box.top;
    const bars = [...plot.querySelectorAll("line.bar")].map(one => one.getBoundingClientRect());
    const steps = [...Array(100).keys()].map(step => line.getPointAtLength(line.getTotalLength() * step / 99));
    const inner = line.ownerSVGElement.getBoundingClientRect();
    const way = steps.map(at => [inner.left + at.x * inner.width / 100, inner.top + at.y * inner.height / 100]);
    return bars.some(bar => on(bar.left, bar.top, bar.right, bar.bottom))
      || way.some(([x, y]) => on(x, y, x, y));
  }).map(label => label.textContent))
"""
"""Labels that lie on a bar or on the line between points."""


@pytest.mark.parametrize("width", [1400, 400, 360])
def test_labels_lie_on_no_bar_and_no_line(browser: Browser, tmp_path: Path, width: int) -> None:
    spread = {"median": 0.0301, "q25": 0.026, "q75": 0.0318}
    times = {"dense": {"median": 0.0354}, "model": spread}
    near = replace(QUARTER, latency={**QUARTER.latency, "milliseconds": times})
    path = tmp_path / "comparison.html"
    path.write_text(comparison_page(compare_networks([HALF, near], counted)))
    browser.open(path, width=width)
    assert browser.evaluate("document.querySelectorAll('.mark-label').length") >= 5
    assert browser.evaluate("document.querySelectorAll('line.bar').length") >= 5
    assert browser.evaluate(TOUCHED) == []


def test_each_command_stands_alone_and_what_is_said_of_it_below(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "comparison.html"
    steps = ["eyas promote --version 1   (its gate allows it)", "eyas status"]
    path.write_text(comparison_page(compare_networks([HALF, QUARTER], counted), steps=steps))
    browser.open(path)
    shown = browser.evaluate("[...document.querySelectorAll('.conclusion pre')].map(one => one.innerText.trim())")
    assert shown == ["eyas promote --version 1", "eyas status"]
    assert browser.evaluate("document.querySelector('pre + .note').innerText") == "Its gate allows it."
