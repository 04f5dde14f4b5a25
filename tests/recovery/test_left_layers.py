"""What a refit leaves alone, and the reasons that it gives."""

import copy

import pytest
import torch
from torch import Tensor, nn

import eyas
from tests.recovery.test_refit import IMAGES, KINDS, NETWORKS, calibrated, half


@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_but_fitted_layers_and_statistics_changes(name: str) -> None:
    torch.manual_seed(1)
    model = calibrated(NETWORKS[name]())
    space, plan, small = half(model)
    before = {key: weight.detach().clone() for key, weight in small.named_parameters()}
    report = eyas.refit(model, small, space, plan, IMAGES)
    after = dict(small.named_parameters())
    changed = {key for key, weight in before.items() if not torch.equal(weight, after[key])}
    fitted = {key.removesuffix("weight") for key in report.layers}
    assert {key.removesuffix("bias").removesuffix("weight") for key in changed} <= fitted


@pytest.mark.parametrize("recovery", KINDS)
@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_pruned_nothing_changed(name: str, recovery: str) -> None:
    model = calibrated(NETWORKS[name]())
    space = eyas.trace(model, (IMAGES[:2],))
    plan = space.plan()
    small = eyas.prune(model, space, plan).eval()
    before = copy.deepcopy(small.state_dict())
    report = eyas.refit(model, small, space, plan, IMAGES, recovery=recovery)
    assert not report.layers
    assert not report.left
    assert all(torch.equal(before[key], value) for key, value in small.state_dict().items())


def test_a_dense_network_in_train_mode_stays_so_and_is_read_as_in_eval_mode() -> None:
    model = calibrated(NETWORKS["option A"]())
    space, plan, small = half(model)
    again = copy.deepcopy(small)
    expected = eyas.refit(model, small, space, plan, IMAGES)
    before = copy.deepcopy(model.train().state_dict())
    assert eyas.refit(model, again, space, plan, IMAGES) == expected
    assert all(module.training for module in model.modules())
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(torch.equal(one, other) for one, other in zip(small.parameters(), again.parameters(), strict=True))


class Reasons(nn.Module):
    """A grouped convolution loses its inputs with its outputs; two layers may be skipped."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.grouped, self.b = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=4), nn.Conv2d(8, 6, 1)
        self.c, self.d = nn.Conv2d(8, 6, 1), nn.Conv2d(8, 6, 1)
        self.skips_c = self.skips_d = False

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.grouped(torch.relu(self.a(x))))
        c = 0 if self.skips_c else self.c(x)
        return self.b(x) + c + (0 if self.skips_d else 0 * self.d(x))


def test_what_cannot_be_fitted_is_left_and_says_why() -> None:
    torch.manual_seed(8)
    model = Reasons().eval()
    space, plan, small = half(model)
    model.skips_c = small.skips_c = small.skips_d = True
    before = {key: weight.detach().clone() for key, weight in small.named_parameters()}
    report = eyas.refit(model, small, space, plan, IMAGES)
    assert report.layers.keys() == {"b.weight"}
    assert report.left["grouped.weight"].startswith("a grouped convolution loses its inputs with its outputs")
    assert report.left["c.weight"] == "no layer was called with it as its weight"
    assert report.left["d.weight"] == "the pruned network does not call it with these images"
    for key, weight in small.named_parameters():
        assert key.startswith("b.") or torch.equal(before[key], weight), key


def test_single_precision_gives_what_double_precision_gives() -> None:
    """The products are made in the precision of the network, their sums and the solution in float64."""
    model = calibrated(NETWORKS["option A"]())
    space, plan, small = half(model)
    double, exact = copy.deepcopy(model).double(), copy.deepcopy(small).double()
    report = eyas.refit(model, small, space, plan, IMAGES)
    other = eyas.refit(double, exact, space, plan, IMAGES.double())
    assert report.layers.keys() == other.layers.keys()
    assert report.error_before == pytest.approx(other.error_before, rel=1e-4)
    assert report.error_after == pytest.approx(other.error_after, rel=1e-3)
    for name, pair in report.layers.items():
        assert pair == pytest.approx(other.layers[name], rel=1e-3)
    for one, expected in zip(small.parameters(), exact.parameters(), strict=True):
        torch.testing.assert_close(one.double(), expected, rtol=1e-3, atol=1e-3 * float(expected.detach().std()))


def test_images_that_say_nothing_leave_the_network_finite() -> None:
    """All features are the same: their equations are singular but for the penalty."""
    torch.manual_seed(9)
    model = calibrated(NETWORKS["fire"]())
    space, plan, small = half(model)
    report = eyas.refit(model, small, space, plan, torch.zeros_like(IMAGES))
    assert report.error_after <= report.error_before
    assert all(weight.isfinite().all() for weight in small.parameters())
