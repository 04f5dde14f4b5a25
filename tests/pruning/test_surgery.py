"""What comes out of prune: an ordinary module, true to its attributes; the original untouched."""

import copy

import pytest
import torch
from torch import nn

import eyas
from eyas.errors import CheckpointError, PlanError
from tests.pruning.networks import Bottleneck, CifarResNet, SqueezeExcite, conv_bn


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        conv_bn(3, 8, 3), nn.Conv2d(8, 8, 3, padding=1, groups=8), SqueezeExcite(8, 4), Bottleneck(8, 6, 16, 2, g=2),
        nn.GroupNorm(4, 16), nn.ConvTranspose2d(16, 10, 2, 2), nn.PReLU(10), nn.Flatten(),
        nn.Linear(10 * 64, 12), nn.ReLU(), nn.Linear(12, 3),
    )  # fmt: skip


@pytest.fixture
def pruned() -> tuple[nn.Module, eyas.SearchSpace, nn.Module]:
    model = network()
    space = eyas.trace(model, (torch.randn(2, 3, 8, 8),))
    widths = {group.name: int(space.legal_widths(group)[len(space.legal_widths(group)) // 2]) for group in space.groups}
    return model, space, eyas.prune(model, space, space.plan(widths))


def test_attributes_are_true(pruned: tuple) -> None:
    small = pruned[2]
    for module in small.modules():
        if isinstance(module, nn.Conv2d):
            assert module.weight.shape[:2] == (module.out_channels, module.in_channels // module.groups)
        if isinstance(module, nn.ConvTranspose2d):
            assert module.weight.shape[:2] == (module.in_channels, module.out_channels // module.groups)
        if isinstance(module, nn.BatchNorm2d):
            assert module.num_features == len(module.weight) == len(module.running_mean)
        if isinstance(module, nn.GroupNorm):
            assert module.num_channels == len(module.weight)
            assert module.num_channels // module.num_groups == 4
        if isinstance(module, nn.Linear):
            assert module.weight.shape == (module.out_features, module.in_features)
        if isinstance(module, nn.PReLU):
            assert module.num_parameters == len(module.weight)


def test_a_small_network_built_by_hand_takes_its_state(pruned: tuple) -> None:
    small = pruned[2]
    rebuilt = nn.Conv2d(small[1].in_channels, small[1].out_channels, 3, padding=1, groups=small[1].groups)
    rebuilt.load_state_dict(small[1].state_dict())


def test_the_original_is_untouched_and_shares_nothing(pruned: tuple) -> None:
    model, _, small = pruned
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = torch.optim.SGD(small.parameters(), 0.1)
    small.train()(torch.randn(2, 3, 8, 8)).square().sum().backward()
    optimizer.step()
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    own = {tensor.untyped_storage().data_ptr() for tensor in model.state_dict().values()}
    assert not own & {tensor.untyped_storage().data_ptr() for tensor in small.state_dict().values()}


def test_gradients_modes_and_flags(pruned: tuple) -> None:
    model, space, _ = pruned
    model[8].weight.requires_grad_(False)
    model[0].eval()
    small = eyas.prune(model, space, space.plan())
    assert not small[8].weight.requires_grad
    assert small[1].weight.requires_grad
    assert small.training
    assert not small[0].training
    assert type(small) is type(model)
    small(torch.randn(2, 3, 8, 8)).sum().backward()
    assert small[1].weight.grad is not None


def test_deepcopy_state_dict_and_double(pruned: tuple) -> None:
    small = pruned[2].eval()
    copied = copy.deepcopy(small)
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(copied(images), small(images))
    copied.load_state_dict(small.state_dict(), strict=True)
    assert copied.double()(images.double()).dtype == torch.float64


def test_channels_last_stays(pruned: tuple) -> None:
    model, space, _ = pruned
    small = eyas.prune(model.to(memory_format=torch.channels_last), space, space.plan({"0.0": 5}))
    weight = small[3].conv2.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    images = torch.randn(2, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    assert small.eval()(images).shape == (2, 3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_stays(pruned: tuple) -> None:
    model, space, _ = pruned
    small = eyas.prune(model.cuda(), space, space.plan({"0.0": 5}))
    assert all(tensor.is_cuda for tensor in small.state_dict().values())
    assert small(torch.randn(2, 3, 8, 8, device="cuda")).is_cuda
    assert eyas.check_parity(model, space, space.plan({"0.0": 5})).max_relative < 1e-4


def test_hooks_and_references_between_modules_follow() -> None:
    class Pointing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 2, 1)
            self.order = [self.first, self.second]
            self.apply_first = self.run_first

        def run_first(self, x: torch.Tensor) -> torch.Tensor:
            return self.order[0](x)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.order[1](self.apply_first(x))

    model = Pointing()
    space = eyas.trace(model, (torch.randn(2, 3, 4, 4),))
    small = eyas.prune(model, space, space.plan({"first": 2}))
    assert small.order[0] is small.first
    assert small.apply_first.__self__ is small
    assert small(torch.randn(2, 3, 4, 4)).shape == (2, 2, 4, 4)


def test_padding_modules_are_rewritten() -> None:
    model = CifarResNet(1)
    space = eyas.trace(model, (torch.randn(2, 3, 16, 16),))
    names = [group.name for group in space.groups]
    small = eyas.prune(model, space, space.plan({names[0]: 10, "layers.2.b.0": 6, "layers.3.b.0": 20}))
    first, second = small.layers[2].pad, small.layers[3].pad
    assert first.before + first.after == 6
    assert second.before + second.after == 20
    assert (model.layers[2].pad.before, model.layers[2].pad.after) == (8, 8)


def test_a_model_of_another_architecture_is_refused(pruned: tuple) -> None:
    _, space, small = pruned
    with pytest.raises(CheckpointError, match="not the architecture that was traced: "):
        eyas.prune(small, space, space.plan())


def test_a_plan_of_another_space_is_refused(pruned: tuple) -> None:
    model, space, _ = pruned
    other = eyas.trace(CifarResNet(1), (torch.randn(2, 3, 16, 16),))
    with pytest.raises(PlanError, match="another search space"):
        eyas.prune(model, space, other.plan())
