import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from eyas.data.comparability import Comparability
from eyas.operations.report import console_table, markdown_table, read_results, remark, result_rows, write_report
from eyas.operations.report.diagnostic_words import diagnostic_values
from eyas.operations.report.latency_words import BUSY, WITHIN_NOISE, latency_doubts, latency_note
from eyas.operations.report.measured_facts import verdict_on
from eyas.operations.report.page_title import data_name, page_title
from eyas.operations.report.pictures import draw_all, score_against_macs, score_label
from eyas.operations.report.result_table import count
from eyas.operations.report.sentences import rungs_line, score_lines, search_lines
from tests.support.workspace import WIDTHS, write_workspace

PARAMS = {"score": {"scorer": {"kind": "cross_entropy"}}, "sample": {"budget": {"macs": 0.5}}}


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    return write_workspace(tmp_path / "artifacts")


def test_table_holds_what_the_stages_wrote(artifacts: Path) -> None:
    results = read_results(artifacts)
    rows = {row.name: row for row in result_rows(results)}
    accuracy = rows["test accuracy"]
    assert (accuracy.dense, accuracy.pruned, accuracy.change) == ("97.22 %", "96.67 %", "−0.55 points")
    best = max(results.candidates, key=lambda candidate: candidate.score)
    assert rows["AdaBN score of the winner"].pruned == f"−{abs(best.score):.4f}"
    assert rows["AdaBN score of the winner"].change == "rank 1 of 60"
    assert rows["MACs per image"].change == f"−{100 * (1 - best.macs / 1_240_000):.1f} %"
    assert rows["latency (batch 1, 1 thread)"].change == "1.38 x faster"


def test_what_fine_tuning_began_with_is_a_row_only_where_there_was_any(artifacts: Path) -> None:
    results = read_results(artifacts)
    (row,) = (row for row in result_rows(results) if row.name == "before fine-tuning")
    assert (row.dense, row.pruned, row.change) == ("", "70.00 %", "−27.22 points")
    untrained = results.metrics["finetune"] | {"epochs": 0}
    rows = result_rows(replace(results, metrics=results.metrics | {"finetune": untrained}))
    assert "before fine-tuning" not in [row.name for row in rows]


def test_a_pruned_network_that_is_slower_is_called_so(artifacts: Path) -> None:
    results = read_results(artifacts)
    times = {"dense": {"median": 0.5, "p95": 0.6}, "model": {"median": 0.55, "p95": 0.6}}
    rows = {
        row.name: row.change for row in result_rows(replace(results, latency=results.latency | {"milliseconds": times}))
    }
    assert rows["latency (batch 1, 1 thread)"] == "1.10 x slower"
    assert rows["its 95th percentile"] == "1.00 x faster"


def test_limits_of_a_budget_are_rows_with_the_binding_one_named(artifacts: Path) -> None:
    results = read_results(artifacts)
    sampled = {"budget_macs": 6e5, "dense_macs": 1.24e6, "budget_latency_ms": 4.0, "dense_latency_ms": 8.0}
    scored = {"winner_macs": 5e5, "winner_latency_ms": 3.98}
    limited = replace(
        results,
        metrics=results.metrics | {"sample": sampled, "score": results.metrics["score"] | scored},
        diagnostics=results.diagnostics | {"binding": "latency_ms"},
        latency_budget={"limit_ms": 4.0, "measured_ms": 4.2, "dense_ms": 8.1},
    )
    rows = {row.name: (row.dense, row.pruned, row.change) for row in result_rows(limited)}
    assert rows["limit: latency_ms"] == ("8", "3.98", "of 4, which binds")
    assert rows["limit: macs"] == ("1.24 M", "500 k", "of 600 k")
    assert rows["its time, end to end"] == ("8.1 ms", "4.2 ms", "+5.0 % of 4 ms")
    assert not any(row.name.startswith("limit") for row in result_rows(results))


@pytest.mark.parametrize(
    ("dense", "pruned", "change"),
    [(1.0, 0.8, "1.25 x faster"), (1.01, 0.8, BUSY), (0.8, 1.01, BUSY), (9.8, 0.8, BUSY)],
)
def test_a_95th_percentile_far_from_its_median_has_no_ratio(
    artifacts: Path, dense: float, pruned: float, change: str
) -> None:
    results = read_results(artifacts)
    times = {"dense": {"median": 0.5, "p95": dense}, "model": {"median": 0.5, "p95": pruned}}
    rows = result_rows(replace(results, latency=results.latency | {"milliseconds": times}))
    median, tail = (row.change for row in rows if "latency" in row.name or "percentile" in row.name)
    assert (median, tail) == ("1.00 x faster", change)


