"""Networks side by side: what is told of a difference, what is not compared, and how both look."""

import io
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from scipy.stats import binomtest

from eyas.data.comparability import Comparability
from eyas.operations.comparison.accuracy_curve import accuracy_curve, latency_curve
from eyas.operations.comparison.compared_network import ComparedNetwork, wilson_interval
from eyas.operations.comparison.comparison import Comparison, compare_networks
from eyas.operations.comparison.comparison_page import comparison_page
from eyas.operations.comparison.comparison_table import (
    comparison_table,
    markdown_comparison,
    markdown_links,
    short_names,
)
from eyas.operations.comparison.network_origin import NetworkOrigin
from eyas.operations.comparison.terminal_table import console_comparison, fold
from eyas.operations.paired_counts import PairedCounts


def network(name: str, accuracy: float, macs: float, **facts: object) -> ComparedNetwork:
    metrics = {
        "finetune.test_accuracy": accuracy, "finetune.test_images": 1000, "finetune.macs": macs,
        "finetune.params": 56_162, "export.model_bytes": 229_461, "score.winner_score": -0.0368,
        "baseline.test_accuracy": 0.95, "baseline.macs": 747_136, "baseline.params": 75_002,
        "export.dense_bytes": 304_668,
    }  # fmt: skip
    times = {"model": {"median": 0.0315}, "dense": {"median": 0.0354}}
    latency = {"cpu": "AMD", "threads": 1, "milliseconds": times}
    known = {"kind": "profile", "latency": latency, "verdict": "success", "test_set": "a" * 64, **facts}
    return ComparedNetwork(name, metrics=metrics, **known)  # type: ignore[arg-type]


HALF, QUARTER = network("macs=0.5", 0.94, 375_000), network("macs=0.25", 0.91, 189_000)
ELSEWHERE = network("other data", 0.99, 300_000, test_set="b" * 64)


def counted(first: ComparedNetwork, second: ComparedNetwork) -> PairedCounts:
    """As many images as the accuracies differ by, and ten more each way."""
    change = round(1000 * (second.accuracy - first.accuracy))
    return PairedCounts(1000, 10 + max(change, 0), 10 + max(-change, 0))


@pytest.fixture
def comparison() -> Comparison:
    return compare_networks([HALF, QUARTER, ELSEWHERE], counted)


@pytest.mark.parametrize(("right", "images"), [(0, 20), (348, 349), (8742, 10_000), (50, 50)])
def test_the_interval_of_an_accuracy_is_wilsons(right: int, images: int) -> None:
    low, high = wilson_interval(right / images, images)
    known = binomtest(right, images).proportion_ci(0.95, method="wilson")
    assert (low, high) == (pytest.approx(known.low, abs=1e-4), pytest.approx(known.high, abs=1e-4))


def test_networks_of_the_same_images_have_a_paired_difference_others_none(comparison: Comparison) -> None:
    reference, paired, other = comparison.differences
    assert reference is None
    assert paired is not None
    assert paired.against == "macs=0.5"
    assert paired.paired == PairedCounts(1000, 10, 40)
    assert other is not None
    assert other.paired is None
    assert comparison.notes == [
        "macs=0.5 and other data were tested on different images (1,000 and 1,000): their accuracies stand side by "
        "side and do not compare"
    ]


def test_each_test_set_has_a_reference_of_its_own() -> None:
    again = network("other data, smaller", 0.98, 200_000, test_set="b" * 64)
    comparison = compare_networks([HALF, ELSEWHERE, QUARTER, again], counted)
    assert [one and one.against for one in comparison.differences] == [None, "macs=0.5", "macs=0.5", "other data"]
    column = [row[2] for row in comparison_table(comparison).rows][2:]
    assert column == ["–", "not comparable", "−3.00 (−4.38 to −1.61) from macs=0.5", column[3]]
    assert column[3].endswith("from other data")
    assert [len(group) for group in comparison.groups] == [2, 2]


