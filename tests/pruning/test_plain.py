"""Chains of convolutions, norms and linear layers; what a network's ends mean."""

import torch
from torch import nn
from torch.nn import functional

import eyas
from tests.pruning.oracle import check, consumers, frozen_reason, group_of


class Chain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.conv2, self.bn2 = nn.Conv2d(12, 10, 3, stride=2), nn.BatchNorm2d(10)
        self.fc1, self.fc2 = nn.Linear(10 * 9, 14), nn.Linear(14, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.bn1(self.conv1(x)))
        x = functional.avg_pool2d(functional.leaky_relu(self.bn2(self.conv2(x))), 2, ceil_mode=True)
        return self.fc2(torch.tanh(self.fc1(x.flatten(1))))


def test_chain_matches_the_oracle() -> None:
    space = check(Chain(), (torch.randn(2, 3, 12, 12),))
    assert [(g.name, g.channels, g.step) for g in space.groups] == [("conv1", 12, 1), ("conv2", 10, 1), ("fc1", 14, 1)]
    assert space.groups[0].layers == ("conv1", "bn1")
    assert consumers(space.groups[1]) == {"fc1"}


def test_the_output_layer_is_frozen_and_says_why() -> None:
    space = check(Chain(), (torch.randn(1, 3, 12, 12),), seeds=1)
    assert [group.name for group in space.frozen] == ["fc2"]
    assert "output of the network" in frozen_reason(space, "fc2")


def test_most_macs_of_a_plain_cnn_can_go() -> None:
    space = eyas.trace(Chain(), (torch.randn(1, 3, 12, 12),))
    fewest = space.cost({group.name: 1 for group in space.groups})
    assert fewest.macs < 0.1 * space.cost().macs


def test_tracing_leaves_the_model_alone() -> None:
    model = Chain().train()
    model.bn1.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    eyas.trace(model, (torch.randn(2, 3, 12, 12),))
    assert model.training
    assert not model.bn1.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


class WithoutBias(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 6, 3, bias=False), nn.ReLU6(), nn.Conv2d(6, 1, 1), nn.Hardswish(), nn.Conv2d(1, 4, 1)
        )


def test_a_single_channel_is_no_depthwise_convolution() -> None:
    space = check(WithoutBias(), (torch.randn(2, 1, 6, 6),))
    assert [group.name for group in space.groups] == ["0"]


def test_an_unused_layer_is_named() -> None:
    model = Chain()
    model.extra = nn.Conv2d(12, 3, 1)
    space = check(model, (torch.randn(1, 3, 12, 12),), seeds=1)
    assert "not used" in frozen_reason(space, "extra")


class WithMean(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.b(self.a(x))
        return self.c(x) * torch.sigmoid(x.mean(1, keepdim=True))


def test_a_mean_over_channels_freezes_them_and_nothing_else() -> None:
    space = check(WithMean(), (torch.randn(2, 3, 6, 6),))
    assert "mean reduces over its channels" in frozen_reason(space, "b")
    assert group_of(space, "a").channels == 8
