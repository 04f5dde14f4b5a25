"""The HTML report as a person opens it."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from eyas.operations.report import read_results, write_report
from eyas.operations.report.html_page import render_html
from tests.support.headless_browser import Browser, headless_browser
from tests.support.workspace import WIDTHS, write_workspace

NETWORKS = ("dense", "pruned")
CUT = """
[...document.querySelectorAll("th, td, pre, h1, h2, h3, .tile *, .legend li, .plot:not(.many), .plot:not(.many) text")]
  .filter(one => one.getClientRects().length)
  .filter(one => {
    const box = one.getBoundingClientRect(), page = document.documentElement.clientWidth;
    return box.left < 0 || box.right > page + 0.5 || (one.matches("td, th") && one.scrollWidth > one.clientWidth + 1);
  })
  .map(one => one.outerHTML.slice(0, 200))
"""
"""What reaches beyond the page, or out of its cell."""
BROKEN = r"""
[...document.querySelectorAll("h1, h2, h3, th, td, .tile *, .lead, .note, .advice, p, li")].flatMap(one =>
  [...one.childNodes].filter(node => node.nodeType === Node.TEXT_NODE).flatMap(node =>
    [...node.data.matchAll(/\d[ \u00a0](%|ms|x|kB|MB|[kM]|points|MACs)(?![\w])/g)].filter(match => {
      const range = document.createRange();
      range.setStart(node, match.index);
      range.setEnd(node, match.index + match[0].length);
      return new Set([...range.getClientRects()].map(box => Math.round(box.top))).size > 1;
    }).map(match => node.data)))
"""
"""What ends a line between a number and its unit."""
EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    artifacts = write_workspace(tmp_path_factory.mktemp("report") / "artifacts", candidates=40)
    manifest = artifacts / "fetch/manifest.json"
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(content | {"classes": [EVIL, *content["classes"][1:]], "source": {"train": EVIL}}))
    return write_report(artifacts, params={}).with_suffix(".html")


@pytest.fixture(scope="module", params=[10, 30], ids=["matrix", "pairs"])
def wide_page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with whatever is wide: long names, uniform widths, files of other formats, a choice among them."""
    artifacts = write_workspace(tmp_path_factory.mktemp("wide") / "artifacts", candidates=40)
    num_classes, random = request.param, np.random.default_rng(0)
    names = [f"{number}_staffordshire_bullterrier_of_old" for number in range(num_classes)]
    labels = np.arange(360) % num_classes
    guesses = {name: np.where(random.random(360) < 0.2, (labels + 1) % num_classes, labels) for name in NETWORKS}
    pq.write_table(pa.table({"label": labels, **guesses}), artifacts / "finetune/answers.parquet")
    fact = {"accuracy": 0.97, "agreement": 0.99, "max_difference": 4.8e-6, "bytes": 161_000, "images": 360}
    files = dict.fromkeys(("dense", "model", "onnx_int8", "executorch_int8 (float16)"), fact)
    for file, content in (
        ("fetch/manifest.json", {"classes": names}),
        ("score/diagnostics.json", {"uniform": {"candidate": 7, "score": -0.5, "rank": 3}}),
        ("export/files.json", files),
    ):
        path = artifacts / file
        path.write_text(json.dumps((json.loads(path.read_text()) if path.exists() else {}) | content))
    return write_report(artifacts, params={}, reproduce=["git checkout " + "0" * 40]).with_suffix(".html")


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


@pytest.mark.parametrize("width", [1400, 400, 360])
def test_nothing_is_cut(browser: Browser, wide_page: Path, width: int) -> None:
    browser.open(wide_page, width=width)
    assert (
        browser.evaluate("document.querySelectorAll('.result tbody tr, .changes tbody tr, .cards tbody tr').length")
        > 20
    )
    assert browser.evaluate(CUT) == []
    boxes = (
        "[...document.querySelectorAll('.scroll:not(:has(.many))')].filter(box => box.scrollWidth > box.clientWidth)"
    )
    assert browser.evaluate(f"{boxes}.map(box => box.closest('section').id)") == []


def test_a_narrow_screen_names_the_cells_whose_heads_it_hides(browser: Browser, wide_page: Path) -> None:
    browser.open(wide_page, width=400)
    assert browser.evaluate("getComputedStyle(document.querySelector('#files thead')).display") == "none"
    heads = browser.evaluate("[...document.querySelectorAll('#files thead th')].map(one => one.textContent)")
    cells = "[...document.querySelectorAll('#files tbody tr:first-child td')]"
    shown = browser.evaluate(f"{cells}.map(one => getComputedStyle(one, '::before').content)")
    assert shown == [f'"{head}"' for head in heads[1:]]


