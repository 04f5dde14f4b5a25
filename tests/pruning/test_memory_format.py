"""Channels-last is for parameters of four dimensions; those of more train and score as they are."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import eyas
from eyas.pruning.memory_format import channels_last
from eyas.training.loop import _to_device


class Kernels(nn.Module):
    """Several kernels in one parameter, summed over their leading dimensions: dynamic convolution."""

    def __init__(self, *lead: int) -> None:
        super().__init__()
        self.a, self.bn, self.fc = nn.Conv2d(3, 12, 3), nn.BatchNorm2d(12), nn.Linear(12, 4)
        self.kernels = nn.Parameter(torch.randn(*lead, 12, 12, 3, 3) * 0.1)

    def forward(self, x: Tensor) -> Tensor:
        kernels = self.kernels.flatten(0, -5).mean(0) if self.kernels.ndim > 4 else self.kernels
        return self.fc(torch.relu(functional.conv2d(torch.relu(self.bn(self.a(x))), kernels)).mean((2, 3)))


@pytest.mark.parametrize("lead", [(), (2,), (2, 3), (1, 2, 2)])
def test_kernels_of_any_number_of_dimensions_score_and_train(lead: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    model, images = Kernels(*lead).eval(), torch.randn(60, 3, 12, 12)
    space = eyas.trace(model, (images[:2],))
    assert "a" in space.widths
    plans = [space.plan(dict.fromkeys(space.widths, width)) for width in (4, 8)]
    scores = eyas.score(model, space, plans, images[:30], images[30:], torch.randint(0, 4, (30,))).score
    assert len(scores) == 2
    with torch.no_grad():
        before = model(images[:4])
        _to_device(model, torch.device("cpu"))
        assert torch.allclose(model(images[:4]), before, atol=1e-5)
    model.train()(images[:4]).sum().backward()
    assert model.kernels.grad is not None


def test_parameters_keep_their_identity() -> None:
    model = Kernels(2)
    before = list(model.parameters())
    assert channels_last(model) is model
    assert all(one is other for one, other in zip(before, model.parameters(), strict=True))
    assert model.a.weight.is_contiguous(memory_format=torch.channels_last)


def test_four_dimensions_are_laid_out_as_torch_does_it() -> None:
    """By strides: kernels are chosen by them, so that other strides give other last digits."""
    layers = (nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 1, 3))
    ours = channels_last(nn.Sequential(*(copy.deepcopy(layer) for layer in layers)))
    torchs = nn.Sequential(*layers).to(memory_format=torch.channels_last)
    assert [tensor.stride() for tensor in ours.parameters()] == [tensor.stride() for tensor in torchs.parameters()]
