"""Networks side by side: what is told of a difference, what is not compared, and how both look."""

import io
import json
import math
import re

import pytest
from rich.console import Console
from scipy.stats import binomtest

from eyas.data.comparability import Comparability
from eyas.operations.comparison.accuracy_curve import accuracy_curve
from eyas.operations.comparison.compared_network import ComparedNetwork, wilson_interval
from eyas.operations.comparison.comparison import Comparison, compare_networks
from eyas.operations.comparison.comparison_page import comparison_page
from eyas.operations.comparison.comparison_table import (
    comparison_table,
    console_comparison,
    markdown_comparison,
    short_names,
)
from eyas.operations.paired_counts import PairedCounts


def network(name: str, accuracy: float, macs: float, **facts: object) -> ComparedNetwork:
    metrics = {
        "finetune.test_accuracy": accuracy, "finetune.test_images": 1000, "finetune.macs": macs,
        "finetune.params": 56_162, "export.model_bytes": 229_461, "score.winner_score": -0.0368,
        "baseline.test_accuracy": 0.95, "baseline.macs": 747_136,
    }  # fmt: skip
    latency = {"cpu": "AMD", "threads": 1, "milliseconds": {"model": {"median": 0.0315}}}
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
    column = [row[2] for row in comparison_table(comparison).rows]
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
    assert set(comparison_table(comparison).rows[1][3:]) == {"–"}
    assert accuracy_curve(compare_networks([bare], counted)) is None


def test_the_table_in_markdown(comparison: Comparison) -> None:
    lines = markdown_comparison(comparison).splitlines()
    numbers = "MACs | params | file | latency | score | verdict"
    assert lines[0] == f"|  | test accuracy, % | difference, points (from macs=0.5) | {numbers} |"
    assert lines[3].startswith("| macs=0.25 | 91.00 (89.07 to 92.62) | −3.00 (−4.38 to −1.61) | 189 k | 56.2 k |")
    assert "different images" in lines[-1]


@pytest.mark.parametrize(("networks", "head"), [(2, "macs=0.25"), (9, "params")])
def test_the_terminal_has_a_column_for_each_network_as_long_as_they_fit(networks: int, head: str) -> None:
    more = [network(f"macs=0.{place}", 0.9, 1e5 * place) for place in range(networks - 2)]
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(console_comparison(compare_networks([HALF, QUARTER, *more], counted), width=80))
    printed = console.export_text()
    assert head in printed.partition("─")[0]
    assert "−3.00" in printed
    assert "(−4.38 to −1.61)" in printed


def test_the_curve_shows_every_network_with_its_error_bar(comparison: Comparison) -> None:
    curve = accuracy_curve(comparison)
    assert curve is not None
    first = curve.lines[0]
    assert [point.name for point in first.points] == ["macs=0.25", "macs=0.5"], "cheapest first"
    cheap, dear = first.points
    assert cheap.x < dear.x < first.dense[0].x
    assert dear.y < cheap.y, "up is better"
    assert cheap.high < cheap.y < cheap.low
    span = (cheap.y - dear.y) / (0.94 - 0.91)
    assert (cheap.low - cheap.high) / span == pytest.approx(0.9262 - 0.8906, abs=1e-3)
    assert cheap.words == "macs=0.25: 91.00 % (89.07 % to 92.62 %) at 189 k MACs"
    assert all(curve.top <= point.high and point.low <= curve.bottom for line in curve.lines for point in line.points)


def test_networks_in_one_place_share_a_point() -> None:
    twin = network("version 3", 0.94, 375_000)
    curve = accuracy_curve(compare_networks([HALF, twin], counted))
    assert curve is not None
    assert [point.name for point in curve.lines[0].points] == ["macs=0.5, version 3"]


def test_the_page_stands_alone_and_escapes_names() -> None:
    strange = network("<script>alert(1)</script>", 0.9, 1e5)
    page = comparison_page(compare_networks([HALF, strange], counted), "compare <b>")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<title>compare &lt;b&gt;</title>" in page
    assert not re.search(r"(src|href)=|url\(|@import", page)
    assert page.count("<circle") == 2
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
