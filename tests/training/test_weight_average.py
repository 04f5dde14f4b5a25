"""The moving average of weights: against its recurrence, judged and kept, and resumed to the same bytes."""

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from eyas.training import EpochStore, evaluate, train
from eyas.training.recipes import Recipe
from eyas.training.recipes.sgd import SGD
from eyas.training.weight_average import WeightAverage
from tests.training.helpers import RECIPE, state_hash

AVERAGED = SGD(batch_size=32, learning_rate=0.1, ema_decay=0.7)


def copies(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.fixture
def trained(digits, tiny, tmp_path):
    """A network trained for an epoch with the average: it, the average, what it started as, its weights after steps."""
    model, after = tiny(), []
    start = copies(model)
    handle = register_optimizer_step_post_hook(lambda *_: after.append(copies(model)))
    train(model, *digits[:2], recipe=AVERAGED, epochs=1, resume_folder=tmp_path)
    handle.remove()
    return model, EpochStore(tmp_path).load("cpu")["average"]["tensors"], start, after


def test_the_average_follows_its_recurrence(trained):
    _, followed, start, after = trained
    assert len(after) == 8
    average = {name: value.double() for name, value in start.items() if value.is_floating_point()}
    for step, weights in enumerate(after, start=1):
        decay = min(0.7, (1 + step) / (10 + step))
        average = {name: decay * value + (1 - decay) * weights[name] for name, value in average.items()}
    for name, value in followed.items():
        expected = average.get(name, after[-1][name])
        torch.testing.assert_close(value.double(), expected.double(), rtol=0, atol=1e-6)
    assert not torch.allclose(followed["bn.running_mean"], after[-1]["bn.running_mean"], atol=1e-4)
    assert int(followed["bn.num_batches_tracked"]) == 8


def test_training_goes_on_from_the_weights(digits, tiny, trained):
    plain = tiny()
    train(plain, *digits[:2], recipe=RECIPE, epochs=1)
    assert all(torch.equal(trained[3][-1][name], value) for name, value in plain.state_dict().items())


@pytest.mark.parametrize(("spoiled", "kept"), [(False, "weights"), (True, "average")])
def test_the_better_of_weights_and_average_is_kept(spoiled, kept, digits, tiny, tmp_path):
    model, steps = tiny(), []

    def spoil(*_):
        steps.append(None)
        if spoiled and len(steps) == 8:  # half of the average is what was before
            torch.nn.init.zeros_(model.linear.weight)

    handle = register_optimizer_step_post_hook(spoil)
    result = train(model, *digits[:2], recipe=AVERAGED, epochs=1, resume_folder=tmp_path)
    handle.remove()
    saved = EpochStore(tmp_path).load("cpu")
    judged = {}
    for name, weights in (("weights", saved["model"]), ("average", saved["average"]["tensors"])):
        model.load_state_dict(weights)
        judged[name] = evaluate(model, digits[1])
    other = next(evaluation for name, evaluation in judged.items() if name != kept)
    assert judged[kept].better_than(other)
    assert result.best == judged[kept]
    assert result.history[0].score_accuracy == judged[kept].accuracy


def test_a_long_average_is_the_decays_alone():
    model = torch.nn.Linear(1, 1, bias=False)
    average = WeightAverage(model, 0.5)
    torch.nn.init.zeros_(model.weight)
    for _ in range(10):
        average.update()
    torch.nn.init.ones_(model.weight)
    average.update()
    with average.applied():
        inside = model.weight.item()
    assert inside == pytest.approx(0.5, abs=1e-3)
    assert model.weight.item() == 1.0


def test_the_weights_come_back_after_an_error():
    model = torch.nn.Linear(2, 2)
    average, before = WeightAverage(model, 0.5), state_hash(model)
    torch.nn.init.zeros_(model.weight)

    def fail():
        with average.applied():
            assert state_hash(model) == before
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert not model.weight.any()


def test_killed_and_resumed_with_the_average_ends_with_the_same_bytes(digits, tiny, tmp_path):
    unbroken, resumed = tiny(), tiny()
    expected = train(unbroken, *digits[:2], recipe=AVERAGED, epochs=4)

    class KilledError(Exception):
        pass

    def kill(done, total, text=""):
        if done == 3 * 8:
            raise KilledError

    with pytest.raises(KilledError):
        train(tiny(), *digits[:2], recipe=AVERAGED, epochs=4, progress=kill, resume_folder=tmp_path)
    result = train(resumed, *digits[:2], recipe=AVERAGED, epochs=4, resume_folder=tmp_path)
    assert result.resumed_from == 2
    assert state_hash(resumed) == state_hash(unbroken)
    assert result.history == expected.history


@pytest.mark.parametrize("decay", [0, 1, -0.5, "much"])
def test_a_decay_out_of_its_range_is_refused(decay):
    with pytest.raises(ValueError, match="ema_decay"):
        Recipe.parse({"kind": "sgd", "ema_decay": decay})


def test_off_by_default():
    assert Recipe.parse("sgd").ema_decay is None
