"""What looks at a network leaves it as it was: buffers that forward code or a parametrization updates in place."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.parametrizations import weight_norm as parametrized_weight_norm

import eyas
from eyas.errors import TraceError

IMAGES = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))


class Updating(nn.Module):
    """Counts its calls, and takes statistics of the batch in eval mode too."""

    def __init__(self, *, broken: bool = False) -> None:
        super().__init__()
        self.a, self.bn, self.b = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 3)
        self.broken = broken
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.get_buffer("calls").add_(1)
        bn = self.bn
        x = nn.functional.batch_norm(self.a(x), bn.running_mean, bn.running_var, bn.weight, bn.bias, training=True)
        if self.broken and float(x.sum()) > 0:
            x = x + 1
        return self.b(x.relu())


def with_second(wrap: Callable[[nn.Module], nn.Module]) -> nn.Module:
    head = (nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), wrap(nn.Conv2d(8, 8, 3)), *head)


def masked() -> nn.Module:
    return with_second(lambda conv: prune.l1_unstructured(conv, "weight", 0.5))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "updating": Updating,
    "spectral norm": lambda: with_second(spectral_norm),
    "spectral norm by a hook": lambda: with_second(torch.nn.utils.spectral_norm),
    "weight norm": lambda: with_second(parametrized_weight_norm),
    "masked": masked,
    "masked biases": lambda: with_second(lambda conv: prune.random_unstructured(conv, "bias", 0.5)),
    "masked channels": lambda: with_second(lambda conv: prune.ln_structured(conv, "weight", 0.5, n=2, dim=0)),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("training", [True, False])
def test_trace_prune_save_and_load_leave_the_state_alone(name: str, training: bool, tmp_path: Path) -> None:
    network = NETWORKS[name]().train(training)
    state = {key: value.clone() for key, value in network.state_dict().items()}
    space = eyas.trace(network, (IMAGES,))
    plan = space.plan({group.name: group.channels // 2 for group in space.groups})
    small = eyas.prune(network, space, plan)
    eyas.check_parity(network, space, plan).require()
    cut = {key: value.clone() for key, value in small.state_dict().items()}
    eyas.save(small, tmp_path, space=space, plan=plan, architecture="mine:net")
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    assert all(torch.equal(value, cut[key]) for key, value in small.state_dict().items())
    loaded = eyas.load(tmp_path, factory=NETWORKS[name])
    assert all(torch.equal(value, cut[key]) for key, value in loaded.state_dict().items())
    with torch.no_grad():
        assert torch.equal(loaded(IMAGES), small.eval()(IMAGES))


def test_a_network_that_cannot_be_traced_is_left_alone() -> None:
    network = Updating(broken=True).eval()
    state = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(TraceError):
        eyas.trace(network, (IMAGES,))
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
