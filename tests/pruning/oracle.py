"""The oracle of the parity tests, made without the library's own masking.

The dense network runs with every consumer's weights on removed channels set to zero. Consumers are told by
the types of layers: a convolution reads dimension 1 of its weight, a transposed one dimension 0, a linear
layer dimension 1; grouped convolutions read nothing across groups.
"""

import copy
import json

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import eyas
from eyas.pruning.criteria.random import Random
from eyas.pruning.groups import ChannelGroup
from eyas.pruning.space import SearchSpace

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class ReadByNoLayer(nn.Module):
    """What the convolution makes is read by a product of parameters, which is nobody's weight."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.w = nn.Conv2d(3, 4, 1), nn.Parameter(torch.randn(2, 4))

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(N, 2)``."""
        return nn.functional.linear(torch.relu(self.a(x)).mean((2, 3)), 2 * self.w)


def prepared(model: nn.Module, seed: int = 0) -> nn.Module:
    """Double precision, eval mode, and batch-norms that do something."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.weight is not None:
            for tensor, low, high in (
                (module.weight.data, 0.5, 1.5), (module.bias.data, -0.5, 0.5),
                (module.running_mean, -0.5, 0.5), (module.running_var, 0.5, 1.5),
            ):  # fmt: skip
                if tensor is not None:
                    tensor.copy_(low + (high - low) * torch.rand(tensor.shape, generator=generator))
    return model.double().eval()


def random_widths(space: SearchSpace, seed: int) -> list[int]:
    generator = np.random.default_rng(seed)
    return [int(generator.choice(space.legal_widths(group))) for group in space.groups]


def masked(model: nn.Module, slices: dict[str, dict[int, np.ndarray]]) -> nn.Module:
    """A dense copy whose consumers do not read removed channels."""
    model = copy.deepcopy(model)
    for name, module in model.named_modules():
        if isinstance(module, (*CONVOLUTIONS, *TRANSPOSED)) and module.groups > 1:
            continue
        dim = 0 if isinstance(module, TRANSPOSED) else 1
        if isinstance(module, (*CONVOLUTIONS, *TRANSPOSED, nn.Linear)):
            kept = slices.get(f"{name}.weight", {}).get(dim)
            if kept is not None:
                removed = sorted(set(range(module.weight.shape[dim])) - set(kept.tolist()))
                with torch.no_grad():
                    module.weight.index_fill_(dim, torch.tensor(removed), 0.0)
    return model


def flat(output: object) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output]
    items = output.values() if isinstance(output, dict) else output
    return [tensor for item in items for tensor in flat(item)]


def difference(a: object, b: object) -> float:
    """Largest relative difference over all outputs."""
    pairs = list(zip(flat(a), flat(b), strict=True))
    assert all(x.shape == y.shape for x, y in pairs)
    return max(float((x - y).abs().max() / y.abs().max().clamp(min=1e-6)) for x, y in pairs)


def counted(model: nn.Module, args: tuple, kwargs: dict) -> tuple[int, int]:
    """MACs and parameters as torch counts them on the built network."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(*args, **kwargs)
    return counter.get_total_flops() // 2, sum(p.numel() for p in model.parameters())


def check(
    model: nn.Module, args: tuple, kwargs: dict | None = None, *, seeds: int = 3, tolerance: float = 1e-9,
    macs: bool = True, **options: object,
) -> SearchSpace:  # fmt: skip
    """Trace, prune to random legal widths with random channels, and compare with the oracle."""
    kwargs = kwargs or {}
    model = prepared(model)
    args = tuple(a.double() if a.is_floating_point() else a for a in args)
    kwargs = {k: v.double() if v.is_floating_point() else v for k, v in kwargs.items()}
    space = eyas.trace(model, args, kwargs, **options)
    for seed in range(seeds):
        widths = random_widths(space, seed)
        plan = space.plan(widths, Random(seed=seed))
        small = eyas.prune(model, space, plan)
        with torch.no_grad():
            expected = masked(model, space.slices(plan))(*args, **kwargs)
            error = difference(small(*args, **kwargs), expected)
            changed = difference(model(*args, **kwargs), expected)
        assert error < tolerance, (error, plan.widths)
        assert changed > 1e-4 or widths == list(space.widths.values()), "nothing was removed that matters"
        (built_macs, built_params), cost = counted(small, args, kwargs), space.cost(widths)
        assert cost.params == built_params
        if macs:
            assert cost.macs * args[0].shape[0] == built_macs
    assert_read_alike(space)
    return space


def assert_read_alike(space: SearchSpace) -> None:
    """What is read from the space's JSON gives the answers of the traced one."""
    text = json.dumps(space.to_json())
    read = SearchSpace.from_json(space.model, text)
    assert json.dumps(read.to_json()) == text
    assert (read.groups, read.frozen, read.fingerprint) == (space.groups, space.frozen, space.fingerprint)
    for ours, theirs in zip(read.groups, space.groups, strict=True):
        assert ours.members == theirs.members
        assert np.array_equal(ours.unit_of_channel, theirs.unit_of_channel)
        assert np.array_equal(read.legal_widths(ours), space.legal_widths(theirs))
        for one, other in zip(ours.members, theirs.members, strict=True):
            assert np.array_equal(one.positions, other.positions)
    rows = np.array([random_widths(space, seed) for seed in range(20)], np.int64).reshape(20, -1)
    for name, values in vars(space.costs(rows)).items():
        assert np.array_equal(getattr(read.costs(rows), name), values)
    assert read.cost() == space.cost()
    plan = space.plan(rows[0], Random(seed=1))
    assert read.plan(rows[0], Random(seed=1)) == plan
    assert read.attributes(plan) == space.attributes(plan)
    slices, again = space.slices(plan), read.slices(plan)
    assert [(name, list(dims)) for name, dims in slices.items()] == [(name, list(dims)) for name, dims in again.items()]
    assert all(np.array_equal(again[name][dim], kept) for name, dims in slices.items() for dim, kept in dims.items())


def group_of(space: SearchSpace, layer: str) -> ChannelGroup:
    """The only group whose channels are made by ``layer``."""
    groups = [group for group in space.groups if layer in group.layers]
    assert len(groups) == 1, (layer, [group.name for group in groups])
    return groups[0]


def consumers(group: ChannelGroup) -> set[str]:
    """Layers that read the group's channels."""
    return {member.parameter.rpartition(".")[0] for member in group.members if member.role == "in"}


def frozen_reason(space: SearchSpace, layer: str) -> str:
    """Why ``layer`` is frozen."""
    reasons = [group.reason for group in space.frozen if layer in group.layers]
    assert reasons, (layer, space.groups, space.frozen)
    return reasons[0]


class Mapped(nn.Module):
    """A class per pixel, the second of two outputs; no batch-norm."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.aux, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1), nn.Conv2d(4, 3, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = torch.relu(self.a(x))
        return {"aux": self.aux(y), "map": self.head(y)}
