"""The rule keeps what helps, takes back what harms, and says why; it refuses what it cannot judge."""

import copy

import pytest
import torch
from torch import Tensor, nn

import eyas
from eyas.adaptation.revert_rule import RevertVerdict, judge
from eyas.adaptation.rule_limits import RevertRule
from eyas.errors import DataError


def adapted_to(network: nn.Module, images: Tensor) -> nn.Module:
    copied = copy.deepcopy(network)
    eyas.recalibrate(copied, images)
    return copied


def reddened(images: Tensor) -> Tensor:
    """One channel flat and bright: the source answers three of four rightly, and unsurely."""
    return images * torch.tensor([0.2, 1, 1]).view(3, 1, 1) + torch.tensor([3.0, 0, 0]).view(3, 1, 1)


def accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    with torch.inference_mode():
        return float((network(images).argmax(1) == labels).float().mean())


def failed(verdict: RevertVerdict) -> set[str]:
    return {reason.name for reason in verdict.reasons if not reason.holds}


def test_what_undoes_a_shift_is_kept_and_reverted_when_the_shift_is_gone(spots: nn.Module, draw) -> None:
    (images, labels), (clean, clean_labels) = draw(256, 60), draw(256, 61)
    adapted = adapted_to(spots, reddened(images))
    assert accuracy(adapted, reddened(images), labels) > accuracy(spots, reddened(images), labels) + 0.1
    kept = judge(spots, adapted, reddened(images), canary=(clean, clean_labels))
    assert kept.keep, kept.lines()
    assert kept.sentence.startswith("the adapted network is kept: it holds every limit")
    back = judge(spots, adapted, clean)
    assert not back.keep
    assert "statistics" in failed(back)
    assert back.sentence.startswith("the adapted network is not kept: ")


FEW = [(0,), (1,), (2,), (3,), (0, 1), (2, 3), (0, 1, 2)]


@pytest.mark.parametrize("classes", FEW)
def test_a_standing_adaptation_stays_while_images_of_few_classes_have_the_shift(
    spots: nn.Module, draw, classes: tuple[int, ...]
) -> None:
    adapted, canary = adapted_to(spots, reddened(draw(256, 60)[0])), draw(256, 61)
    images, labels = draw(256, 77, classes=classes)
    assert accuracy(adapted, reddened(images), labels) > accuracy(spots, reddened(images), labels) - 0.05
    assert "classes" in failed(judge(spots, adapted, reddened(images), canary))
    verdict = judge(spots, adapted, reddened(images), canary, standing=True)
    assert verdict.keep, verdict.lines()
    assert [reason.name for reason in verdict.reasons] == ["statistics", "canary"]


@pytest.mark.parametrize("classes", [*FEW, (0, 1, 2, 3)])
def test_a_standing_adaptation_is_taken_back_by_clean_images_of_any_classes(
    spots: nn.Module, draw, classes: tuple[int, ...]
) -> None:
    adapted = adapted_to(spots, reddened(draw(256, 60)[0]))
    verdict = judge(spots, adapted, draw(256, 78, classes=classes)[0], draw(256, 61), standing=True)
    assert failed(verdict) == {"statistics"}
    assert verdict.sentence == "the adapted network is not kept: statistics"


def test_a_standing_adaptation_is_taken_back_by_labels_and_kept_by_them(spots: nn.Module, draw) -> None:
    adapted, (images, labels) = adapted_to(spots, reddened(draw(256, 60)[0])), draw(256, 79)
    kept = judge(spots, adapted, reddened(images), labels=labels, standing=True)
    assert (kept.keep, kept.by_labels) == (True, True)
    worse = judge(adapted, spots, reddened(images), labels=labels, standing=True)
    assert (failed(worse), worse.by_labels) == ({"labels"}, True)
    none = judge(spots, adapted, images, labels=torch.full_like(labels, -1), standing=True)
    assert (failed(none), none.by_labels) == ({"statistics"}, False)


def test_a_standing_adaptation_is_taken_back_where_the_canary_loses_more_than_its_limit(spots: nn.Module, draw) -> None:
    images, canary = reddened(draw(256, 60)[0]), draw(256, 61)
    adapted = adapted_to(spots, images)
    loss = accuracy(spots, *canary) - accuracy(adapted, *canary)
    assert loss > 0.02
    verdict = judge(spots, adapted, images, canary, standing=True, rule=RevertRule(max_canary_loss=loss - 0.01))
    assert failed(verdict) == {"canary"}


