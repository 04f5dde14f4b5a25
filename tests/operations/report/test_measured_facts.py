"""The verdict on files as the stages leave them, and where it is shown."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from eyas.data.comparability import Comparability
from eyas.operations.paired_counts import PairedCounts
from eyas.operations.report import (
    gist_of,
    measured_facts,
    read_results,
    result_rows,
    verdict_markdown,
    verdict_on,
    write_report,
)
from eyas.operations.report.results import Results
from eyas.operations.report.sentences import diagnosis_lines
from eyas.operations.result_facts import UniformFacts
from eyas.operations.run_times import RunTimes
from tests.support.workspace import write_workspace

INTERVAL = "95 % interval, paired"


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    return write_workspace(tmp_path / "artifacts", candidates=12)


def change(artifacts: Path, stage: str, **metrics: float | None) -> None:
    file = artifacts / stage / "metrics.json"
    content = json.loads(file.read_text()) | metrics
    file.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))


def test_facts_are_those_of_the_files(artifacts: Path) -> None:
    facts = measured_facts(read_results(artifacts))
    assert (facts.dense_accuracy, facts.pruned_accuracy) == (0.9722, 0.9667)
    assert facts.tuning == PairedCounts(360, 100, 4)
    assert facts.finetuning is not None
    assert (len(facts.finetuning.accuracies), facts.finetuning.start) == (15, 0.71)
    assert facts.finetuning.learning_rate == pytest.approx(0.1 * 14 / 15)
    assert facts.test == PairedCounts(360, 3, 5)
    assert facts.recalibration == PairedCounts(210, 60, 4)
    assert (facts.chance, facts.test_images) == (0.1, 360)
    assert (facts.finetuning.steps, facts.finetuning.steps_per_epoch) == (900, 60)  # type: ignore[union-attr]
    assert len(facts.finetuning.accuracies) == 15  # type: ignore[union-attr]
    assert facts.pruned_times == RunTimes(0.061, 0.06, 0.063)
    assert not facts.adapted


def test_a_checkpoint_that_was_taken_as_it_is_was_not_trained(artifacts: Path) -> None:
    change(artifacts, "baseline", epochs=0, steps=0)
    assert measured_facts(read_results(artifacts)).dense_training is None
    change(artifacts, "baseline", epochs=2, steps=120, checkpoint_test_accuracy=0.9)
    assert measured_facts(read_results(artifacts)).adapted


def test_a_refit_is_known_by_its_layers(artifacts: Path) -> None:
    for layers, refitted in ((12, True), (0, False), (None, False)):
        change(artifacts, "finetune", refitted_layers=layers)
        assert measured_facts(read_results(artifacts)).refitted == refitted


def test_what_an_earlier_version_did_not_measure_is_not_judged(artifacts: Path) -> None:
    change(artifacts, "finetune", test_gained=None, score_lost=None, steps=None)
    verdict = verdict_on(read_results(artifacts))
    assert (verdict.accuracy, verdict.success) == ("not measured", False)
    assert INTERVAL not in {row.name for row in result_rows(read_results(artifacts))}


def test_the_verdict_stands_in_table_and_page(artifacts: Path) -> None:
    results = read_results(artifacts)
    rows = {row.name: row for row in result_rows(results)}
    low, high = PairedCounts(360, 3, 5).interval()
    assert rows[INTERVAL].change == f"\N{MINUS SIGN}{-100 * low:.2f} to +{100 * high:.2f} points"
    change(artifacts, "finetune", steps=45, steps_per_epoch=3)
    text = write_report(artifacts, params={}).read_text()
    head = "\n\n\N{MINUS SIGN}0.56 points against the dense network, which is 2 of 360"
    assert f"{head} test images" in text
    assert "\n- the pruned network was trained for 45 steps only, 3 an epoch" in text
    assert "\n- 360 test images cannot tell" in text


def with_widths(results: Results, share: float, accuracy: float, **facts: int) -> Results:
    """Candidate 0 keeps the same share everywhere and had this accuracy; the winner had 70 %."""
    first = replace(
        min(results.candidates, key=lambda candidate: candidate.index),
        widths=tuple(round(share * group.channels) for group in results.groups),
        accuracy=accuracy,
        **{"images": results.winner.images, "rung": results.winner.rung, "rank": 5, **facts},
    )
    winner = replace(results.winner, accuracy=0.7, rank=0, index=99)
    others = [candidate for candidate in results.candidates if candidate.index not in {0, results.winner.index}]
    return replace(results, candidates=(first, winner, *others))


def test_uniform_widths_are_known_where_they_were_judged_as_the_winner_was(artifacts: Path) -> None:
    results = read_results(artifacts)
    uniform = with_widths(results, 0.5, 0.8)
    assert measured_facts(uniform).uniform == UniformFacts(0.8, 0.7, results.winner.images)
    assert "worse_than_uniform" in {remark.name for remark in verdict_on(uniform).remarks}
    assert measured_facts(with_widths(results, 0.5, 0.8, images=64)).uniform is None  # left the race early
    assert measured_facts(with_widths(results, 0.5, 0.8, rung=0)).uniform is None  # as many images, but fewer steps
    assert measured_facts(with_widths(results, 0.5, 0.8, rank=-1)).uniform is None  # is the winner
    uneven = with_widths(results, 0.5, 0.8)
    even = replace(uneven.candidates[2], widths=uneven.candidates[0].widths)
    lopsided = replace(uneven.candidates[0], widths=(16, 5, 32, 10, 64, 20))
    swapped = replace(uneven, candidates=(lopsided, uneven.candidates[1], even, *uneven.candidates[3:]))
    assert measured_facts(swapped).uniform is None  # another sampler, whose first candidate is like any


def test_one_bold_line_begins_the_page(artifacts: Path) -> None:
    change(artifacts, "finetune", test_images=36_000)
    results = read_results(artifacts)
    verdict, gist = verdict_on(results), gist_of(results, {})
    bold, measured, *remarks = verdict_markdown(verdict, gist).split("\n\n")
    assert (bold, measured) == (f"**{gist.sentence}.**", f"{verdict.comparison}.")
    assert "\n".join(remarks).splitlines() == [f"- {remark.text}" for remark in verdict.remarks]


def test_accuracies_that_do_not_compare_give_no_verdict(artifacts: Path) -> None:
    Comparability(False, "the checkpoint may have seen the test images").write(artifacts / "baseline")
    results = read_results(artifacts)
    verdict = verdict_on(results)
    assert (verdict.accuracy, verdict.success, verdict.test) == ("not comparable", False, None)
    assert INTERVAL not in {row.name for row in result_rows(results)}
    assert "the checkpoint may have seen the test images" in verdict.headline


def test_where_the_test_images_come_from_is_known(artifacts: Path) -> None:
    file = artifacts / "fetch" / "manifest.json"
    manifest = json.loads(file.read_text())
    for change, source in (
        ({}, "cut"),
        ({"test_included": True}, "included"),
        ({"source": {"train": "photos/train", "test": "photos/test"}}, "given"),
    ):
        file.write_text(json.dumps(manifest | change))
        results = read_results(artifacts)
        assert measured_facts(results).test_source == source
        few = next(remark for remark in verdict_on(results).remarks if remark.name == "few_test_images")
        assert ("more than 1,280 images can spare" in few.advice) is (source == "cut"), "a share of them cannot be it"


def test_a_refit_is_wanted_where_rungs_or_the_winner_are_refitted(artifacts: Path) -> None:
    results = read_results(artifacts)
    for steps, layers, wanted in ((0, None, True), (None, 0, True), (None, None, False)):
        change(artifacts, "finetune", refitted_layers=layers)
        rungs = {"settings": {"rungs": [{"images": 256, "steps": steps}]}}
        assert measured_facts(replace(read_results(artifacts), diagnostics=rungs)).refit_wanted is wanted
    assert measured_facts(results).refit_wanted, "of an earlier version that is not known"


def test_advice_that_was_followed_is_not_given_again(artifacts: Path) -> None:
    advice = "train uniform widths beside the winner (finetune.compare_uniform), which tells whether it beats them"
    results = replace(read_results(artifacts), diagnostics={"diagnosis": ["it is doubted", advice]})
    assert diagnosis_lines(results) == ["it is doubted", advice]
    change(artifacts, "finetune", uniform_test_gained=3, uniform_test_lost=5)
    done = diagnosis_lines(replace(read_results(artifacts), diagnostics=results.diagnostics))
    assert done[0] == "it is doubted"
    assert advice not in done