def timed(**networks: tuple[float, float, float, float]) -> dict[str, object]:
    """As ``latency.json``: of each network q25, median, q75 and p95."""
    names = ("q25", "median", "q75", "p95")
    setting = {"runs": 200, "batch": 1, "threads": 1, "runtime": "onnxruntime 1.31.1", "cpu": "a CPU", "cores": 2}
    return setting | {"milliseconds": {name: dict(zip(names, of, strict=True)) for name, of in networks.items()}}


def test_a_speed_up_within_the_noise_is_told_with_runs_and_spread_and_not_as_a_ratio(artifacts: Path) -> None:
    overlapping = timed(dense=(0.95, 1.0, 1.05, 1.2), model=(0.9, 0.94, 0.96, 1.1))
    rows = {row.name: row.change for row in result_rows(replace(read_results(artifacts), latency=overlapping))}
    assert rows["latency (batch 1, 1 thread)"] == WITHIN_NOISE
    (line,) = latency_doubts(overlapping)
    halves = "0.95 to 1.05 ms (dense) and 0.9 to 0.96 ms (pruned)"
    assert line == f"latency: 1.06 x faster is within the noise: the middle half of 200 runs took {halves}"
    assert f"{halves}, which overlap: which network is faster is within the noise." in latency_note(overlapping)
    apart = timed(dense=(0.95, 1.0, 1.05, 1.2), model=(0.9, 0.92, 0.94, 1.1))
    assert latency_doubts(apart) == []
    assert latency_note(apart).startswith("Latency: 200 runs of each in turns, in onnxruntime 1.31.1, 1 thread, batch")
    assert latency_note(apart).endswith(
        "; the middle half of the runs took 0.95 to 1.05 ms (dense) and 0.9 to 0.94 ms (pruned)."
    )


def test_a_busy_machine_is_told_with_how_far_runs_were_held_up() -> None:
    busy = timed(dense=(0.95, 1.0, 1.05, 3.1), model=(0.4, 0.5, 0.6, 0.7))
    (line,) = latency_doubts(busy)
    told = "ne in twenty of 200 runs took 3.1 medians or more: the machine was busy"
    assert line == f"latency: o{told}; eyas bench times the files again"
    apart = "and 95th percentiles do not compare; the medians do, since the middle halves do not overlap"
    assert latency_note(busy).endswith(f" O{told}, {apart}.")
    overlapping = timed(dense=(0.95, 1.0, 1.05, 3.1), model=(0.9, 0.94, 0.96, 1.1))
    assert latency_note(overlapping).endswith(f" O{told}, and a ratio of such runs tells nothing.")


@pytest.mark.parametrize("q25", [1.04, 1.06])
def test_what_the_verdict_says_of_times_its_footnote_does_not_deny(artifacts: Path, q25: float) -> None:
    """On a busy machine, with runs whose middle halves overlap and lie apart."""
    results = read_results(artifacts)
    busy = results.latency | timed(dense=(0.95, 1.0, 1.05, 3.1), model=(q25, 1.1, 1.2, 1.3))
    claims = any(remark.name == "slower" for remark in verdict_on(replace(results, latency=busy)).remarks)
    assert claims == (q25 > 1.05) == ("tells nothing" not in latency_note(busy))


def test_scores_that_are_not_finite_are_no_part_of_the_pictures(artifacts: Path, tmp_path: Path) -> None:
    results = read_results(artifacts)
    spoilt = [replace(c, score=(math.nan, -math.inf, c.score)[min(c.rank % 9, 2)]) for c in results.candidates]
    draw_all(replace(results, candidates=tuple(spoilt)), tmp_path)
    assert list(tmp_path.glob("*.png"))