@pytest.mark.parametrize(
    ("second", "why"),
    [
        (network("x", 0.9, 1e5, test_set=""), "which images x had for the test is not known any more"),
        (
            network("x", 0.9, 1e5, comparability=Comparability(False, "its checkpoint has seen them")),
            "x is not held against macs=0.5: its checkpoint has seen them",
        ),
    ],
)
def test_what_does_not_compare_is_said_and_not_measured(second: ComparedNetwork, why: str) -> None:
    def never(*_: object) -> str:
        raise AssertionError

    comparison = compare_networks([HALF, second], never)
    assert comparison.notes[0].startswith(why)
    assert comparison.as_dict()["networks"][1]["difference"]["why_not"].startswith(why)


def test_a_pair_that_cannot_be_measured_says_why() -> None:
    comparison = compare_networks([HALF, QUARTER], lambda *_: "the files of macs=0.25 are gone")
    assert comparison.notes == ["macs=0.25 is not held against macs=0.5: the files of macs=0.25 are gone"]


def test_latencies_of_different_machines_are_told() -> None:
    device = network("device", 0.9, 1e5, latency={"cpu": "Arm", "threads": 4, "milliseconds": {}})
    assert "device: cpu Arm, threads 4" in compare_networks([HALF, device], counted).notes[0]


def test_numbers_that_are_not_known_are_none_in_json_and_dashes_in_the_table() -> None:
    bare = ComparedNetwork("bare", "run", {})
    comparison = compare_networks([HALF, bare], counted)
    content = json.loads(json.dumps(comparison.as_dict(), allow_nan=False))
    assert content["networks"][0]["accuracy_interval"] == pytest.approx([0.9235, 0.953], abs=1e-3)
    assert content["networks"][1]["macs"] is None
    assert set(comparison_table(comparison).rows[-1][3:]) == {"–"}
    assert accuracy_curve(compare_networks([bare], counted)) is None


def test_the_table_in_markdown(comparison: Comparison) -> None:
    lines = markdown_comparison(comparison).splitlines()
    numbers = "MACs | params | file | latency | score | verdict"
    assert lines[:2] == ["# macs=0.5, macs=0.25, other data", ""]
    table = lines.index(f"|  | test accuracy, % | points from macs=0.5 | {numbers} |")
    assert lines[table + 2].startswith(
        "| dense of macs=0.5, macs=0.25 | 95.00 (93.47 to 96.19) | – | 747 k | 75 k | 305 kB |"
    )
    assert lines[table + 5].startswith(
        "| macs=0.25 | 91.00 (89.07 to 92.62) | −3.00 (−4.38 to −1.61) | 189 k | 56.2 k |"
    )
    assert "different images" in lines[-1]


def test_the_dense_network_has_a_row_and_each_its_change_from_it() -> None:
    counts = {"finetune.test_gained": 4, "finetune.test_lost": 14}
    half = replace(HALF, metrics={**HALF.metrics, **counts})
    slower = {**QUARTER.latency, "milliseconds": {**QUARTER.latency["milliseconds"], "dense": {"median": 0.0361}}}
    comparison = compare_networks([half, replace(QUARTER, latency=slower)], counted)
    ((dense, own),) = comparison.dense
    assert (dense.accuracy, dense.macs, dense.params, dense.file_bytes) == (0.95, 747_136, 75_002, 304_668)
    assert [one.name for one in own] == ["macs=0.5", "macs=0.25"]
    table = comparison_table(comparison)
    change = table.header.index("points from dense")
    low, high = PairedCounts(1000, 4, 14).interval()
    words = f"−1.00 (−{-100 * low:.2f} to −{-100 * high:.2f})"
    assert [row[change] for row in table.rows] == ["–", words, "–"]
    assert table.rows[0] == (
        *("dense", "95.00 (93.47 to 96.19)", "–", "–"),
        *("747 k", "75 k", "305 kB", "0.0354 to 0.0361 ms", "–", "–"),
    )
    content = json.loads(json.dumps(comparison.as_dict()))
    assert content["dense"][0]["of"] == ["macs=0.5", "macs=0.25"]
    assert content["networks"][0]["change_from_dense"]["lost"] == 14
    assert content["networks"][1]["change_from_dense"] is None


