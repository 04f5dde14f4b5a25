"""The closed-form cost against counting on the built network."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import eyas
from eyas.errors import PlanError
from tests.pruning.networks import Bottleneck, CifarResNet, GhostBottleneck, conv_bn
from tests.pruning.oracle import counted


@pytest.fixture(scope="module")
def space() -> eyas.SearchSpace:
    model = nn.Sequential(
        conv_bn(3, 8, 3), GhostBottleneck(8, 16, 12, 3, 2, True), Bottleneck(12, 8, 16, 2, g=2),
        nn.ConvTranspose2d(16, 6, 2, 2), nn.Flatten(), nn.Linear(6 * 16, 7), nn.Linear(7, 3),
    )  # fmt: skip
    return eyas.trace(model.eval(), (torch.randn(2, 3, 8, 8),))


def activation_bytes(model: nn.Module, images: torch.Tensor) -> int:
    """Bytes of all outputs of convolutions and linear layers, by hooks."""
    sizes: list[int] = []
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            module.register_forward_hook(lambda _m, _i, out: sizes.append(out.numel() * out.element_size()))
    model(images)
    return sum(sizes) // len(images)


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_cost_equals_counting(space: eyas.SearchSpace, data: st.DataObject) -> None:
    widths = [int(data.draw(st.sampled_from(space.legal_widths(group).tolist()))) for group in space.groups]
    images = torch.randn(2, 3, 8, 8)
    small = eyas.prune(space.model, space, space.plan(widths))
    macs, params = counted(small, (images,), {})
    cost = space.cost(widths)
    assert (cost.macs * 2, cost.params) == (macs, params)
    assert cost.activation_bytes == activation_bytes(small, images)


def test_many_candidates_equal_one_by_one(space: eyas.SearchSpace) -> None:
    generator = np.random.default_rng(0)
    matrix = np.stack([generator.choice(space.legal_widths(group), 5000) for group in space.groups], axis=1)
    costs = space.costs(matrix)
    assert (len(costs), costs.macs.dtype) == (5000, np.int64)
    for row in (0, 1, 4095, 4096, 4999):
        assert costs[row] == space.cost(matrix[row])
    assert len(space.costs(matrix[:0])) == 0


def test_illegal_rows_are_refused(space: eyas.SearchSpace) -> None:
    matrix = np.array([list(space.widths.values())] * 3)
    matrix[1, 0] = 0
    with pytest.raises(PlanError, match="cannot have 0 channels"):
        space.costs(matrix)
    with pytest.raises(PlanError, match="a width matrix has shape"):
        space.costs(matrix[:, :2])


def test_cost_is_per_image() -> None:
    costs = [eyas.trace(CifarResNet(1).eval(), (torch.randn(n, 3, 16, 16),)).cost() for n in (1, 3)]
    assert costs[0] == costs[1]


def test_a_linear_layer_by_hand() -> None:
    space = eyas.trace(nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3)), (torch.randn(4, 5),))
    assert space.cost() == eyas.Cost(macs=5 * 6 + 6 * 3, params=5 * 6 + 6 + 6 * 3 + 3, activation_bytes=4 * (6 + 3))
    assert space.cost({"0": 2}) == eyas.Cost(
        macs=5 * 2 + 2 * 3, params=5 * 2 + 2 + 2 * 3 + 3, activation_bytes=4 * (2 + 3)
    )
