"""What is not as it should be in a result, each with what to change: pure rules on measured facts.

Epochs, and the network as it was only recalibrated, are judged on the score split. What was not measured is not judged.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from eyas.operations import beaten_checkpoint, few_images
from eyas.operations.paired_counts import about, in_points, test_images
from eyas.operations.paired_difference import PairedDifference
from eyas.operations.result_facts import ResultFacts, TrainingFacts
from eyas.training.length import MIN_STEPS

DEVIATIONS = 3.0
"""So many standard errors apart are two accuracies that were not measured image by image."""
LOWER = 8
"""How many times lower a learning rate is advised where the first epochs broke the network (docs/experiments.md)."""
REPEATED = 0.05
"""Share of test images that repeat another: with more, their interval is over 2.5 % wider than they say."""
MOST_ABOVE = 0.1
"""Share of a limit of milliseconds that a measured time may lie above it."""
MOST_TO_TEST = 0.5
"""Share of the images that may be set aside to test; the rest is to train, to calibrate and to score."""
_MORE_TEST_IMAGES = {
    "given": "give more of them (fetch.test)",
    "included": "name a larger test set (fetch.test) than the one that fetch.train brings",
    "cut": "set a larger fetch.test_fraction, or name a test set (fetch.test)",
}
_TEST_PLACE = {"given": "fetch.test", "included": "fetch.train", "cut": "fetch.train"}
"""The field whose images the test images are."""
_TRAIN_MORE = "loosen sample.budget, or train longer (finetune.epochs)"
_LOWER_RATE = "lower finetune.recipe.learning_rate and raise finetune.epochs, or set finetune.epochs to 0"
_LESS_RATE = "loosen sample.budget, or train at a lower rate (finetune.recipe.learning_rate)"
_TRAIN = "loosen sample.budget, or train (finetune.epochs)"
_TRAIN_AT_ALL = "loosen sample.budget, refit (finetune.recovery), or train (finetune.epochs)"


@dataclass(frozen=True)
class Remark:
    """One thing that is not as it should be."""

    name: str
    words: str
    advice: str
    """Which field to change, and which way."""

    @property
    def text(self) -> str:
        """Both in one line."""
        return f"{self.words}: {self.advice}"


def remarks_on(facts: ResultFacts, accuracy: str, margin: float) -> Iterator[Remark]:
    """Every remark, causes first.

    Args:
        facts: what was measured.
        accuracy: how the comparison with the dense network ended: ``held``, ``lost``, ``undecided``, or another word.
        margin: a loss that counts as none.
    """
    yield from _dense(facts)
    yield from _finetuning(facts, accuracy)
    yield from _search(facts)
    yield from _few_images(facts, accuracy)
    yield from _latency(facts)
    if facts.repeated_test_images > REPEATED * facts.test_images:
        words = f"{facts.repeated_test_images:,} of the {facts.test_images:,} test images repeat the pixels of another"
        place = _TEST_PLACE[facts.test_source]
        advice = f"the interval is wider than it says: give each test image once ({place})"
        yield Remark("repeated_test_images", words, advice)
    if accuracy == "lost":
        words = (
            "the loss is more than chance" if facts.labelled else "it answers too much otherwise than the dense network"
        )
        yield Remark("worse_than_dense", words, _remedy(facts))
    if accuracy == "undecided" and facts.test is not None:
        yield _undecided(facts, facts.test, margin)


def _undecided(facts: ResultFacts, test: PairedDifference, margin: float) -> Remark:
    """What so few images cannot tell, and how many, answered alike, would: held or lost, whichever takes fewer."""
    few, advice = f"{test_images(test.images)} cannot tell", _MORE_TEST_IMAGES[facts.test_source]
    if not facts.labelled:
        words = f"{few} whether it answers {100 * (1 - margin):g} % as the dense network does"
        return Remark("few_test_images", words, advice)
    images = max(min(test.images_to_reach(-margin), test.mirrored.images_to_reach(0.0)), test.images + 1)
    if facts.test_source == "cut" and images > MOST_TO_TEST * facts.training_images > 0:
        advice = (
            f"more than {facts.training_images:,} images can spare: name a test set of your own (fetch.test), or "
            "decide which loss may be (promote.max_drop)"
        )
    words = f"{few} a loss above {in_points(margin)} from none, {about(images)} would"
    return Remark("few_test_images", words, advice)


def _dense(facts: ResultFacts) -> Iterator[Remark]:
    """A weak dense network makes every comparison with it look good."""
    if facts.chance_level(facts.dense_accuracy, DEVIATIONS):
        own = facts.dense_training is not None and not facts.adapted
        longer = "train it longer (baseline.epochs)" if own else "adapt it to this data (baseline.adapt_epochs)"
        order = "" if own else "the order of the classes, "
        advice = f"look at the labels, {order}fetch.mean and fetch.std; or {longer}"
        yield Remark("dense_by_chance", _by_chance("dense", facts.dense_accuracy, facts.chance), advice)
    training, test = facts.dense_training, None if facts.not_comparable else facts.test
    if training is None:
        if test is not None and beaten_checkpoint.is_beaten(test):
            yield Remark("beaten_checkpoint", beaten_checkpoint.WORDS, beaten_checkpoint.ADVICE)
        return
    beaten = test is not None and test.interval()[0] > 0
    if training.still_rising:
        words = f"the dense network was still improving in its last epoch ({training.epochs})"
        yield Remark("dense_still_rising", words, f"raise baseline.{'adapt_' if facts.adapted else ''}epochs")
    elif beaten and training.steps < MIN_STEPS and not facts.adapted:
        words = f"the dense network is beaten by the pruned one, and was trained {_briefly(training)}"
        yield Remark("dense_short", words, _lengthen("baseline"))


def _finetuning(facts: ResultFacts, accuracy: str) -> Iterator[Remark]:
    training, recalibration = facts.finetuning, facts.recalibration
    before = _percent(facts.recalibrated_accuracy)
    if training is not None and training.in_vain:
        yield Remark(
            "trained_in_vain",
            f"no epoch of fine-tuning made it better, so that it is as it was before: its {facts.score_measure} on the "
            f"score images was {before}, and at best {_percent(max(training.accuracies))} after an epoch",
            _LOWER_RATE,
        )
    unsure = accuracy != "held" and facts.tuning is not None and not facts.tuning.interval()[0] > 0
    without_gain = list(_without_gain(facts)) if unsure else []
    yield from without_gain
    if facts.chance_level(facts.pruned_accuracy, DEVIATIONS):
        yield Remark("by_chance", _by_chance("pruned", facts.pruned_accuracy, facts.chance), _remedy(facts))
    trained = training is not None and not facts.untrained and not training.in_vain
    if training is not None and trained and training.steps < MIN_STEPS and accuracy != "held":
        yield Remark("short", f"the pruned network was trained {_briefly(training)}", _lengthen("finetune"))
    if training is not None and training.still_rising and not without_gain:
        words = f"the pruned network was still improving in its last epoch ({training.epochs})"
        yield Remark("still_rising", words, "raise finetune.epochs")
    if recalibration is not None and recalibration.interval()[1] < 0:
        after = facts.recalibrated_accuracy + recalibration.difference
        yield Remark(
            "worse_than_recalibrated",
            f"fine-tuning made it worse: its {facts.score_measure} on the score images was "
            f"{before} when it was merely recalibrated, and {_percent(after)} after training",
            _LOWER_RATE,
        )


def _without_gain(facts: ResultFacts) -> Iterator[Remark]:
    """Training that brought nothing sure on the test images, although it was kept."""
    training, recalibration, tuning = facts.finetuning, facts.recalibration, facts.tuning
    if training is None or training.in_vain or tuning is None or facts.not_comparable:
        return
    fall = training.first_fall(DEVIATIONS)
    if fall is not None:
        rate = training.learning_rate
        way = "lower finetune.recipe.learning_rate"
        if math.isfinite(rate):
            way = f"set finetune.recipe.learning_rate to {rate / LOWER:.1g} (it rose to {rate:.3g})"
        yield Remark(
            "broken_first",
            f"fine-tuning broke the network before it mended it: its {facts.score_measure} on the score images fell "
            f"from {_percent(training.start)} to {_percent(fall[0])} in epoch {fall[1]}",
            way,
        )
    if recalibration is not None and recalibration.interval()[0] > 0:
        after = facts.recalibrated_accuracy + recalibration.difference
        yield Remark(
            "no_gain_on_test",
            f"fine-tuning raised its {facts.score_measure} on the score images from "
            f"{_percent(facts.recalibrated_accuracy)} to {_percent(after)}, and on the test images it brought nothing "
            f"sure ({tuning.words}): the best of {training.epochs} epochs was chosen by the former",
            "believe the test images; give more images to train on (fetch.train)",
        )


def _search(facts: ResultFacts) -> Iterator[Remark]:
    uniform = facts.uniform
    if uniform is not None and uniform.surely_better(DEVIATIONS):
        yield Remark(
            "worse_than_uniform",
            f"before fine-tuning, uniform widths of the same cost were right on {_percent(uniform.uniform)} of "
            f"{uniform.images:,} score images, the winner on {_percent(uniform.winner)}",
            f"{_better_scores(facts, uniform.images)}, or raise sample.sampler.floor",
        )
    trained = None if facts.not_comparable else facts.finetuned_uniform
    if trained is not None and trained.interval()[1] < 0:
        yield Remark(
            "behind_uniform",
            f"fine-tuned alike, the winner {trained.standing} than uniform widths of the same cost",
            "set sample.candidates to 1, which leaves uniform widths alone, or raise sample.sampler.floor",
        )


def _few_images(facts: ResultFacts, accuracy: str) -> Iterator[Remark]:
    """A search on few images that came to no success."""
    score = facts.finetuning.score_images if facts.finetuning else 0
    if accuracy not in {"lost", "undecided"}:
        return
    if facts.scorer == few_images.PROBE and 0 < score < few_images.SCORE_IMAGES and facts.labelled:
        words = f"{score} score images hardly tell candidates apart by {few_images.PROBE}"
        yield Remark("few_score_images", words, f"set score.scorer to {few_images.SCORER}")
    share = few_images.fraction_for_refit(facts.training_images)
    is_more = facts.calibration_images < share * facts.training_images
    if facts.refit_wanted and 0 < facts.calibration_images < few_images.REFIT_IMAGES and is_more:
        words = f"{facts.calibration_images} calibration images are few: the refit wants {few_images.REFIT_IMAGES}"
        yield Remark("few_calibration_images", words, f"set fetch.calibration_fraction to {share:g}")


def _latency(facts: ResultFacts) -> Iterator[Remark]:
    dense, pruned = facts.dense_times, facts.pruned_times
    if dense.surely_faster_than(pruned):
        yield Remark(
            "slower",
            f"smaller but slower: {pruned.median:.3g} ms against {dense.median:.3g} ms (the middle half of the runs: "
            f"{pruned.spread} against {dense.spread})",
            "set sample.round_to to widths that the runtime likes (8, 16), or measure as the device works "
            "(export.latency_batch, export.threads)",
        )

    if facts.kept_ms > (1 + MOST_ABOVE) * facts.limit_ms:
        yield Remark(
            "over_latency",
            f"measured end to end it takes {facts.kept_ms:.3g} ms, {100 * (facts.kept_ms / facts.limit_ms - 1):.0f} % "
            f"above the limit of {facts.limit_ms:.3g} ms",
            "profile this device again (eyas profile, sample.latency_profile), or lower the limit in sample.budget",
        )


def _better_scores(facts: ResultFacts, judged: int) -> str:
    """How candidates are told apart better than on ``judged`` images by the scorer that there was."""
    scorer = [] if facts.scorer == "top1" else ["set score.scorer to top1"]
    more = "raise the images of score.rungs"
    if judged >= facts.score_images > 0:
        more = "judge by more images (a larger fetch.score_fraction)"
    return ", ".join([*scorer, more])


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _by_chance(name: str, accuracy: float, chance: float) -> str:
    return (
        f"the {name} network is right on {_percent(accuracy)} of the test images, no more than chance: the commonest "
        f"class alone is {_percent(chance)} of them"
    )


def _remedy(facts: ResultFacts) -> str:
    if facts.untrained:
        return _TRAIN if facts.refitted else _TRAIN_AT_ALL
    return _LESS_RATE if facts.finetuning is not None and facts.finetuning.in_vain else _TRAIN_MORE


def _briefly(training: TrainingFacts) -> str:
    each = f"{training.steps_per_epoch} an epoch"
    return f"for {training.steps:,} steps only, {each}, where {MIN_STEPS} are a rule of thumb"


def _lengthen(section: str) -> str:
    return f"raise {section}.epochs or lower {section}.recipe.batch_size; where both are null, the images decide"