def test_what_follows_one_class_is_reverted(spots: nn.Module, draw) -> None:
    images = draw(256, 62, classes=(1,))[0]
    rule = RevertRule(max_entropy_rise=0.05)
    assert failed(judge(spots, adapted_to(spots, images), images, rule=rule)) == {"one class"}


def test_sure_answers_must_stay_unless_answers_became_surer(spots: nn.Module, draw) -> None:
    images, shuffled, softer = draw(256, 70)[0], copy.deepcopy(spots), copy.deepcopy(spots)
    with torch.no_grad():
        shuffled.head.weight.copy_(0.8 * shuffled.head.weight.roll(1, 0))
        shuffled.head.bias.copy_(shuffled.head.bias.roll(1, 0))
        softer.head.weight.mul_(0.5)
    assert {"agreement", "sure answers"} <= failed(judge(spots, shuffled, images))
    assert failed(judge(spots, softer, images)) == {"entropy", "sure answers"}
    excused = judge(softer, shuffled, images)
    assert "agreement" not in failed(excused)
    assert any("excused" in line for line in excused.lines())


def test_a_source_that_was_sure_and_wrong_is_not_trusted_where_classes_are_those_of_the_canary(
    spots: nn.Module, draw
) -> None:
    sure, (images, labels), canary = copy.deepcopy(spots), draw(256, 71), draw(256, 72)
    with torch.no_grad():
        sure.head.weight.mul_(500)
        sure.head.bias.mul_(500)
    adapted = adapted_to(sure, reddened(images))
    assert accuracy(adapted, reddened(images), labels) > accuracy(sure, reddened(images), labels) + 0.1
    assert {"agreement"} <= failed(judge(sure, adapted, reddened(images)))
    verdict = judge(sure, adapted, reddened(images), canary)
    assert verdict.keep, verdict.lines()
    assert any("classes are as frequent as among clean images again" in line for line in verdict.lines())
    strict = judge(sure, adapted, reddened(images), canary, rule=RevertRule(max_class_distance=0))
    assert "agreement" in failed(strict)


def test_a_source_that_has_one_class_for_most_images_decides_nothing(spots: nn.Module, draw) -> None:
    canary, loose = draw(256, 74), RevertRule(max_entropy_rise=1)
    few = draw(256, 73, classes=(0,))[0]
    verdict = judge(spots, spots, few, canary, rule=loose)
    with torch.inference_mode():
        shares = spots(canary[0]).argmax(1).bincount() / 256
    allowed = float(shares.max() + 0.65 * (1 - shares.max()))
    assert "one class" in failed(verdict)
    told = f"(at most {allowed:.0%}: {float(shares.max()):.0%} is usual, and 65% of the way from there to all)"
    assert told in verdict.reasons[0].text
    for excess, holds in ((0.6, False), (1.0, True)):
        rule = RevertRule(max_entropy_rise=1, max_class_excess=excess)
        assert ("one class" not in failed(judge(spots, spots, few, rule=rule))) == holds


@pytest.mark.parametrize("classes", [(0, 1), (1, 2, 3)])
def test_what_follows_few_classes_is_told_by_their_shares(spots: nn.Module, draw, classes: tuple[int, ...]) -> None:
    images = reddened(draw(256, 75, classes=classes)[0])
    loose = RevertRule(max_entropy_rise=1, min_agreement=0, max_sure_entropy_rise=1, max_canary_loss=1)
    verdict = judge(spots, adapted_to(spots, images), images, draw(256, 76), rule=loose)
    assert failed(verdict) == {"classes"}
    (reason,) = (one for one in verdict.reasons if one.name == "classes")
    assert reason.text.startswith("shares of the classes are 0.")
    allowed = loose.model_copy(update={"max_class_distance": 1.0})
    assert judge(spots, adapted_to(spots, images), images, draw(256, 76), rule=allowed).keep


def test_a_class_that_eats_the_others_is_told(spots: nn.Module, draw) -> None:
    collapsed = copy.deepcopy(spots)
    with torch.no_grad():
        collapsed.head.bias[2] += 100
    verdict = judge(spots, collapsed, draw(128, 63)[0])
    assert "collapse" in failed(verdict)
    assert any("the largest class has" in line for line in verdict.lines())


