"""What the source answers is excused where images of the classes that it names would do otherwise, and nowhere else."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

import eyas
from eyas.adaptation.drift.observation import observe
from eyas.adaptation.named_classes import entropy_rises
from eyas.adaptation.revert_rule import RevertVerdict, judge
from eyas.adaptation.rule_limits import RevertRule
from eyas.errors import DataError, ParameterError

CLASSES = 4


class Told(nn.Module):
    """Answers an image with what stands in one of its rows, times a factor."""

    def __init__(self, row: int, factor: float = 1.0) -> None:
        super().__init__()
        self.row, self.factor = row, factor

    def forward(self, batch: Tensor) -> Tensor:
        return self.factor * batch[:, 0, self.row]


def told(*answers: Tensor, sureness: float = 4.0) -> Tensor:
    """Images whose first rows are sure answers, and whose last one numbers them: no two are alike."""
    rows = [sureness * one_hot(answer, CLASSES).float() for answer in answers]
    numbers = torch.arange(len(answers[0])).float()[:, None].expand(-1, CLASSES)
    return torch.stack([*rows, *[numbers] * (4 - len(rows))], 1)[:, None]


def even(count: int) -> Tensor:
    return torch.arange(count) % CLASSES


def lost(count: int = 128) -> Tensor:
    """Seven of eight images are taken for class 0 by the source, and for each class as often by the adapted network."""
    return told(torch.where(torch.arange(count) % 8 < 7, 0, even(count)), even(count))


def clean(count: int = 400) -> tuple[Tensor, Tensor]:
    return told(even(count), even(count)), even(count)


def unsure(images: Tensor) -> nn.Module:
    return Told(1, 0.1)


def failed(verdict: RevertVerdict) -> set[str]:
    return {reason.name for reason in verdict.reasons if not reason.holds}


def test_a_source_that_names_classes_which_would_have_lost_sureness_is_excused() -> None:
    plain = judge(Told(0), Told(1), lost(), clean())
    assert failed(plain) == {"one class"}
    verdict = judge(Told(0), Told(1), lost(), clean(), follow=unsure)
    assert verdict.keep
    (text,) = (reason.text for reason in verdict.reasons if reason.name == "one class")
    assert "excused, since clean images of the classes that the source names would raise the entropy by 0." in text
    assert "(0.2 less is enough; at temperature 1.0)" in text


def test_entropy_and_sure_answers_are_excused_with_it() -> None:
    others = told((even(128) + 1) % CLASSES, even(128))
    rule = RevertRule(max_entropy_rise=0.0, excusing_entropy_fall=1)
    plain = judge(Told(0), Told(1, 0.8), others, clean(), rule=rule)
    assert failed(plain) == {"entropy", "agreement", "sure answers"}
    assert judge(Told(0), Told(1, 0.8), others, clean(), rule=rule, follow=unsure).keep


def test_the_limit_is_the_gap_between_both_rises() -> None:
    seen = [observe(model, lost(), {}) for model in (Told(0), Told(1))]
    rises = entropy_rises(Told(0), unsure, clean(), (seen[0], seen[1]), batch_size=256, output=None)
    assert rises is not None
    assert rises.seen == pytest.approx(0, abs=1e-6)
    gap = rises.expected - rises.seen
    for limit, keep in ((gap - 0.001, True), (gap + 0.001, False)):
        rule = RevertRule(excusing_rise_gap=limit)
        assert judge(Told(0), Told(1), lost(), clean(), rule=rule, follow=unsure).keep == keep


def test_clean_images_are_drawn_by_the_classes_that_the_source_names_at_the_canarys_temperature() -> None:
    images, labels = clean(600)
    wrong = torch.where(torch.arange(600) % 10 == 0, (labels + 1) % CLASSES, labels)  # every tenth
    images = told(wrong, labels, sureness=9.0)
    followed: list[Tensor] = []

    def follow(some: Tensor) -> nn.Module:
        followed.append(some[:, 0, 1].argmax(1))
        return Told(0, 0.2)

    answers = [observe(model, lost(256), {}) for model in (Told(0), Told(1))]
    rises = entropy_rises(Told(0), follow, (images, labels), (answers[0], answers[1]), batch_size=256, output=None)
    assert rises is not None
    shares = followed[0].bincount(minlength=CLASSES) / len(followed[0])
    assert len(followed[0]) == 300
    assert float(shares[0]) == pytest.approx(7 / 8, abs=0.06)
    assert rises.temperature == pytest.approx(9 / torch.tensor(0.9 / 0.1 * 3).log().item(), rel=0.01)  # in closed form
    entropies = []
    for factor in (1.0, 0.2):
        row = (factor * 9.0 / rises.temperature * torch.eye(CLASSES, dtype=torch.float64)[0]).softmax(0)
        entropies.append(float(torch.special.entr(row).sum()) / torch.tensor(CLASSES).log().item())
    assert rises.expected == pytest.approx(entropies[1] - entropies[0], abs=1e-6)


@pytest.mark.parametrize(
    ("images", "canary"),
    [(lost(120), clean()), (lost(), clean(200)), (lost(), (told(even(400), even(400)), 1 + even(400) % 3))],
    ids=["few images", "small canary", "no image of the class that the source names"],
)
def test_nothing_is_excused_where_too_little_tells(images: Tensor, canary: tuple[Tensor, Tensor]) -> None:
    if int(canary[1].min()) > 0:
        images = told(torch.zeros(128, dtype=torch.long), even(128))
    assert not judge(Told(0), Told(1), images, canary, follow=unsure).keep


def test_what_else_speaks_against_it_is_not_asked_for_an_excuse() -> None:
    def never(images: Tensor) -> nn.Module:
        raise AssertionError

    images = told(torch.zeros(128, dtype=torch.long), torch.zeros(128, dtype=torch.long))  # still of one class after
    assert {"one class", "classes"} <= failed(judge(Told(0), Told(1), images, clean(), follow=never))
    assert judge(Told(0), Told(0), clean()[0], clean(), follow=never).keep
    assert judge(Told(0), Told(1), lost(), clean(), follow=never, standing=True).keep


@pytest.mark.parametrize("classes", [(0,), (1,), (2,), (3,)])
def test_a_stream_of_one_class_is_no_lost_source(spots: nn.Module, draw, classes: tuple[int, ...]) -> None:
    def follow(some: Tensor) -> nn.Module:
        adapted = copy.deepcopy(spots)
        eyas.recalibrate(adapted, some)
        return adapted

    images, loose = draw(256, 62, classes=classes)[0], RevertRule(max_class_distance=1)
    verdict = judge(spots, follow(images), images, draw(512, 61), follow=follow, rule=loose)
    assert "one class" in failed(verdict)


@pytest.mark.parametrize(
    ("what", "error", "says"),
    [
        (None, ParameterError, "`follow` gives a NoneType: it must give another network, as eyas.adapt does"),
        ("source", ParameterError, "`follow` gives `source_model` itself: it must give another network"),
        (Told(slice(0, 1)), DataError, "`source_model` answers with 4 classes, `follow` with 1: give one network's"),
    ],
    ids=["nothing", "the source", "other classes"],
)
def test_what_follows_must_be_a_network_like_the_source(what: object, error: type[Exception], says: str) -> None:
    source = Told(0)
    with pytest.raises(error) as raised:
        judge(source, Told(1), lost(), clean(), follow=lambda images: source if what == "source" else what)
    assert str(raised.value).startswith(says)
    assert "\n" not in str(raised.value)


def test_arrays_and_lists_are_judged_as_tensors_are() -> None:
    images, labels = clean()
    arrays = images.numpy(), labels.tolist()
    known = labels[:128]
    verdict = judge(Told(0), Told(1), lost().numpy(), arrays, known.numpy(), follow=unsure)
    assert verdict == judge(Told(0), Told(1), lost(), (images, labels), known, follow=unsure)
    excused = judge(Told(0), Told(1), lost().numpy(), arrays, follow=unsure)
    assert excused.keep
    with pytest.raises(DataError, match="`labels` is a list that is no tensor"):
        judge(Told(0), Told(1), lost(), (images, ["cat"] * len(images)))


def test_the_networks_and_the_random_state_stay_and_the_verdict_comes_again(spots: nn.Module, draw) -> None:
    def follow(some: Tensor) -> nn.Module:
        followed.append(len(some))
        return eyas.adapt(spots, some, "tent")

    followed: list[int] = []
    images, clean_ones = draw(256, 62, classes=(0,))[0], draw(512, 61)
    rule, adapted = RevertRule(max_class_distance=1, max_class_growth=1), eyas.adapt(spots, images, "ada_bn")
    networks = nn.ModuleList([spots, adapted])
    before, state = copy.deepcopy(networks.state_dict()), torch.random.get_rng_state()
    first, again = (judge(spots, adapted, images, clean_ones, follow=follow, rule=rule) for _ in range(2))
    assert first == again
    assert followed == [256, 256]
    assert torch.equal(state, torch.random.get_rng_state())
    torch.testing.assert_close(networks.state_dict(), before, rtol=0, atol=0)


class Marked(nn.Module):
    """Answers images whose third row is above 0 by one factor, and all others by another, leaning to class 0."""

    def __init__(self, clean: float, field: float) -> None:
        super().__init__()
        self.factors = clean, field

    def forward(self, batch: Tensor) -> Tensor:
        factors = torch.where(batch[:, 0, 2, :1] > 0, *self.factors)
        return factors * batch[:, 0, 1] + torch.tensor([1e-3, 0.0, 0.0, 0.0])


@pytest.mark.parametrize(("gap", "keep"), [(1, True), (2, False)])
def test_a_fall_beside_an_expected_rise_is_a_gap_above_one_and_two_excuses_nothing(gap: float, keep: bool) -> None:
    field, clean_ones = lost(), clean()
    field[:, 0, 2], clean_ones[0][:, 0, 2] = 0, 1
    rule = RevertRule(excusing_rise_gap=gap)
    networks = Marked(2, 0), Marked(2, 2)
    verdict = judge(*networks, field, clean_ones, follow=lambda images: Marked(0, 2), rule=rule)
    assert failed(verdict) == (set() if keep else {"one class"})