def test_of_accuracies_that_do_not_compare_no_change_is_told() -> None:
    counts = {"finetune.test_gained": 4, "finetune.test_lost": 14}
    seen = Comparability(False, "its checkpoint has seen them")
    assert replace(HALF, metrics={**HALF.metrics, **counts}, comparability=seen).change is None
    assert ComparedNetwork("bare", "run", {}).dense is None


def test_each_dense_network_has_a_row_of_its_own() -> None:
    other = replace(QUARTER, metrics={**QUARTER.metrics, "baseline.test_accuracy": 0.97})
    table = comparison_table(compare_networks([HALF, other], counted))
    assert [row[0] for row in table.rows[:2]] == ["dense of macs=0.5", "dense of macs=0.25"]


def origin(number: int) -> NetworkOrigin:
    return NetworkOrigin(
        *("resnet8", "digits", "2026-11-26", f"{number}" * 32, f"eyas-digits version {number}"),
        report=Path(f"/checkout/workspaces/p+macs={number}/artifacts/report/report.html"),
        pages={page: f"http://127.0.0.1:5000/#/{page}/{number}" for page in ("report", "run", "version")},
    )


def test_the_title_names_network_data_and_date_and_links_lead_to_each_report_run_and_version() -> None:
    networks = [replace(HALF, origin=origin(1)), replace(QUARTER, origin=origin(2))]
    comparison = compare_networks(networks, counted, "2026-11-27")
    assert comparison.title == "resnet8 on digits: macs=0.5, macs=0.25"
    page = comparison_page(comparison, Path("/checkout/workspaces"))
    assert "<title>resnet8 on digits: macs=0.5, macs=0.25 (2026-11-27)</title>" in page
    assert "<h1>resnet8 on digits <span>macs=0.5, macs=0.25</span></h1>" in page
    links = re.findall(r'<a href="([^"]+)">([^<]+)</a>', page)
    assert links[:3] == [
        ("p%2Bmacs%3D1/artifacts/report/report.html", "report"),
        ("http://127.0.0.1:5000/#/run/1", "MLflow run 11111111"),
        ("http://127.0.0.1:5000/#/version/1", "eyas-digits version 1"),
    ]
    assert len(links) == 6
    assert "while <code>make ui</code> runs" in page
    kept = re.findall(r'<a href="([^"]+)">report</a>', comparison_page(comparison))
    assert kept == ["http://127.0.0.1:5000/#/report/1", "http://127.0.0.1:5000/#/report/2"], (
        "MLflow's copy has no folder"
    )
    text = markdown_comparison(comparison)
    assert text.startswith("# resnet8 on digits: macs=0.5, macs=0.25\n\nCompared on 2026-11-27.\n")
    assert "- macs=0.25: [report](http://127.0.0.1:5000/#/report/2), [MLflow run 22222222](" in markdown_links(
        comparison
    )
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(console_comparison(comparison, width=100))
    printed = console.export_text()
    assert "22222222" in printed
    assert "(eyas-digits)" in printed


def test_the_page_has_the_day_of_each_run_and_the_fields_in_which_they_differ() -> None:
    shared = {"fetch.train": "data", "sample.budget.macs": "0.5", "promote.max_drop": "0.1"}
    other = {"fetch.train": "data", "sample.budget.macs": "0.25", "score.seed": "3"}
    pairs = ((HALF, "2026-11-25", shared), (QUARTER, "2026-11-26", other), (ELSEWHERE, "", {}))
    networks = [replace(one, origin=NetworkOrigin(date=date, settings=own)) for one, date, own in pairs]
    comparison = compare_networks(networks, counted, "2026-11-27")
    assert comparison.as_dict()["fields"] == {
        "sample.budget.macs": {"macs=0.5": "0.5", "macs=0.25": "0.25"},
        "score.seed": {"macs=0.5": "not set", "macs=0.25": "3"},
    }
    page = comparison_page(comparison)
    assert re.findall(r"run of ([\d-]+)", page) == ["2026-11-25", "2026-11-26"]
    fields = page.partition("Parameters that differ")[2].partition("</section>")[0]
    assert re.findall(r"<th>([^<]*)</th>", fields) == ["", "macs=0.5", "macs=0.25", "sample.budget.macs", "score.seed"]
    assert re.findall(r"<td[^>]*>([^<]*)</td>", fields) == ["0.5", "0.25", "not set", "3"]
    assert "Parameters that differ" not in comparison_page(compare_networks(networks[:1], counted))


