"""A snapshot is restored by the adaptation that it is of, and by no other."""

import copy

import pytest
import torch
from safetensors.torch import load, save

from eyas.adaptation.adapters import Adapter
from eyas.adaptation.adapters.alpha_bn import AlphaBn
from eyas.deploy.bn_statistics import bn_statistics
from eyas.errors import DataError
from tests.adaptation.adapters.test_contract import KINDS, prepare, same


def halved(adapter):
    """The same member with one option changed; None where it has none."""
    for name, value in adapter:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value:
            return adapter.model_copy(update={name: type(value)(value / 2)})
    return None


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_holds_it(kind, model, source, field):
    adaptation, other = prepare(kind, model, source), prepare(kind, model, source, seed=1)
    adaptation.observe(field[0][:64])
    other.restore(load(save(adaptation.snapshot())))
    assert same(other.snapshot(), adaptation.snapshot())
    assert torch.equal(other.observe(field[0][64:128]), adaptation.observe(field[0][64:128]))


@pytest.mark.parametrize("kind", KINDS)
def test_that_of_another_network_or_other_options_is_refused(kind, model, source, field):
    adaptation = prepare(kind, model, source)
    adaptation.observe(field[0][:64])
    foreign, moved = copy.deepcopy(model), copy.deepcopy(model)
    with torch.no_grad():
        foreign.conv2.weight[0, 0, 0, 0] += 1e-3
        moved.norm2.running_mean[0] += 1e-3
    others = [prepare(kind, foreign, source), prepare(kind, moved, source)]
    if changed := halved(Adapter.parse(kind)):
        others.append(changed.prepare(model, source=source))
    for other in others:
        before = other.snapshot()
        with pytest.raises(DataError, match="`state` is no snapshot of this adaptation"):
            other.restore(adaptation.snapshot())
        assert same(other.snapshot(), before)
    assert len(others) == 2 + (kind not in {"none", "ada_bn"})


@pytest.mark.parametrize("kind", KINDS)
def test_other_statistics_are_another_adaptation(kind, model, source):
    bundle = bn_statistics(model, 10)
    bundle["norm1.mean"] = bundle["norm1.mean"] + 1
    other = Adapter.parse(kind).prepare(model, bundle, source)
    with pytest.raises(DataError, match="it began from another network or statistics, or with other options"):
        other.restore(prepare(kind, model, source).snapshot())


@pytest.mark.parametrize("kind", [*KINDS, AlphaBn(source_weight="chosen")], ids=str)
def test_one_that_was_changed_since_is_refused(kind, model, source, field):
    adaptation = prepare(kind, model, source)
    adaptation.observe(field[0][:64])
    whole = adaptation.snapshot()
    damaged = [{name: tensor.int() for name, tensor in whole.items()}, whole | {"memory.unknown": torch.zeros(2)}]
    for name, tensor in whole.items():
        if name == "origin":
            continue
        damaged += [whole | {name: tensor + 1}, whole | {name: tensor.tolist()}, whole | {name: tensor[None]}]
    for wrong in damaged:
        with pytest.raises(DataError, match="`state` is no snapshot of this adaptation, or damaged"):
            adaptation.restore(wrong)
    assert same(adaptation.snapshot(), whole)


def test_answers_of_other_classes_are_refused(model, field):
    adaptation = AlphaBn(source_weight="chosen").prepare(model)
    adaptation.observe(field[0][:64])
    snapshot = adaptation.snapshot()
    for shape in ((2, 3), (6, 3), (6, 0), (6,)):
        with pytest.raises(DataError, match="`state` is no snapshot of this adaptation, or damaged"):
            adaptation.restore(snapshot | {"memory.probability_WK": torch.rand(shape, dtype=torch.float64)})
    assert same(adaptation.snapshot(), snapshot)


@pytest.mark.parametrize("kind", KINDS)
def test_one_that_does_not_say_what_it_is_of_is_refused(kind, model, source):
    adaptation = prepare(kind, model, source)
    old = {name: tensor for name, tensor in adaptation.snapshot().items() if name not in {"origin", "content"}}
    with pytest.raises(DataError, match="`state` does not say of which network and options it is"):
        adaptation.restore(old)
