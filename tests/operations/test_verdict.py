"""Verdicts on measured facts: each rule at its edge, and what a verdict must never do."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eyas.operations.paired_counts import PairedCounts
from eyas.operations.remarks import Remark
from eyas.operations.result_facts import ResultFacts, TrainingFacts, UniformFacts
from eyas.operations.run_times import RunTimes
from eyas.operations.verdict import Verdict, reach_verdict

LONG = TrainingFacts(epochs=20, steps=2000, steps_per_epoch=100, accuracies=(0.8, 0.9, 0.9), score_images=1000)
GOOD = ResultFacts(
    dense_accuracy=0.9,
    pruned_accuracy=0.9,
    test=PairedCounts(2000, 10, 10),
    chance=0.1,
    test_images=2000,
    finetuning=LONG,
    dense_training=LONG,
    recalibration=PairedCounts(1000, 80, 10),
    recalibrated_accuracy=0.8,
    dense_times=RunTimes(1.0, 0.95, 1.05),
    pruned_times=RunTimes(0.5, 0.45, 0.55),
)


def names(facts: ResultFacts) -> set[str]:
    return {remark.name for remark in reach_verdict(facts).remarks}


def test_a_success_is_said_as_such_with_its_interval() -> None:
    verdict = reach_verdict(GOOD)
    assert (verdict.success, verdict.accuracy, verdict.remarks) == (True, "held", ())
    low, high = GOOD.test.interval()  # type: ignore[union-attr]
    assert verdict.lines == [
        "Success: +0.00 points against the dense network, which is 0 of 2,000 test images (10 gained, 10 lost); "
        f"95 % interval −{-100 * low:.2f} to +{100 * high:.2f} points"
    ]
    assert verdict.tags()["eyas.verdict"] == "success"
    assert verdict.metrics()["verdict.success"] == 1.0


def test_a_difference_of_two_images_is_told_as_two_images() -> None:
    verdict = reach_verdict(replace(GOOD, test=PairedCounts(350, 1, 3)))
    assert verdict.accuracy == "undecided"
    assert (
        "−0.57 points against the dense network, which is 2 of 350 test images (1 gained, 3 lost)" in verdict.headline
    )
    assert verdict.lines[-1].startswith("350 test images cannot tell a loss above 1 point from none, about 1,500 would")
    assert [remark.name for remark in verdict.remarks] == ["few_test_images"]
    assert "fetch.test_fraction" in verdict.lines[-1]
    for images, possible in ((2700, False), (3100, True)):
        (remark,) = reach_verdict(replace(GOOD, test=PairedCounts(350, 1, 3), training_images=images)).remarks
        assert ("fetch.test_fraction" in remark.advice) == possible, "about 1,500 are to be set aside"
        assert (f"more than {images:,} images can spare" in remark.advice) != possible
        assert "fetch.test" in remark.advice


@pytest.mark.parametrize(
    ("facts", "named", "not_named"),
    [
        ({"test_source": "given"}, "give more of them (fetch.test)", "fetch.test_fraction"),
        ({"test_source": "included"}, "name a larger test set (fetch.test)", "fetch.test_fraction"),
        ({"test_source": "cut"}, "a larger fetch.test_fraction", "nothing"),
        ({"repeated_test_images": 200, "test_source": "cut"}, "each test image once (fetch.train)", "(fetch.test)\n"),
        ({"repeated_test_images": 200, "test_source": "given"}, "each test image once (fetch.test)", "fetch.train"),
        ({"dense_accuracy": 0.1}, "train it longer (baseline.epochs)", "the order of the classes"),
        ({"dense_accuracy": 0.1, "dense_training": None}, "(baseline.adapt_epochs)", "baseline.epochs"),
        ({"dense_accuracy": 0.1, "adapted": True}, "(baseline.adapt_epochs)", "baseline.epochs"),
        ({"uniform": UniformFacts(0.8, 0.5, 1000)}, "set score.scorer to top1, raise the images of", "score_fraction"),
        ({"uniform": UniformFacts(0.8, 0.5, 1000), "scorer": "top1"}, "raise the images of score.rungs", "to top1"),
        (
            {"uniform": UniformFacts(0.8, 0.5, 1000), "score_images": 1000},
            "judge by more images (a larger fetch.score_fraction)",
            "score.rungs",
        ),
        ({"training_images": 300, "calibration_images": 30}, "set fetch.calibration_fraction to 0.25", "nothing"),
        ({"training_images": 300, "calibration_images": 30, "refit_wanted": False}, "cannot tell", "calibration"),
    ],
)
def test_advice_names_no_field_without_effect(facts: dict[str, object], named: str, not_named: str) -> None:
    lines = reach_verdict(replace(GOOD, test=PairedCounts(350, 1, 3), **facts)).lines[1:]  # type: ignore[arg-type]
    text = "\n".join(line for line in lines if "repeat" in line or "repeated_test_images" not in facts)
    assert named in text
    assert not_named not in text


@pytest.mark.parametrize(
    ("images", "gained", "lost", "accuracy"),
    [
        (0, 0, 0, "not measured"),
        (1, 0, 0, "undecided"),
        (1, 0, 1, "undecided"),
        (1, 1, 0, "undecided"),
        (100, 0, 0, "undecided"),  # equal answers to 100 images: a loss of two points is not excluded
        (300, 0, 0, "held"),
        (2000, 0, 30, "lost"),
        (2000, 30, 0, "held"),
        (360, 0, 146, "lost"),  # 88.8 % before, 48.3 % after
        (50_000, 300, 400, "held"),  # surely worse, and by less than a point
        (50_000, 300, 900, "lost"),
        (2000, 40, 45, "undecided"),
    ],
)
def test_the_interval_decides(images: int, gained: int, lost: int, accuracy: str) -> None:
    assert reach_verdict(replace(GOOD, test=PairedCounts(images, gained, lost))).accuracy == accuracy


@pytest.mark.parametrize(
    ("counts", "images", "accuracy"),
    [
        (PairedCounts(100, 0, 0), "200", "held"),  # 1.96 of n images are less than a point from 196 on
        (PairedCounts(350, 1, 3), "1,500", "lost"),
        (PairedCounts(1000, 10, 18), "1,800", "lost"),
        (PairedCounts(1000, 12, 14), "1,600", "held"),
    ],
)
def test_an_undecided_result_says_how_many_test_images_would_decide(
    counts: PairedCounts, images: str, accuracy: str
) -> None:
    last = reach_verdict(replace(GOOD, test=counts)).lines[-1]
    assert f"cannot tell a loss above 1 point from none, about {images} would" in last
    more = int(images.replace(",", "")) / counts.images
    scaled = PairedCounts(*(round(more * number) for number in (counts.images, counts.gained, counts.lost)))
    assert reach_verdict(replace(GOOD, test=scaled)).accuracy == accuracy


COUNTS = st.tuples(st.integers(0, 99), st.integers(0, 99), st.integers(0, 5000)).map(
    lambda drawn: PairedCounts(sum(drawn), drawn[0], drawn[1])
)


@given(COUNTS)
def test_no_network_is_lost_against_one_that_is_lost_against_it(pair: PairedCounts) -> None:
    mirrored = PairedCounts(pair.images, pair.lost, pair.gained)
    verdicts = [reach_verdict(replace(GOOD, test=counts)) for counts in (pair, mirrored)]
    assert [verdict.accuracy for verdict in verdicts] != ["lost", "lost"]
    numbers, others = (verdict.metrics() for verdict in verdicts)
    if pair.images:
        assert numbers["verdict.low"] == pytest.approx(-others["verdict.high"])
        assert numbers["verdict.difference"] == pytest.approx(-others["verdict.difference"])


@given(COUNTS, st.integers(0, 20), st.integers(1, 20))
def test_fewer_images_lost_never_make_it_worse(pair: PairedCounts, shift: int, more: int) -> None:
    order = ["lost", "undecided", "held"]
    better = PairedCounts(pair.images + shift + more, pair.gained + shift, pair.lost)
    worse = PairedCounts(pair.images + shift + more, pair.gained, pair.lost + more)
    ranks = [order.index(reach_verdict(replace(GOOD, test=counts)).accuracy) for counts in (worse, better)]
    assert ranks[0] <= ranks[1]


def test_what_does_not_compare_is_not_compared() -> None:
    why = "the checkpoint may have seen the test images"
    facts = replace(GOOD, not_comparable=why, test=PairedCounts(2000, 0, 300))
    verdict = reach_verdict(facts)
    assert (verdict.accuracy, verdict.success, verdict.test) == ("not comparable", False, None)
    assert verdict.headline == f"No verdict: accuracies do not compare here: {why}"
    assert set(verdict.metrics()) == {"verdict.remarks"}  # a success of 0 would be a verdict
    assert "points" not in "\n".join(verdict.lines)
    short = replace(LONG, steps=45, steps_per_epoch=3)
    assert names(replace(facts, dense_training=short)) == set()  # "beaten by" would be a comparison
    assert names(replace(facts, pruned_times=RunTimes(2.0, 1.9, 2.1))) == {"slower"}


def training(steps: int = 2000, accuracies: tuple[float, ...] = (0.8, 0.9, 0.9), images: int = 1000) -> TrainingFacts:
    return TrainingFacts(15, steps, steps // 15, accuracies, images)


LOST = PairedCounts(360, 0, 146)


def test_three_steps_an_epoch_are_told_as_too_few() -> None:
    verdict = reach_verdict(replace(GOOD, test=LOST, finetuning=training(45)))
    assert not verdict.success
    (short, worse) = verdict.remarks
    assert short.name == "short"
    assert short.words == (
        "the pruned network was trained for 45 steps only, 3 an epoch, where 600 are a rule of thumb"
    )
    assert "raise finetune.epochs or lower finetune.recipe.batch_size" in short.advice
    assert worse.name == "worse_than_dense"


UNTRAINED = TrainingFacts(0, 0, 100)


def test_a_network_that_nobody_asked_to_train_is_not_told_that_its_training_was_short() -> None:
    verdict = reach_verdict(replace(GOOD, test=LOST, finetuning=UNTRAINED))
    assert verdict.headline.endswith("; the pruned network was not trained (finetune.epochs is 0)")
    (worse,) = verdict.remarks
    assert worse.name == "worse_than_dense"
    assert worse.advice == "loosen sample.budget, refit (finetune.recovery), or train (finetune.epochs)"
    (worse,) = reach_verdict(replace(GOOD, test=LOST, finetuning=UNTRAINED, refitted=True)).remarks
    assert worse.advice == "loosen sample.budget, or train (finetune.epochs)", "no advice that is followed already"


@given(COUNTS, st.sampled_from(["", "the checkpoint may have seen the test images"]))
def test_whatever_an_untrained_network_comes_to_nothing_speaks_of_a_training(pair: PairedCounts, why: str) -> None:
    facts = replace(GOOD, test=pair, finetuning=UNTRAINED, not_comparable=why, pruned_accuracy=0.1)
    verdict = reach_verdict(facts)
    assert "was not trained" in verdict.headline
    assert {remark.name for remark in verdict.remarks} <= {"by_chance", "worse_than_dense", "few_test_images"}
    assert not any(words in line for line in verdict.lines for words in ("train longer", "rule of thumb", "not at all"))
    assert "was not trained" not in reach_verdict(replace(facts, finetuning=LONG)).headline


def test_an_untrained_network_can_succeed() -> None:
    verdict = reach_verdict(replace(GOOD, finetuning=UNTRAINED, recalibration=PairedCounts(1000, 0, 0)))
    assert verdict.success
    assert verdict.headline.startswith("Success: ")


def test_a_short_training_that_sufficed_is_not_held_against_it() -> None:
    assert names(replace(GOOD, finetuning=training(45))) == set()
    assert names(replace(GOOD, finetuning=training(600), test=LOST)) == {"worse_than_dense"}
    assert names(replace(GOOD, finetuning=training(599), test=LOST)) == {"short", "worse_than_dense"}


@pytest.mark.parametrize(
    ("accuracies", "rising"),
    [
        ((0.5, 0.6, 0.7), True),
        ((0.5, 0.7, 0.6), False),  # the best is behind it
        ((0.899, 0.9, 0.9005), False),  # less than a standard error of 1,000 images
        ((0.9,), False),
        ((), False),
        ((1.0, 1.0), False),
        (tuple(0.5 + 0.02 * epoch for epoch in range(20)), True),  # two epochs of 20: 4 points
        ((*(0.5 + 0.02 * epoch for epoch in range(18)), 0.841, 0.842), False),
    ],
)
def test_a_training_that_still_rose_is_told(accuracies: tuple[float, ...], rising: bool) -> None:
    rises = training(accuracies=accuracies)
    assert rises.still_rising == rising
    assert names(replace(GOOD, finetuning=rises)) == ({"still_rising"} if rising else set())
    dense = reach_verdict(replace(GOOD, dense_training=rises, adapted=True)).remarks
    assert [remark.advice for remark in dense] == (["raise baseline.adapt_epochs"] if rising else [])


def test_few_score_images_show_no_rise() -> None:
    assert training(accuracies=(0.5, 0.6), images=10_000).still_rising
    assert not training(accuracies=(0.5, 0.6), images=10).still_rising
    assert not training(accuracies=(0.5, 0.6), images=0).still_rising


def test_a_training_in_vain_is_told_and_no_longer_one_advised() -> None:
    vain = replace(training(accuracies=(0.2, 0.5)), best_epoch=0)
    facts = replace(GOOD, finetuning=vain, recalibration=PairedCounts(1000, 0, 0))
    (remark,) = reach_verdict(facts).remarks
    assert remark.name == "trained_in_vain"
    assert "accuracy on the score images was 80.00 %, and at best 50.00 % after an epoch" in remark.words
    assert "finetune.recipe.learning_rate" in remark.advice
    lost = reach_verdict(replace(facts, test=PairedCounts(1000, 0, 200))).remarks
    assert lost[0].name == "trained_in_vain"
    assert not any("train longer" in remark.advice for remark in lost)


def test_worse_than_merely_recalibrated_is_told_with_both_accuracies() -> None:
    facts = replace(GOOD, recalibration=PairedCounts(1000, 10, 110))
    (remark,) = reach_verdict(facts).remarks
    assert remark.name == "worse_than_recalibrated"
    assert "accuracy on the score images was 80.00 % when it was merely recalibrated, and 70.00 % after" in remark.words
    assert "finetune.recipe.learning_rate" in remark.advice
    assert names(replace(GOOD, recalibration=PairedCounts(1000, 10, 12))) == set()  # as good as by chance
    assert names(replace(GOOD, recalibration=None)) == set()


BROKEN = replace(
    GOOD,
    test=PairedCounts(150, 2, 17),
    finetuning=replace(
        training(accuracies=(0.5, 0.38, 0.88, 0.87), images=95), start=0.8, learning_rate=0.00625, best_epoch=3
    ),
    recalibration=PairedCounts(95, 10, 2),
    recalibrated_accuracy=0.8,
    tuning=PairedCounts(150, 9, 9),
)
"""448 training images: from 80 to 38 and to 88 % on the score images, and on the test images what it was before."""


def test_a_network_that_was_broken_before_it_was_mended_is_told_with_a_rate_to_set() -> None:
    (remark,) = [one for one in reach_verdict(BROKEN).remarks if one.name == "broken_first"]
    assert "accuracy on the score images fell from 80.00 % to 38.00 % in epoch 2" in remark.words
    assert remark.advice == "set finetune.recipe.learning_rate to 0.0008 (it rose to 0.00625)"
    unknown = replace(BROKEN, finetuning=replace(BROKEN.finetuning, learning_rate=math.nan))  # type: ignore[type-var]
    (remark,) = [one for one in reach_verdict(unknown).remarks if one.name == "broken_first"]
    assert remark.advice == "lower finetune.recipe.learning_rate"


def test_a_score_that_rose_without_the_test_is_told_with_both() -> None:
    (remark,) = [one for one in reach_verdict(BROKEN).remarks if one.name == "no_gain_on_test"]
    assert "from 80.00 % to 88.42 %" in remark.words
    assert "on the test images it brought nothing sure (9 gained, 9 lost of 150 test images)" in remark.words
    assert "fetch.train" in remark.advice


def test_longer_training_is_not_advised_where_it_brought_the_test_images_nothing() -> None:
    rising = replace(LONG, accuracies=(0.80, 0.85, 0.88))
    assert rising.still_rising
    assert "still_rising" in names(replace(BROKEN, finetuning=rising, tuning=PairedCounts(150, 30, 9)))
    assert "still_rising" not in names(replace(BROKEN, finetuning=rising))


WITHOUT_GAIN = {"broken_first", "no_gain_on_test"}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, WITHOUT_GAIN),
        ({"tuning": PairedCounts(150, 30, 9)}, set()),  # the test images surely gained: a fall on the way is no fault
        ({"tuning": None}, set()),
        ({"test": PairedCounts(2000, 10, 10)}, set()),  # the accuracy held
        ({"not_comparable": "the checkpoint may have seen the test images"}, set()),
        ({"recalibration": PairedCounts(95, 4, 2)}, {"broken_first"}),  # a rise by chance
        ({"finetuning": replace(LONG, start=0.89)}, {"no_gain_on_test"}),  # less than a tenth below
        ({"finetuning": replace(LONG, start=0.92, score_images=50)}, {"no_gain_on_test"}),  # by chance
        ({"finetuning": LONG}, {"no_gain_on_test"}),  # it is not known what training began with
    ],
)
def test_training_that_brought_something_is_not_held_to_its_first_epochs(
    change: dict[str, object], told: set[str]
) -> None:
    assert names(replace(BROKEN, **change)) & WITHOUT_GAIN == told  # type: ignore[arg-type]


FEW = replace(
    GOOD,
    test=PairedCounts(150, 2, 17),
    finetuning=replace(LONG, score_images=95),
    scorer="dense_probe",
    calibration_images=57,
    training_images=600,
)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, {"few_score_images", "few_calibration_images"}),
        ({"scorer": "cross_entropy"}, {"few_calibration_images"}),
        ({"calibration_images": 64}, {"few_score_images"}),
        ({"calibration_images": 50, "training_images": 200}, {"few_score_images"}),  # a quarter: no more can be spared
        ({"finetuning": LONG}, {"few_calibration_images"}),
        ({"test": PairedCounts(2000, 10, 10)}, set()),
    ],
)
def test_a_search_on_few_images_without_success_names_what_to_set(change: dict[str, object], told: set[str]) -> None:
    remarks = [one for one in reach_verdict(replace(FEW, **change)).remarks if one.name.startswith("few_")]  # type: ignore[arg-type]
    assert {one.name for one in remarks} == told
    advice = {"few_score_images": "set score.scorer to cross_entropy"}
    advice |= {"few_calibration_images": "set fetch.calibration_fraction to 0.14"}
    assert [one.advice for one in remarks] == [advice[one.name] for one in remarks]


def test_a_dense_network_that_was_hardly_trained_makes_no_success() -> None:
    facts = replace(GOOD, test=PairedCounts(2000, 300, 10), dense_training=training(45))
    (remark,) = reach_verdict(facts).remarks
    assert "the dense network is beaten by the pruned one, and was trained for 45 steps only" in remark.words
    assert "baseline.epochs" in remark.advice
    assert names(replace(facts, dense_training=training())) == set()
    assert names(replace(facts, adapted=True)) == set()
    assert names(replace(facts, dense_training=None)) == {"beaten_checkpoint"}


@pytest.mark.parametrize(
    ("counts", "beaten"),
    [
        (PairedCounts(600, 492, 6), True),  # classes in another order: 17 % before, 98 % after
        (PairedCounts(300, 40, 13), True),  # pixels of another scale: 77.33 % before, 86.33 % after
        (PairedCounts(300, 30, 13), False),  # 5.7 points, which might be less than two
        (PairedCounts(10_000, 300, 110), False),  # surely better, and by what is not rare
        (PairedCounts(10_000, 400, 110), True),
        (PairedCounts(2000, 10, 10), False),
        (PairedCounts(2000, 0, 300), False),
        (PairedCounts(0, 0, 0), False),
    ],
)
def test_a_checkpoint_that_its_own_pruned_network_surely_beats_makes_no_success(
    counts: PairedCounts, beaten: bool
) -> None:
    facts = replace(GOOD, test=counts, dense_training=None)
    verdict = reach_verdict(facts)
    assert [remark.name for remark in verdict.remarks if remark.name == "beaten_checkpoint"] == [
        "beaten_checkpoint"
    ] * beaten
    if beaten:
        assert not verdict.success
        assert verdict.headline.startswith("Accuracy held, but see below")
        assert verdict.metrics()["verdict.success"] == 0
        assert all(name in verdict.lines[1] for name in ("fetch.mean", "order of the classes", "baseline.adapt_epochs"))
    assert "beaten_checkpoint" not in names(replace(facts, dense_training=LONG))
    assert "beaten_checkpoint" not in names(replace(facts, dense_training=LONG, adapted=True))
    assert "beaten_checkpoint" not in names(replace(facts, not_comparable="seen"))


@pytest.mark.parametrize(("share", "images"), [(0.1, 1000), (0.5, 30), (0.9, 400)])
def test_no_better_than_the_commonest_class_is_no_success(share: float, images: int) -> None:
    facts = replace(GOOD, chance=share, test_images=images, pruned_accuracy=share, dense_accuracy=share)
    assert names(facts) == {"by_chance", "dense_by_chance"}
    assert not reach_verdict(facts).success
    known = share + 3.1 * math.sqrt(share * (1 - share) / images)
    assert names(replace(facts, pruned_accuracy=known, dense_accuracy=known)) == set()


def test_uniform_widths_that_were_better_are_told_and_others_not() -> None:
    assert names(replace(GOOD, uniform=UniformFacts(0.80, 0.70, 1000))) == {"worse_than_uniform"}
    assert names(replace(GOOD, uniform=UniformFacts(0.72, 0.70, 1000))) == set()
    assert names(replace(GOOD, uniform=UniformFacts(0.70, 0.80, 1000))) == set()
    assert names(replace(GOOD, uniform=UniformFacts(math.nan, math.nan, 1000))) == set()


def test_a_winner_that_uniform_widths_beat_after_the_same_fine_tuning_is_told() -> None:
    behind = replace(GOOD, finetuned_uniform=PairedCounts(2000, 40, 90))
    (remark,) = reach_verdict(behind).remarks
    assert remark.name == "behind_uniform"
    assert "the winner answers 50 fewer of 2,000 test images right than uniform widths" in remark.text
    for counts in (PairedCounts(2000, 90, 40), PairedCounts(2000, 60, 65)):
        assert names(replace(GOOD, finetuned_uniform=counts)) == set()
    assert "behind_uniform" not in names(replace(behind, not_comparable="the checkpoint saw the test images"))


def test_a_limit_of_milliseconds_may_be_missed_by_a_tenth() -> None:
    (remark,) = reach_verdict(replace(GOOD, limit_ms=4.0, kept_ms=4.6)).remarks
    assert remark.name == "over_latency"
    assert "it takes 4.6 ms, 15 % above the limit of 4 ms" in remark.text
    assert names(replace(GOOD, limit_ms=4.0, kept_ms=4.39)) == set()
    assert names(replace(GOOD, limit_ms=4.0)) == set()


def test_slower_is_told_where_the_runs_do_not_overlap() -> None:
    slow = RunTimes(1.2, 1.15, 1.25)
    (remark,) = reach_verdict(replace(GOOD, pruned_times=slow)).remarks
    halves = "(the middle half of the runs: 1.15 to 1.25 ms against 0.95 to 1.05 ms)"
    assert f"smaller but slower: 1.2 ms against 1 ms {halves}" in remark.text
    assert "sample.round_to" in remark.advice
    assert names(replace(GOOD, pruned_times=RunTimes(1.02, 0.99, 1.06))) == set()
    assert names(replace(GOOD, pruned_times=RunTimes())) == set()
    assert names(replace(GOOD, dense_times=RunTimes())) == set()


def test_every_remark_names_a_field_and_stands_in_the_tags() -> None:
    bad = replace(
        GOOD,
        test=LOST,
        pruned_accuracy=0.1,
        finetuning=training(45, accuracies=(0.1, 0.3)),
        dense_training=training(45, accuracies=(0.1, 0.3)),
        recalibration=PairedCounts(1000, 10, 110),
        uniform=UniformFacts(0.8, 0.7, 1000),
        pruned_times=RunTimes(1.2, 1.15, 1.25),
    )
    verdict = reach_verdict(bad)
    assert verdict.headline.startswith("No success: accuracy was lost: −40.56 points")
    assert len(verdict.remarks) == len({remark.name for remark in verdict.remarks}) == 8
    sections = ("fetch.", "baseline.", "sample.", "score.", "finetune.", "export.")
    for remark in verdict.remarks:
        assert any(section in remark.advice for section in sections)
        assert remark.name in verdict.tags()["eyas.verdict.remarks"]
        assert remark.text in verdict.tags()["eyas.verdict.text"]


def test_a_held_accuracy_with_a_remark_is_no_success() -> None:
    verdict = Verdict("held", "+0.00 points", (Remark("slower", "slower", "raise sample.round_to"),))
    assert not verdict.success
    assert verdict.headline == "Accuracy held, but see below: +0.00 points"
    assert verdict.tags()["eyas.verdict"] == "held"


def test_nothing_measured_is_no_verdict_and_no_number() -> None:
    verdict = reach_verdict(ResultFacts(dense_accuracy=0.9, pruned_accuracy=0.5))
    assert (verdict.accuracy, verdict.success, verdict.remarks) == ("not measured", False, ())
    assert verdict.metrics() == {"verdict.remarks": 0.0}


def test_repeated_test_images_are_remarked_where_they_are_many() -> None:
    assert names(replace(GOOD, repeated_test_images=100)) == set()
    assert names(replace(GOOD, repeated_test_images=101)) == {"repeated_test_images"}
    verdict = reach_verdict(replace(GOOD, repeated_test_images=1600))
    assert (verdict.accuracy, verdict.success) == ("held", False)
    assert verdict.lines[-1].startswith("1,600 of the 2,000 test images repeat the pixels of another: the interval")


def agreeing(images: int, differing: int) -> ResultFacts:
    counts = PairedCounts(images, 0, differing, "as the dense network does")
    return replace(GOOD, dense_accuracy=1.0, measure="agreement", test=counts, chance=math.nan, dense_training=None)


@pytest.mark.parametrize(
    ("images", "differing", "accuracy"), [(2000, 60, "held"), (2000, 200, "lost"), (2000, 95, "undecided")]
)
def test_agreement_is_held_against_its_own_margin(images: int, differing: int, accuracy: str) -> None:
    verdict = reach_verdict(agreeing(images, differing))
    assert verdict.accuracy == accuracy
    assert f"answers {100 * (1 - differing / images):.2f} % of 2,000 test images as the dense network does" in (
        verdict.headline
    )
    assert "how often it is right is not known without labels" in verdict.headline
    assert "accuracy" not in "\n".join(verdict.lines).lower()


def test_agreement_of_all_images_is_no_more_than_all() -> None:
    assert "to 100.00 %" in reach_verdict(agreeing(500, 0)).headline
