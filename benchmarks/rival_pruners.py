"""Other tools' pruning, each set up as its documentation says, to the budget that ours gets.

Each function takes the benchmark's data and a share of the dense MACs, and returns a pruned network. The tools are
imported where they are used: they are installed in an environment of their own (``benchmarks/rivals.py``).
"""

import copy
import functools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.candidates import Bench, accuracy
from models.layers import ChannelPad

TOLERANCE = 0.005
"""How far above the budget a network may cost, as a share of the dense MACs: half the width of our samplers' band."""
STEPS = 400
"""Rounds of Torch-Pruning from the whole network to nothing: how finely it meets a budget."""
GRADIENT_IMAGES = 256
VALIDATION_IMAGES = 2000


class Selection(nn.Module):
    """A shortcut without parameters, written as what Torch-Pruning can follow: a fixed 1 x 1 convolution.

    Computes what :class:`models.layers.ChannelPad` does. Selecting channels costs no multiply-add, here neither.
    """

    weight: Tensor

    def __init__(self, channels: int, pad: ChannelPad) -> None:
        super().__init__()
        self.stride = pad.stride
        before, after = torch.zeros(pad.before, channels), torch.zeros(pad.after, channels)
        self.register_buffer("weight", torch.cat([before, torch.eye(channels), after])[:, :, None, None])

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """``(N, before + C + after, H / stride, W / stride)``."""
        return functional.conv2d(x_NCHW, self.weight, stride=self.stride)