@pytest.mark.parametrize(
    ("verdicts", "told"),
    [
        (("success", "success"), "macs=0.25 is the smallest that succeeded"),
        (("success", "lost"), "macs=0.5 is the smallest that succeeded"),
        (("undecided", "lost"), "macs=0.5 is the most accurate; none is a success"),
    ],
)
def test_the_conclusion_names_the_one_to_go_on_with(verdicts: tuple[str, str], told: str) -> None:
    lines = (("Success: held",), ("No success: accuracy was lost", "train longer"))
    pairs = zip((HALF, QUARTER), verdicts, lines, strict=True)
    networks = [replace(one, verdict=verdict, verdict_lines=own) for one, verdict, own in pairs]
    comparison = compare_networks(networks, counted)
    assert comparison.conclusion == comparison.as_dict()["conclusion"] == told
    top = comparison_page(comparison, steps=["eyas promote --version 2"]).partition("<table")[0]
    top = re.sub("</?span>", "", top)
    typed = '<pre class="command">eyas promote --version 2</pre>'
    for words in (f"{told}.", "<p>Success: held.</p>", "<li>train longer</li>", typed):
        assert words in top
    assert compare_networks([networks[0]], counted).conclusion == ""


def test_networks_for_different_images_are_not_ranked_by_these() -> None:
    adapted = replace(QUARTER, name="version 3", adaptation="adapted from version 1", verdict="")
    comparison = compare_networks([adapted, replace(HALF, verdict="success")], counted)
    assert comparison.choice is None
    assert comparison.conclusion.startswith(
        f"they are for different images: version 3 for images of the field, {HALF.name} for images as in training; "
    )
    for words in ("most accurate", "smallest", "none is a success"):
        assert words not in comparison.conclusion
    both = compare_networks([adapted, replace(adapted, name="version 4")], counted)
    assert "version 3 and version 4 for images of the field; accuracy on these" in both.conclusion


def test_nothing_is_concluded_of_accuracies_that_do_not_compare() -> None:
    assert compare_networks([replace(HALF, verdict="lost"), replace(ELSEWHERE, verdict="")], counted).conclusion == ""


def test_several_networks_and_data_sets_are_all_in_the_title() -> None:
    other = NetworkOrigin("resnet20", "cifar10/train")
    networks = [replace(HALF, origin=origin(1)), replace(ELSEWHERE, origin=other)]
    assert compare_networks(networks, counted).about == "resnet8 and resnet20 on digits and cifar10/train"


@pytest.mark.parametrize(("networks", "head"), [(2, "macs=0.25"), (9, "verdict")])
def test_the_terminal_has_a_column_for_each_network_as_long_as_they_fit(networks: int, head: str) -> None:
    more = [network(f"macs=0.{place}", 0.9, 1e5 * place) for place in range(networks - 2)]
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(console_comparison(compare_networks([HALF, QUARTER, *more], counted), width=80))
    printed = console.export_text()
    assert head in printed.partition("─")[0]
    assert "−3.00" in printed
    assert "(−4.38 to −1.61)" in printed


NAMES = ("macs=0.5", "version 12 (version 12, macs=0.25)", "mine+sample.budget.macs=0.25+finetune.epochs=3", "x" * 70)


