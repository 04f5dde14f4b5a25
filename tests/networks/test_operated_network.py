"""A network with surgeries as an architecture: who may build it, and what it is below."""

import pytest
import torch

import eyas
from eyas.errors import ParameterError
from eyas.networks.architectures import Architecture, build_model
from eyas.networks.operated_network import FACTORY, OperatedNetwork, build, operate
from eyas.networks.pruned_architecture import FACTORY as PRUNED
from eyas.networks.pruned_architecture import dense_architecture, describe
from tests.networks.normalised_networks import WithoutNorm
from tests.pruning.oracle import random_widths

PLACE = Architecture("tests.networks.normalised_networks:WithoutNorm", {"num_classes": 5})
IMAGES = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def operated() -> OperatedNetwork:
    return operate(WithoutNorm().eval(), ["unfold_batch_norm"], IMAGES)


def test_what_is_allowed_holds_for_the_network_below(monkeypatch: pytest.MonkeyPatch) -> None:
    named = operated().architecture(PLACE)
    with pytest.raises(ParameterError, match="not in an allowed package"):
        build(**named.arguments)
    with pytest.raises(ParameterError, match="not in an allowed package"):
        build(**{**named.arguments, "allowed": (FACTORY,)})
    built = build_model(named.factory, named.arguments, 5)  # the caller vouches for it
    assert built.state_dict().keys() == operated().model.state_dict().keys()
    monkeypatch.setenv("EYAS_ARCHITECTURES", "tests")
    build(**named.arguments)


def test_a_record_cannot_allow_itself(tmp_path) -> None:
    changed = operated()
    named = changed.architecture(PLACE)
    space = eyas.trace(changed.finish(), (IMAGES[:2],))
    plan = space.plan(random_widths(space, 0))
    small = eyas.prune(changed.finish(), space, plan)
    forged = {**named.arguments, "allowed": ["*"]}
    eyas.save(small, tmp_path, space=space, plan=plan, architecture=FACTORY, arguments=forged)
    with pytest.raises(ParameterError, match="not in an allowed package"):
        eyas.load(tmp_path)


def test_it_is_pruned_twice_and_the_dense_network_is_still_known(tmp_path) -> None:
    changed = operated()
    named, model, answers = changed.architecture(PLACE), changed.finish(), []
    for turn in range(2):
        space = eyas.trace(model, (IMAGES[:2],))
        plan = space.plan(random_widths(space, turn))
        model = eyas.prune(model, space, plan).eval()
        folder = eyas.save(
            model, tmp_path / str(turn), space=space, plan=plan, architecture=named.factory, arguments=named.arguments
        )
        answers.append(eyas.load(folder, allowed=(FACTORY, PRUNED, PLACE.factory))(IMAGES))
        assert torch.equal(answers[-1], model(IMAGES))
        named = Architecture(PRUNED, describe_allowed(folder) | {"num_classes": 5})
    assert dense_architecture(named.factory, named.arguments) == PLACE
    assert not torch.equal(*answers)


def describe_allowed(folder) -> dict[str, object]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EYAS_ARCHITECTURES", "tests")
        return describe(folder)


def test_another_number_of_classes_is_refused() -> None:
    named = operated().architecture(PLACE)
    with pytest.raises(ParameterError, match="answers with 5 classes, the data has 7"):
        build(**{**named.arguments, "num_classes": 7}, allowed=("tests",))


def test_without_surgeries_nothing_is_looked_at() -> None:
    model = WithoutNorm()
    assert operate(model, [], IMAGES).finish() is model


def test_an_unknown_surgery_names_those_there_are() -> None:
    with pytest.raises(ParameterError, match=r"unknown surgery kind 'unfold'.*unfold_batch_norm"):
        operate(WithoutNorm(), ["unfold"], IMAGES)