@pytest.mark.parametrize("steps", [None, 10])
def test_a_score_that_a_reward_multiplies_is_called_so(artifacts: Path, steps: int | None) -> None:
    plain = read_results(artifacts)
    settings = {"scorer": {"kind": "top1"}, "rungs": [{}, {"steps": steps}]}
    (artifacts / "score/diagnostics.json").write_text(json.dumps({"settings": settings}))
    assert score_label(read_results(artifacts)) == "AdaBN score (top-1 accuracy)"
    reward = {"macs": 0, "params": 1, "activation_bytes": 0, "latency": 0.5}
    (artifacts / "score/diagnostics.json").write_text(json.dumps({"settings": settings | {"reward": reward}}))
    results = read_results(artifacts)
    assert score_label(results) == "AdaBN score (top-1 accuracy x reward)"
    assert [one.score for one in results.candidates] == [one.score for one in plain.candidates], "no bare accuracies"
    assert score_against_macs(results, score_label(results)).axes[0].get_ylabel() == score_label(results)
    assert [row.name for row in result_rows(results)][-1] == "AdaBN score of the winner, x reward"
    assert "a reward for what is saved of params (weight 1), latency (weight 0.5)" in search_lines(results, PARAMS)[-1]
    page = write_report(artifacts, params=PARAMS)
    assert "AdaBN score (top-1 accuracy x reward)" in page.with_suffix(".html").read_text()


def test_the_title_names_network_data_and_budget(artifacts: Path) -> None:
    results = read_results(artifacts)
    assert page_title(results, PARAMS) == "resnet8 on digits · 50 % MACs"
    assert page_title(results, {}) == "resnet8 on digits"
    page = write_report(artifacts, params=PARAMS)
    assert page.read_text().startswith("# resnet8 on digits · 50 % MACs: pruned against dense\n")
    assert "<title>resnet8 on digits · 50 % MACs: pruned against dense</title>" in page.with_suffix(".html").read_text()


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("builtin:digits", "digits"),
        ("s3://my-bucket/products/train", "products/train"),
        ("https://example.org/data/set.zip?token=1", "data/set.zip"),
        ("../../data/photos/train/", "photos/train"),
        ("photos", "photos"),
        ("https://me:secret@example.org/set.zip", "example.org/set.zip"),
        ("", "unnamed data"),
    ],
)
def test_data_is_called_by_where_it_came_from(address: str, name: str) -> None:
    assert data_name({"source": {"train": address}}) == name


def test_ranks_may_start_at_zero(artifacts: Path) -> None:
    results = read_results(artifacts)
    shifted = tuple(replace(candidate, rank=candidate.rank - 1) for candidate in results.candidates)
    assert result_rows(replace(results, candidates=shifted)) == result_rows(results)


def test_same_table_in_markdown_and_on_the_terminal(artifacts: Path) -> None:
    rows = result_rows(read_results(artifacts))
    console = Console(record=True, width=120, file=Path("/dev/null").open("w"))  # noqa: SIM115
    console.print(console_table(rows, "default"))
    console.file.close()
    text, page = console.export_text(), markdown_table(rows)
    for row in rows:
        for cell in (row.name, row.dense, row.pruned, row.change):
            assert cell in text
            assert cell in page
    assert {line.count("|") for line in page.splitlines()} == {5}


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (999, "999"), (1000, "1 k"), (619_340, "619 k"), (999_600, "1 M"), (4.0892e9, "4.09 G")],
)
def test_counts_have_three_digits_and_a_unit(value: float, text: str) -> None:
    assert count(value) == text


def test_page_shows_every_picture_and_says_what_was_found(artifacts: Path) -> None:
    page = write_report(artifacts, params=PARAMS, reproduce=["git checkout abc", "make run"])
    text = page.read_text()
    for name in ("scores", "distribution", "widths", "curves"):
        assert f"]({name}.png)" in text
        with Image.open(page.parent / f"{name}.png") as picture:
            assert min(picture.size) > 300
            assert len(picture.convert("RGB").getcolors(1 << 24) or []) > 10
    assert "| test | 360 |" in text
    assert "`fc`: the network's output: its classes stay" in text
    assert "git checkout abc\nmake run" in text
    assert "seen_by_checkpoint" not in text


def test_page_says_that_the_checkpoint_has_seen_the_data(artifacts: Path) -> None:
    results = read_results(artifacts)
    file = artifacts / "baseline/architecture.json"
    file.write_text(file.read_text().replace('"seen_by_checkpoint": false', '"seen_by_checkpoint": true'))
    assert not results.architecture.seen_by_checkpoint
    assert "trained by others on all of the training data" in write_report(artifacts, params=PARAMS).read_text()