@pytest.mark.parametrize("width", [80, 100, 120, 200])
@pytest.mark.parametrize("count", [2, 3, 4, 6])
@pytest.mark.parametrize("long", [False, True])
def test_no_number_of_any_network_is_broken_on_a_terminal(width: int, count: int, long: bool) -> None:
    names = [NAMES[place % 4] + str(place) if long else f"macs={place}" for place in range(count)]
    paired = {"finetune.test_gained": 40, "finetune.test_lost": 140}
    networks = [
        replace(one, metrics={**one.metrics, **paired}, origin=origin(place + 1), verdict="undecided")
        for place, one in enumerate(network(name, 0.94 - 0.01 * at, 375_000 + at) for at, name in enumerate(names))
    ]
    comparison = compare_networks(networks, counted)
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(console_comparison(comparison, width))
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= width
    assert not any("…" in line for line in lines)
    printed = "\n".join(lines)
    for cell in (cell for row in comparison_table(comparison, recorded=True).rows for cell in row[1:]):
        own, _, interval = cell.partition(" (")
        assert re.search(rf"(?<!\S){re.escape(own)}(?!\S)", printed), f"{own} is broken or gone"
        assert f"({interval}" in printed or interval == "eyas-digits)" or not interval
    for head in ("MACs", "verdict", "score", "MLflow run", *([] if long else names)):
        assert re.search(rf"(?<!\S){re.escape(head)}(?!\S)", printed), f"{head} is broken or gone"


def test_a_long_name_is_folded_where_its_parts_meet() -> None:
    assert fold("mine+sample.budget.macs=0.25", 16).split("\n") == ["mine+sample.", "budget.macs=0.25"]
    assert fold("version 2, macs=0.25", 12).split("\n") == ["version 2,", "macs=0.25"]
    assert fold("x" * 20, 12).split("\n") == ["x" * 12, "x" * 8]


def test_the_curve_shows_every_network_with_its_error_bar(comparison: Comparison) -> None:
    curve = accuracy_curve(comparison)
    assert curve is not None
    cheap, dear, other, *dense = curve.marks
    assert [mark.label for mark in curve.marks[:3]] == ["1", "2", "3"], "of the dense ones the names are too long"
    assert [mark.shape for mark in (cheap, dear, other)] == ["network line0", "network line0", "network line1"]
    assert [mark.shape for mark in dense] == ["dense line0", "dense line1"]
    assert cheap.x < dear.x < dense[0].x
    assert dear.y < cheap.y, "up is better"
    assert cheap.y_bar is not None
    assert cheap.y_bar[0] < cheap.y < cheap.y_bar[1]
    span = (cheap.y - dear.y) / (0.94 - 0.91)
    assert (cheap.y_bar[1] - cheap.y_bar[0]) / span == pytest.approx(0.9262 - 0.8906, abs=1e-3)
    assert cheap.tip == "macs=0.25: 91.00 % (89.07 % to 92.62 %) at 189 k MACs"
    assert curve.legend[0] == ("network line0", f"1. {cheap.tip}")
    assert [points.count(",") for _, points in curve.curves] == [2, 1], "a line for each test set"
    places = [place for mark in curve.marks for place in (mark.x, mark.y, *(mark.y_bar or ()))]
    assert all(0 <= place <= 100 for place in places)


def test_accuracy_stands_against_latency_with_the_middle_half_of_the_runs_too() -> None:
    times = {"model": {"median": 0.02, "q25": 0.018, "q75": 0.03}, "dense": {"median": 0.04}}
    fast = replace(QUARTER, latency={**QUARTER.latency, "milliseconds": times})
    curve = latency_curve(compare_networks([HALF, fast], counted))
    assert curve is not None
    assert [mark.label for mark in curve.marks] == ["macs=0.25", "macs=0.5", "dense"]
    first, second, dense = curve.marks
    per_ms = (second.x - first.x) / (0.0315 - 0.02)
    assert first.x_bar is not None
    assert (first.x_bar[1] - first.x_bar[0]) / per_ms == pytest.approx(0.03 - 0.018, rel=1e-3)
    assert dense.x == pytest.approx(second.x + per_ms * (0.0354 - 0.0315), abs=0.01), "as timed beside the first"
    assert second.x_bar is None
    assert first.tip == "macs=0.25: 91.00 % (89.07 % to 92.62 %) at 0.02 ms (0.018 to 0.03 ms)"
    assert "latency" in comparison_page(compare_networks([HALF, fast], counted)).partition("against cost")[2]