@pytest.mark.parametrize("dark", [False, True])
def test_what_scrolls_shows_that_it_does(browser: Browser, page: Path, dark: bool) -> None:
    shades = {}
    for width in ("100%", "200%"):
        browser.open(page, width=400, dark=dark)
        box = f"<div class='scroll'><div style='height: 80px; width: {width}'></div></div>"
        browser.evaluate(f"document.body.innerHTML = {json.dumps(box)}")
        with Image.open(io.BytesIO(browser.picture())) as picture:
            shades[width] = [picture.convert("RGB").getpixel((x, 40)) for x in (2, 200, picture.width - 3)]
    assert len(set(shades["100%"])) == 1
    left, middle, right = shades["200%"]
    assert left == middle != right


def test_a_printed_page_is_as_wide_as_the_paper(browser: Browser, wide_page: Path) -> None:
    browser.open(wide_page, width=690)
    browser.call("Emulation.setEmulatedMedia", media="print")
    assert browser.evaluate("document.documentElement.scrollWidth") <= 690


@pytest.mark.parametrize("width", [1400, 400, 360])
def test_no_line_ends_between_a_number_and_its_unit(
    browser: Browser, wide_page: Path, tmp_path: Path, width: int
) -> None:
    browser.open(wide_page, width=width)
    assert browser.evaluate(BROKEN) == []
    named = write_workspace(tmp_path / "artifacts", candidates=12)
    manifest = named / "fetch/manifest.json"
    for length in range(8, 40, 4):  # somewhere the line of the title ends before the unit
        source = {"train": f"photos/{'x' * length}"}
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"source": source}))
        page = tmp_path / "page.html"
        params = {"sample": {"budget": {"macs": 0.5}}}
        page.write_text(render_html(read_results(named), named, params=params, reproduce=()))
        browser.open(page, width=width)
        assert "50\N{NO-BREAK SPACE}% MACs" in browser.evaluate("document.querySelector('h1').textContent")
        assert browser.evaluate(BROKEN) == []


WORDS_CUT = """
[...document.querySelectorAll("pre.command span")].filter(one => one.textContent.length < 24
  && new Set([...one.getClientRects()].map(box => box.top)).size + (one.offsetHeight > 30) > 1)
  .map(one => one.textContent)
"""
"""Words of commands in more than one line."""


@pytest.mark.parametrize("width", [1400, 400])
def test_a_command_wraps_between_its_words_and_is_copied_whole(browser: Browser, tmp_path: Path, width: int) -> None:
    artifacts = write_workspace(tmp_path / "artifacts", candidates=12)
    settings = " ".join(f"--set finetune.field_{number}={number}" for number in range(9))
    page = write_report(artifacts, params={}, reproduce=["make setup", "# note", f"eyas run {settings}"])
    assert "\n- note\n" in page.read_text()
    browser.open(page.with_suffix(".html"), width=width)
    assert browser.evaluate("document.querySelectorAll('pre.command span').length") > 18
    assert browser.evaluate("(b => b.scrollWidth <= b.clientWidth)(document.querySelector('pre.command'))")
    assert browser.evaluate(WORDS_CUT) == []
    browser.evaluate("getSelection().selectAllChildren(document.querySelector('pre.command'))")
    copied = browser.evaluate("getSelection().toString()").replace("\\\n", " ")
    assert copied.split() == ["make", "setup", "eyas", "run", *settings.split()]


def test_numbers_of_the_race_are_folded_away_and_printed(browser: Browser, wide_page: Path) -> None:
    browser.open(wide_page)
    folded = "document.querySelector('#diagnostics details').open"
    assert browser.evaluate(folded) is False
    browser.call("Page.printToPDF")
    assert browser.evaluate(folded) is True


@pytest.mark.parametrize("width", [1400, 400])
def test_bars_of_what_is_kept_have_names(browser: Browser, page: Path, width: int) -> None:
    browser.open(page, width=width)
    names = browser.evaluate("[...document.querySelectorAll('.bars g text:first-of-type')].map(one => one.textContent)")
    assert len(names) == len(WIDTHS)
    assert all(full.endswith(name.removeprefix("…")) for name, full in zip(names, WIDTHS, strict=True))
