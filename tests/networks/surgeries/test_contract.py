"""What every surgery promises; members are looked up, so that a new one is held to it by itself."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import eyas
from eyas.deploy.exporters import Exporter
from eyas.networks.architectures import Architecture
from eyas.networks.operated_network import FACTORY, OperatedNetwork, build, operate
from eyas.networks.surgeries import Surgery
from tests.networks.normalised_networks import Everything, vary
from tests.pruning.oracle import random_widths

KINDS = sorted(Surgery.registry)
PLACE = Architecture("tests.networks.normalised_networks:Everything", {"num_classes": 5})
ALLOWED = (FACTORY, PLACE.factory)


@pytest.fixture
def images() -> Tensor:
    return torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return vary(Everything())


def trained(operated: OperatedNetwork, images: Tensor, steps: int = 3) -> OperatedNetwork:
    """A few steps, so that every parameter and statistic is its own."""
    optimiser = torch.optim.SGD(operated.model.parameters(), 0.05)
    operated.model.train()
    for step in range(steps):
        optimiser.zero_grad()
        labels = torch.arange(16) % 5
        nn.functional.cross_entropy(operated.model(images[16 * step :][:16]), labels).backward()
        optimiser.step()
    operated.model.eval()
    return operated


@pytest.mark.parametrize("kind", KINDS)
def test_the_network_itself_is_not_changed(kind: str, model: nn.Module, images: Tensor) -> None:
    before, structure = copy.deepcopy(model.state_dict()), str(model)
    trained(operate(model.train(), [kind], images), images).finish()
    assert str(model) == structure
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("kind", KINDS)
def test_answers_stay_unless_training_is_asked_for(kind: str, model: nn.Module, images: Tensor) -> None:
    operated = operate(model, [kind], images)
    with torch.no_grad():
        apart = float((operated.model.eval()(images) - model(images)).abs().max())
    assert operated.surgeries[0].needs_training or apart < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_the_finished_network_answers_as_the_trained_one(kind: str, model: nn.Module, images: Tensor) -> None:
    operated = trained(operate(model, [kind], images, steps=2), images)
    with torch.no_grad():
        expected = operated.model(images)
        finished = operated.finish().eval()
        assert torch.allclose(finished(images), expected, atol=1e-4 * float(expected.abs().max()))
        assert torch.equal(operated.model(images), expected)  # finishing changed nothing of it


@pytest.mark.parametrize("kind", KINDS)
def test_the_finished_network_is_built_again_from_json_values(kind: str, model: nn.Module, images: Tensor) -> None:
    operated = trained(operate(model, [kind], images), images)
    finished, named = operated.finish().eval(), operated.architecture(PLACE)
    again = build(**named.arguments, allowed=ALLOWED)
    again.load_state_dict(finished.state_dict())
    assert torch.equal(again.eval()(images), finished(images))
    assert Surgery.parse(named.arguments["surgeries"][0]) == operated.surgeries[0]
    assert {type(module) for module in again.modules()} == {type(module) for module in finished.modules()}


@pytest.mark.parametrize("kind", KINDS)
def test_the_finished_network_is_pruned_saved_loaded_and_exported(
    kind: str, model: nn.Module, images: Tensor, tmp_path: Path
) -> None:
    operated = trained(operate(model, [kind], images), images)
    finished, named = operated.finish().eval(), operated.architecture(PLACE)
    space = eyas.trace(finished, (images[:2],))
    plan = space.plan(random_widths(space, 0))
    eyas.check_parity(finished, space, plan).require()
    small = eyas.prune(finished, space, plan)
    folder = eyas.save(
        small, tmp_path / "small", space=space, plan=plan, architecture=named.factory, arguments=named.arguments
    )
    loaded = eyas.load(folder, allowed=ALLOWED)
    assert torch.equal(loaded(images), small.eval()(images))
    runtime = pytest.importorskip("onnxruntime")
    Exporter.parse("onnx")(small, images[:2], tmp_path / "small.onnx")
    session = runtime.InferenceSession(tmp_path / "small.onnx")
    (logits,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    assert float((torch.from_numpy(logits) - small(images).detach()).abs().max()) < 1e-4