def test_latencies_of_different_machines_or_none_make_no_curve() -> None:
    device = replace(QUARTER, latency={**QUARTER.latency, "cpu": "Arm"})
    assert latency_curve(compare_networks([HALF, device], counted)) is None
    assert latency_curve(compare_networks([replace(HALF, latency={}), replace(QUARTER, latency={})], counted)) is None


def test_short_names_stand_beside_their_points() -> None:
    curve = accuracy_curve(compare_networks([HALF, QUARTER], counted))
    assert curve is not None
    assert [mark.label for mark in curve.marks] == ["macs=0.25", "macs=0.5", "dense"]


def test_networks_in_one_place_share_a_point() -> None:
    twin = network("version 3", 0.94, 375_000)
    curve = accuracy_curve(compare_networks([HALF, twin], counted))
    assert curve is not None
    assert curve.marks[0].tip.startswith("macs=0.5, version 3: 94.00 %")


def test_the_page_loads_nothing_and_escapes_names() -> None:
    strange = network("<script>alert(1)</script>", 0.9, 1e5)
    page = comparison_page(compare_networks([HALF, strange], counted))
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<title>macs=0.5, &lt;script&gt;" in page
    assert not re.search(r"src=|url\(|@import|<a |<link (?!rel=\"icon\" href=\"data:,\")", page)
    assert "nan" not in page


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["params+sample.budget.macs=0.5", "params+sample.budget.macs=0.25"], ["macs=0.5", "macs=0.25"]),
        (["p+a.seed=1+b.macs=0.5", "p+a.seed=1+b.macs=0.25"], ["macs=0.5", "macs=0.25"]),
        (["p+a.seed=1+b.macs=0.5", "p+a.seed=2+b.macs=0.5"], ["seed=1", "seed=2"]),
        (["p+a.macs=0.5", "p+b.macs=0.5"], ["p+a.macs=0.5", "p+b.macs=0.5"]),
        (["default", "params+sample.budget.macs=0.5"], ["default", "params+macs=0.5"]),
        (["one"], ["one"]),
        ([], []),
    ],
)
def test_profiles_are_told_apart_by_what_differs(names: list[str], short: list[str]) -> None:
    assert short_names(names) == short


def test_a_mean_iou_has_no_interval_of_a_share() -> None:
    pixels = ComparedNetwork("unet", "profile", {"finetune.test_mean_iou": 0.6, "finetune.test_accuracy": 0.9})
    assert (pixels.measure, pixels.accuracy) == ("mean IoU", 0.6)
    assert math.isnan(pixels.interval[0])


def test_rows_of_a_narrow_terminal_are_compact_and_verdicts_are_words() -> None:
    counts = {"finetune.test_gained": 4, "finetune.test_lost": 14}
    slower = {**QUARTER.latency, "milliseconds": {**QUARTER.latency["milliseconds"], "dense": {"median": 0.0361}}}
    half = replace(HALF, metrics={**HALF.metrics, **counts}, verdict="held")
    other = replace(QUARTER, latency=slower, verdict="lost")
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(console_comparison(compare_networks([half, other], counted), 80))
    lines = console.export_text().splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("MACs"))
    assert not any(line.startswith("(from") for line in lines)
    assert at <= 8, "header, rule, and two lines for each of three"
    verdict = next(line for line in lines if line.startswith("verdict"))
    assert "accuracy held" in verdict
    assert "accuracy lost" in verdict
    assert "0.0354 to 0.0361 ms" in " ".join(lines)
    assert "the dense network was timed beside each" in " ".join(lines)