def test_the_canary_must_not_lose_more_than_its_limit(spots: nn.Module, draw) -> None:
    images, canary = draw(256, 64)[0], draw(256, 65)
    adapted = adapted_to(spots, reddened(images))
    loss = accuracy(spots, *canary) - accuracy(adapted, *canary)
    for limit, keep in ((loss + 0.01, True), (loss - 0.01, False)):
        verdict = judge(spots, adapted, reddened(images), canary, rule=RevertRule(max_canary_loss=limit))
        assert ("canary" not in failed(verdict)) == keep
    (reason,) = (one for one in verdict.reasons if one.name == "canary")
    assert f"{100 * loss:.1f} points lost on 256 clean images" in reason.text
    was, now = (accuracy(network, *canary) for network in (spots, adapted))
    assert f"of which {was:.1%} were right before and {now:.1%} are after" in reason.text


def test_labels_that_are_truth_values_are_refused(spots: nn.Module, draw) -> None:
    images, labels = draw(64, 66)
    for place in ({"labels": labels > 1}, {"canary": (images, labels > 1)}):
        with pytest.raises(DataError, match=r"`labels` are torch.bool: give whole numbers"):
            judge(spots, spots, images, **place)


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
def test_networks_of_half_precision_get_images_of_theirs(spots: nn.Module, draw, precision: torch.dtype) -> None:
    images, coarse = draw(64, 66)[0], copy.deepcopy(spots).to(precision)
    adapted = eyas.adapt(coarse, reddened(images))
    told = [judge(coarse, adapted, reddened(images).to(own)) for own in (torch.float32, precision)]
    assert told[0].keep == told[1].keep == judge(spots, eyas.adapt(spots, reddened(images)), reddened(images)).keep


def test_labels_decide_where_they_are_enough(spots: nn.Module, draw) -> None:
    images, labels = draw(256, 66)
    strict = RevertRule(max_entropy_rise=0, max_sure_entropy_rise=0, min_agreement=1, max_distance_ratio=1e-9)
    adapted = adapted_to(spots, reddened(images))
    assert not judge(spots, adapted, reddened(images), rule=strict).keep
    better = judge(spots, adapted, reddened(images), labels=labels, rule=strict)
    assert better.keep
    assert better.by_labels
    assert better.sentence == "the adapted network is kept: labels show that it is better than without adaptation"
    worse = judge(adapted, spots, reddened(images), labels=labels)
    assert failed(worse) == {"labels"}
    assert worse.by_labels
    few = torch.where(torch.arange(256) < 2, labels, -1)
    undecided = judge(spots, adapted, reddened(images), labels=few)
    assert not undecided.by_labels
    assert {"labels", "entropy", "statistics"} <= {reason.name for reason in undecided.reasons}
    assert "too few to tell" in undecided.lines()[-1]


def test_no_adaptation_is_kept_and_both_networks_stay_as_they_were(spots: nn.Module, draw) -> None:
    images, state = draw(64, 67)[0], copy.deepcopy(spots.state_dict())
    verdict = judge(spots, spots, images)
    assert verdict.keep
    assert judge(spots, spots, images) == verdict
    assert all(torch.equal(value, state[name]) for name, value in spots.state_dict().items())


def test_without_batch_norm_the_answers_are_judged(draw) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    assert "statistics" not in {reason.name for reason in judge(network, network, draw(32, 68)[0]).reasons}


def test_what_cannot_be_judged_is_refused(spots: nn.Module, draw) -> None:
    images, labels = draw(32, 69)
    other, broken = copy.deepcopy(spots), copy.deepcopy(spots)
    other.head = nn.Linear(32, 7)
    broken.features[1].running_var[0] = -1
    for kwargs, told in (
        ({"adapted_model": other}, "`source_model` answers with 4 classes, `adapted_model` with 7"),
        ({"adapted_model": broken}, "features.1 has a variance of -1"),
        ({"images": images[:0]}, "`images` holds 0: give at least 8"),
        ({"images": images[:1]}, "`images` holds 1: give at least 8"),
        ({"images": images[:, :1]}, r"does not take images of shape \(1, 20, 20\)"),
        ({"labels": labels[:5]}, r"`labels` have shape \(5,\) for 32 images"),
        ({"labels": labels + 4}, "classes 0 to 3"),
        ({"canary": (images, labels[:5])}, r"`labels` have shape \(5,\) for 32 images"),
        ({"canary": (images, labels - 1)}, "classes 0 to 3"),
    ):
        with pytest.raises(DataError, match=told):
            judge(**({"source_model": spots, "adapted_model": spots, "images": images} | kwargs))
