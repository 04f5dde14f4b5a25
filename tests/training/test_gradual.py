"""Gradual pruning: one cut is plain training, several have its steps, end in the plan, and resume to the same bytes."""

import pytest
import torch

import eyas
import models
from eyas.errors import ParameterError
from eyas.pruning.nested_plans import nested_plans
from eyas.training import choose_length, train
from eyas.training.gradual import Cut, divide_epochs, train_in_cuts
from eyas.training.recipes.sgd import SGD
from tests.training.helpers import RECIPE, state_hash

EPOCHS = 5


@pytest.fixture(scope="module")
def setting():
    """A small residual network, its search space, and a plan of a quarter of every width."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = models.build("resnet8", 10, width=8, in_channels=1).eval().to(memory_format=torch.channels_last)
    space = eyas.trace(model, (torch.zeros(2, 1, 8, 8),))
    return model, space, space.plan({group.name: group.channels // 4 for group in space.groups})


class Gradual:
    """A training in cuts that counts its steps and may be killed in one of them."""

    def __init__(self, setting, digits, folder=None, recipe=RECIPE):
        (self.model, self.space, self.plan), self.digits, self.folder = setting, digits, folder
        self.recipe, self.kill_at, self.done, self.pruned = recipe, None, [], []

    def prune(self, model, space, plan):
        small = eyas.prune(model, space, plan)
        eyas.recalibrate(small, self.digits[0].images)
        self.pruned.append(small)
        return small

    def train(self, small, cut):
        folder = None if self.folder is None else self.folder / str(cut.number)
        return train(
            small, *self.digits[:2], recipe=self.recipe, epochs=EPOCHS, teacher=self.model, seed=3,
            span=cut.epochs, progress=self.progress, resume_folder=folder,
        )  # fmt: skip

    def progress(self, done, total, text=""):
        if done == self.kill_at:
            raise InterruptedError
        self.done.append((done, total))

    def __call__(self, cuts, share=0.5):
        plans = nested_plans(self.space, self.plan, cuts)
        parts = zip(plans, divide_epochs(EPOCHS, cuts, share), strict=True)
        listed = [Cut(number, *part) for number, part in enumerate(parts, start=1)]
        return train_in_cuts(self.model, self.space, listed, prune=self.prune, train=self.train)


def test_one_cut_is_pruning_once_and_training(setting, digits):
    model, space, plan = setting
    expected = eyas.prune(model, space, plan)
    eyas.recalibrate(expected, digits[0].images)
    plain = train(expected, *digits[:2], recipe=RECIPE, epochs=EPOCHS, teacher=model, seed=3)
    small, result = Gradual(setting, digits)(1)
    assert state_hash(small) == state_hash(expected)
    assert result == plain


@pytest.mark.parametrize("cuts", [2, 3, 5])
def test_several_cuts_have_the_steps_of_one_and_end_in_the_plan(setting, digits, cuts):
    model, space, plan = setting
    before, gradual = state_hash(model), Gradual(setting, digits)
    small, result = gradual(cuts)
    one = eyas.prune(model, space, plan)
    assert {name: value.shape for name, value in small.state_dict().items()} == {
        name: value.shape for name, value in one.state_dict().items()
    }
    assert state_hash(small) != state_hash(one)
    assert [record.epoch for record in result.history] == list(range(1, EPOCHS + 1))
    steps = EPOCHS * choose_length(len(digits[0]), 32).steps_per_epoch
    assert result.length.steps == steps
    assert gradual.done[-1] == (steps, steps)
    assert int(small.bn1.num_batches_tracked) <= steps
    rates = [record.learning_rate for record in result.history]
    assert rates == [RECIPE.rate(epoch - 1 + 8 / 9, EPOCHS) for epoch in range(1, EPOCHS + 1)]
    assert len(gradual.pruned) == cuts
    assert result.best_epoch >= divide_epochs(EPOCHS, cuts, 0.5)[-1][0]
    assert state_hash(model) == before


def test_every_cut_goes_on_from_what_was_trained_before(setting, digits):
    gradual = Gradual(setting, digits)
    gradual(2)
    first, last = gradual.pruned
    _, space, plan = setting
    outer = nested_plans(space, plan, 2)[0].kept["conv1"]
    inside = [outer.index(channel) for channel in plan.kept["conv1"]]
    again = Gradual(setting, digits)
    again.train = lambda small, cut: gradual.train(small, cut) if cut.number == 1 else gradual_result(small)

    def gradual_result(small):
        torch.testing.assert_close(small.conv1.weight, again.pruned[0].conv1.weight[inside], rtol=0, atol=0)
        raise InterruptedError

    with pytest.raises(InterruptedError):
        again(2)
    assert state_hash(again.pruned[0]) == state_hash(first)
    assert not torch.equal(first.conv1.weight[inside], setting[0].conv1.weight[list(plan.kept["conv1"])])
    assert last.conv1.weight.shape == again.pruned[1].conv1.weight.shape


@pytest.mark.parametrize("recipe", [RECIPE, SGD(batch_size=32, learning_rate=0.1, ema_decay=0.8)])
@pytest.mark.parametrize("killed_in", [1, 2, 4])
def test_killed_and_resumed_ends_with_the_same_bytes(setting, digits, tmp_path, killed_in, recipe):
    unbroken, expected = Gradual(setting, digits, recipe=recipe)(3)
    killed = Gradual(setting, digits, tmp_path, recipe)
    killed.kill_at = 8 * killed_in  # in this epoch's report, before its checkpoint
    with pytest.raises(InterruptedError):
        killed(3)
    resumed, result = Gradual(setting, digits, tmp_path, recipe)(3)
    assert state_hash(resumed) == state_hash(unbroken)
    assert result.history == expected.history
    assert (result.best_epoch, result.best) == (expected.best_epoch, expected.best)
    assert result.resumed_from == killed_in - 1


@pytest.mark.parametrize(
    ("epochs", "cuts", "share", "lengths"),
    [
        (15, 3, 0.5, [4, 4, 7]),
        (5, 3, 0.5, [1, 1, 3]),
        (5, 1, 0.9, [5]),
        (3, 3, 0.01, [1, 1, 1]),
        (10, 2, 0.99, [9, 1]),
        (20, 5, 0.5, [2, 3, 3, 2, 10]),
    ],
)
def test_epochs_are_divided(epochs, cuts, share, lengths):
    spans = divide_epochs(epochs, cuts, share)
    assert sorted(map(len, spans[:-1])) == sorted(lengths[:-1])
    assert len(spans[-1]) == lengths[-1]
    assert [epoch for span in spans for epoch in span] == list(range(1, epochs + 1))


def test_fewer_epochs_than_cuts_are_refused():
    with pytest.raises(ParameterError, match="`epochs` is 2, too few for 3 cuts"):
        divide_epochs(2, 3, 0.5)