def test_page_says_where_it_is_not_known_what_the_checkpoint_has_seen(artifacts: Path) -> None:
    words = "Whether the checkpoint was trained on the training data is not said"
    for baseline, said in (
        ({}, False),
        ({"checkpoint": None, "seen_by_checkpoint": None}, False),
        ({"checkpoint": "w.pt", "seen_by_checkpoint": None}, True),
        ({"checkpoint": "w.pt", "seen_by_checkpoint": False}, False),
    ):
        assert (words in write_report(artifacts, params={**PARAMS, "baseline": baseline}).read_text()) is said


def test_what_is_not_comparable_is_marked_wherever_both_networks_accuracies_stand(artifacts: Path) -> None:
    comparable = write_report(artifacts, params=PARAMS).read_text()
    assert "not comparable" not in comparable
    assert remark(read_results(artifacts)) == ""
    Comparability(False, "the checkpoint may have seen the test images").write(artifacts / "baseline")
    (artifacts / "score/diagnostics.json").write_text(
        '{"probe": {"original": 0.98, "recalibrated": 0.97, "chance": 0.1}}'
    )
    text = write_report(artifacts, params=PARAMS).read_text()
    assert "| test accuracy | 97.22 % | 96.67 % | not comparable |" in text
    why = "Accuracies of dense and pruned network are not comparable: the checkpoint may have seen the test images."
    assert remark(read_results(artifacts)) == why
    assert f"**{why}**" in text
    for row in ("| accuracy of the dense network | 98.00 % (not comparable) |", "| accuracy of a guess | 10.00 % |"):
        assert row in text
    for heading in ("## Accuracy along the way", "## Parity"):
        section = text.split(heading)[1].split("\n## ")[0]
        assert "**These accuracies are not comparable, see above.**" in section
    assert "2.20 % of the images (not comparable: see above)." in text
    assert "points" not in text
    assert "The test images are not among them" not in text


def test_the_diagnosis_stands_in_words(artifacts: Path) -> None:
    assert "## Diagnosis\n" not in write_report(artifacts, params=PARAMS).read_text()
    uniform = {"candidate": 0, "score": -0.5, "rank": 7, "lead": 0.2, "lead_error": 0.01, "lead_images": 1024}
    predicted = "the winner is predicted to beat uniform widths: it scores 0.2 more"
    content = {"uniform": uniform, "diagnosis": [predicted]}
    (artifacts / "score/diagnostics.json").write_text(json.dumps(content))
    text = write_report(artifacts, params=PARAMS).read_text()
    assert f"## Diagnosis\n\n- {predicted}\n\n## Parity" in text
    assert "| uniform widths: rank | 7 |" in text
    assert "| diagnosis" not in text
    metrics = json.loads((artifacts / "finetune/metrics.json").read_text())
    further = {"uniform_test_accuracy": 0.9, "uniform_test_gained": 30, "uniform_test_lost": 2}
    (artifacts / "finetune/metrics.json").write_text(json.dumps(metrics | further))
    text = write_report(artifacts, params=PARAMS).read_text()
    came = "after the same fine-tuning the winner beats uniform widths: it answers 28 more of 360 test images right"
    assert f"- {predicted}\n- {came} (30 gained, 2 lost; 95 % interval " in text
    assert "points), as predicted\n\n## Parity" in text
    assert "| finetune | uniform test accuracy | 90.00 % |" in text
    Comparability(False, "the checkpoint may have seen them").write(artifacts / "baseline")
    assert "as predicted (not comparable)\n" in write_report(artifacts, params=PARAMS).read_text()


def test_diagnostics_are_shown_where_there_are_any(artifacts: Path) -> None:
    assert "Diagnostics" not in write_report(artifacts, params=PARAMS).read_text()
    (artifacts / "score/diagnostics.json").write_text(
        '{"spread": 0.25, "ties": {"count": 3}, "warnings": ["all alike"]}'
    )
    text = write_report(artifacts, params=PARAMS).read_text()
    assert "| spread | 0.25 |" in text
    assert "- all alike" in text
    assert "| ties.count | 3 |" in text


def test_a_network_that_was_not_trained_has_no_curve(artifacts: Path) -> None:
    (artifacts / "baseline/history.csv").write_text("epoch,train_loss,score_accuracy,learning_rate\n")
    (artifacts / "finetune/history.csv").unlink()
    write_report(artifacts, params=PARAMS)
    assert read_results(artifacts).histories["finetune"].epoch == ()


def test_equal_files_give_equal_pictures(artifacts: Path, tmp_path: Path) -> None:
    results = read_results(artifacts)
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
        draw_all(results, folder)
    one, two = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders)
    assert one == two
    assert len(one) == 4