@torch.no_grad()
def count_macs(model: nn.Module, images: Tensor) -> int:
    """Multiply-adds of convolutions and linear layers for one image: the counter of every method."""
    total = 0

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        total += layer.weight[0].numel() * output[0].numel()

    layers = [layer for layer in model.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    handles = [layer.register_forward_hook(count) for layer in layers]
    model.eval()(images[:1])
    for handle in handles:
        handle.remove()
    return total


def with_selections(model: nn.Module) -> nn.Module:
    """A copy that computes the same, its padded shortcuts as :class:`Selection`."""
    model = copy.deepcopy(model)
    for block in [module for module in model.modules() if isinstance(getattr(module, "shortcut", None), ChannelPad)]:
        block.shortcut = Selection(block.conv1.in_channels, block.shortcut)
    return model


def torch_pruning(
    bench: Bench, share: float, *, importance: str = "GroupMagnitude", streams: bool = True, **options: Any
) -> nn.Module:
    """Torch-Pruning: ``BasePruner`` in small steps, until the budget is met.

    Args:
        bench: the dense network and its images.
        share: of the dense MACs.
        importance: ``GroupMagnitude`` (L2), ``GroupTaylor`` or ``GroupHessian``, with gradients of 256 training images.
        streams: prune residual streams too; else every convolution that ends in one is ignored.
        options: of ``BasePruner``: ``global_pruning``, ``isomorphic``.
    """
    import torch_pruning as tp

    class SelectionPruner(tp.BasePruningFunc):
        """How Torch-Pruning narrows a :class:`Selection`: rows for what it makes, columns for what it reads."""

        def prune_out_channels(self, layer: nn.Module, idxs: Sequence[int]) -> nn.Module:
            layer.weight = layer.weight[_others(layer.weight.shape[0], idxs)]
            return layer

        def prune_in_channels(self, layer: nn.Module, idxs: Sequence[int]) -> nn.Module:
            layer.weight = layer.weight[:, _others(layer.weight.shape[1], idxs)]
            return layer

        def get_out_channels(self, layer: nn.Module) -> int:
            return layer.weight.shape[0]

        def get_in_channels(self, layer: nn.Module) -> int:
            return layer.weight.shape[1]

    model = with_selections(bench.model) if streams else copy.deepcopy(bench.model)
    images, labels = (part[:GRADIENT_IMAGES] for part in bench.train)
    rating = getattr(tp.importance, f"{importance}Importance")()
    whole = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not streams:
        whole += [model.conv1, *(module.conv2 for module in model.modules() if hasattr(module, "conv2"))]
    pruner = tp.pruner.BasePruner(
        model,
        images[:1],
        importance=rating,
        pruning_ratio=1.0,
        iterative_steps=STEPS,
        ignored_layers=whole,
        customized_pruners={Selection: SelectionPruner()},
        **options,
    )
    limit = (share + TOLERANCE) * count_macs(bench.model, images)
    for _ in range(STEPS):
        if count_macs(model, images) <= limit:
            return model
        _give_gradients(model, rating, importance, images, labels)
        pruner.step()
    msg = f"still {count_macs(model, images):,} MACs after {STEPS} steps"
    raise RuntimeError(msg)


def _others(count: int, removed: Sequence[int]) -> list[int]:
    gone = set(removed)
    return [index for index in range(count) if index not in gone]


def _give_gradients(model: nn.Module, rating: Any, importance: str, images: Tensor, labels: Tensor) -> None:
    """What gradient criteria look at, before every step as the documentation has it."""
    model.zero_grad()
    if importance == "GroupTaylor":
        functional.cross_entropy(model(images), labels).backward()
    elif importance == "GroupHessian":
        rating.zero_grad()
        losses = functional.cross_entropy(model(images[:64]), labels[:64], reduction="none")
        for loss in losses:
            model.zero_grad()
            loss.backward(retain_graph=True)
            rating.accumulate_grad(model)


def fastnas(bench: Bench, share: float) -> nn.Module:
    """ModelOpt's FastNAS in widths of single channels, judged by top-1 on 2,000 held-out images.

    It counts otherwise than we do and lands below what it is asked for: so it is asked again from the sensitivities
    that it measured, and its most expensive network within the budget counts.
    """
    import modelopt.torch.prune as mtp

    images, labels = bench.images.scoring[:VALIDATION_IMAGES], bench.images.labels[:VALIDATION_IMAGES]
    settings = mtp.fastnas.FastNASConfig()
    settings["nn.Conv2d"]["*"]["channel_divisor"] = 1
    for name in ("nn.BatchNorm2d", "nn.Linear"):
        settings[name]["*"]["feature_divisor"] = 1
    config = {
        "data_loader": [(batch,) for batch in bench.images.calibration[:2048].split(128)],
        "score_func": lambda network: accuracy(network, images, labels),
        "checkpoint": _sensitivities(bench.model),
        "verbose": False,
    }
    dense, best = count_macs(bench.model, images), None
    for factor in (1.0, 1.025, 1.05, 1.075, 1.1, 1.15, 1.2):
        limits = {"flops": f"{100 * share * factor:.2f}%"}
        dense_copy = copy.deepcopy(bench.model)
        model, _ = mtp.prune(dense_copy, [("fastnas", settings)], limits, dummy_input=images[:1], config=config)
        if count_macs(model, images) > (share + TOLERANCE) * dense:
            break
        best = model
    if best is None:
        msg = f"asked for {share:.1%} it answers with {count_macs(model, images) / dense:.1%}"
        raise RuntimeError(msg)
    return best


@functools.cache
def _sensitivities(_: nn.Module) -> str:
    """Where FastNAS keeps what it measured of a network: once for all budgets."""
    return str(Path(tempfile.mkdtemp()) / "fastnas.pth")


def kirigami(bench: Bench, share: float) -> nn.Module:
    """torch-kirigami's greedy selection by group magnitude; it has budgets in parameters alone: regula falsi."""
    from torch_kirigami import DependencyGraph
    from torch_kirigami.pruning import Greedy, GroupMagnitude, ParameterBudget, Pruner

    image = bench.images.scoring[:1]
    low, high, best = (0.0, 1.0), (1.0, 0.0), None
    for _ in range(6):
        removed = low[0] + (low[1] - share) / (low[1] - high[1]) * (high[0] - low[0])
        model = copy.deepcopy(bench.model).eval()
        pruner = Pruner(model, graph=DependencyGraph.build(model, args=(image,)))
        budget = ParameterBudget.from_ratio(model, removed)
        model, _ = pruner.prune(pruner.discover_candidates(), budget=budget, strategy=Greedy(GroupMagnitude(p=2)))
        macs = count_macs(model, image) / count_macs(bench.model, image)
        if abs(macs - share) <= TOLERANCE:
            return model
        if macs > share:
            low = removed, macs
        else:
            high, best = (removed, macs), model
    if best is None:
        msg = f"still {low[1]:.1%} of the MACs at {1 - low[0]:.1%} of the parameters"
        raise RuntimeError(msg)
    return best