def test_kept_widths_are_those_of_the_winner(artifacts: Path) -> None:
    results = read_results(artifacts)
    assert {group.name: group.channels for group in results.groups} == WIDTHS
    assert tuple(group.kept for group in results.groups) == results.winner.widths


@pytest.mark.parametrize("checkpoint", [True, False])
def test_a_page_without_fine_tuning_says_so(artifacts: Path, checkpoint: bool) -> None:
    header = "epoch,train_loss,score_accuracy,learning_rate\n"
    for stage in ("finetune", "baseline") if checkpoint else ("finetune",):
        (artifacts / stage / "history.csv").write_text(header)
        path = artifacts / stage / "metrics.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"epochs": 0, "steps": 0}))
    page = write_report(artifacts, params=PARAMS, reproduce=["make run"])
    text = page.read_text()
    assert "the pruned network was not trained" in text
    assert f"*Training of {'nothing' if checkpoint else 'the dense network'}; the pruned network was not" in text
    assert "ine-tun" not in text
    assert (page.parent / "curves.png").stat().st_size > 5000


@pytest.mark.parametrize(("scorer", "one_unit"), [("cross_entropy", True), ("dense_kl", False)])
def test_rungs_of_steps_are_named_and_shown_in_one_unit(artifacts: Path, scorer: str, one_unit: bool) -> None:
    plain = read_results(artifacts)
    rungs = [{"images": 256, "keep": 0.25}, {"images": 1024, "steps": 40, "mode": "held_out"}]
    settings = {"rungs": rungs, "scorer": {"kind": scorer}}
    (artifacts / "score/diagnostics.json").write_text(json.dumps({"settings": settings, "warnings": []}))
    results = read_results(artifacts)
    assert not plain.ranked_by_accuracy
    assert results.ranked_by_accuracy == one_unit
    for before, after in zip(plain.candidates, results.candidates, strict=True):
        assert after.score == (before.accuracy if one_unit else before.score)
    assert results.judged_on(results.winner) == "1,024 images after 40 training steps"
    assert "on 1,024 images after 40 training steps" in write_report(artifacts, params=PARAMS).read_text()


def test_what_later_rungs_add_is_told_and_scores_are_judged_in_words(artifacts: Path) -> None:
    first = {"images": 128, "mode": "fused", "steps": 0, "recovery": {"kind": "least_squares"}}
    second = first | {"mode": "held_out", "calibration_images": 78}
    numbers = {"score_spread": 0.055, "paired_error": 0.0494, "margins": [1.4, 0.63], "at_chance": 0.25}
    probe = {"original": 0.8594, "recalibrated": 0.8438, "deviations": 3.2, "chance": 0.2}
    path = artifacts / "score/diagnostics.json"
    content = numbers | {"entered": [50, 8], "settings": {"rungs": [first, second]}, "probe": probe}
    path.write_text(json.dumps(content))
    results = read_results(artifacts)
    assert rungs_line(results) == (
        "Rung 1 judged 50 candidates: on 128 images, refitted, batch-norm statistics from the same images; rung 2 "
        "judged the best 8 of these again: batch-norm statistics from 78 calibration images. Scores of different rungs "
        "do not compare: the winner is the best of the last."
    )
    assert score_lines(results) == [
        "a good part of what scores differ by is chance: they spread by 0.0550, and the difference of two is known to "
        "about 0.0494",
        "others are as good as the winner: it leads the nearest by 0.6 standard errors",
        "25.00 % of the candidates answer no better than a guess before training",
        "estimating batch-norm statistics anew moved the dense network from 85.94 % to 84.38 % of the score images, "
        "more than chance, so that scores are to be doubted",
    ]
    values = dict(diagnostic_values(results))
    assert (values["probe.original"], values["at_chance"]) == ("85.94 %", "25.00 %")
    path.write_text(json.dumps(content | {"entered": [50], "settings": {"rungs": [first]}}))
    assert rungs_line(read_results(artifacts)) == ""


def test_one_minus_sign_on_both_pages(artifacts: Path) -> None:
    page = write_report(artifacts, params={})
    shown = re.sub(r"<(script|style)\b.*?</\1>|<[^>]*>", " ", page.with_suffix(".html").read_text(), flags=re.DOTALL)
    for text in (page.read_text(), shown):
        assert not re.search(r"(?<![\w.-])-\d|\de-\d", text)
