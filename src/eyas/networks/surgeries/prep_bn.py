"""Layer normalisation that becomes batch-norm while the network learns."""

import copy
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from eyas.calibration.batchnorm import evaluation_mode
from eyas.calibration.recalibrate import like_weights
from eyas.errors import TraceError, one_line
from eyas.networks.surgeries.base import Surgery, replace_layer
from eyas.pruning.activations import with_own_buffers


class PrepBn(Surgery):
    r"""PRepBN: from layer norm to batch-norm, step by step (Guo et al. 2024, arXiv:2405.11582, section 3.2).

    In training a layer gives :math:`\lambda\,\mathrm{LN}(x) + (1 - \lambda)(\mathrm{BN}(x) + \eta x)`; :math:`\lambda`
    falls from 1 to 0 over ``steps``, and :math:`\eta` is learnt. In eval mode it is 0 from the start, so that epochs
    before the end of the fall are judged low. What is finished holds one batch-norm: with
    :math:`a = \gamma / \sqrt{v + \epsilon} + \eta`, weight :math:`a \sqrt{v + \epsilon}` and bias
    :math:`\beta + \eta \mu`. Batch-norm starts with the weights of the layer norm.

    Use it for networks with layer norm over their channels (ConvNeXt, hybrids), which is neither calibrated nor folded
    and keeps its channels from being pruned; it takes a training of the length of the network's own.
    """

    kind: Literal["prep_bn"] = "prep_bn"
    needs_training: ClassVar[bool] = True
    steps: Annotated[int, Field(ge=1, strict=True)] | None = None
    """Of training, until batch-norm stands alone; without it half of them."""
    eta: Annotated[float, Field(ge=-100, le=100)] = 1.0
    """What eta starts at."""

    @property
    def nothing_to_change(self) -> str:
        """See the base."""
        return "finds no layer norm over channels alone that runs once per image: leave it out"

    def changeable(self, model: nn.Module, example: Tensor) -> list[str]:
        """Layer norm over one dimension, that of the channels, whose parameters no other layer has, and that runs once.

        Of one that runs twice batch-norm would pool two distributions, and the fall count calls for steps.

        Raises:
            TraceError: the network fails on ``example``.
        """
        held = Counter(id(parameter) for _, parameter in model.named_parameters(remove_duplicate=False))
        layers = [
            name
            for name, module in model.named_modules()
            if _channel(module) is not None and all(held[id(parameter)] == 1 for parameter in module.parameters())
        ]
        calls = _calls(model, example, layers)
        return [name for name in layers if calls[name] <= 1]

    def with_steps(self, steps: int) -> Self:
        """Half of them, where none are given."""
        return self if self.steps else self.model_copy(update={"steps": max(1, steps // 2)})

    def change(self, layer: nn.Module) -> nn.Module:
        """Both normalisations."""
        return ProgressiveNorm(layer, self.eta, self.steps or 1)

    def finish(self, changed: nn.Module) -> nn.Module:
        """Batch-norm alone."""
        finished = copy.deepcopy(changed)
        for name in self.layers:
            progressive: Any = finished.get_submodule(name)
            replace_layer(finished, name, progressive.merged())
        return finished


class AnyBatchNorm(_BatchNorm):
    """Batch-norm of tensors ``(N, C, ...)`` of any number of dimensions."""

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 - torch's name
        del input


class ChannelsLastNorm(nn.Module):
    """Batch-norm of tensors ``(N, ..., C)``."""

    def __init__(self, norm: AnyBatchNorm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """Of the shape of ``x``."""
        y: Tensor = self.norm(x.transpose(1, -1))
        return y.transpose(1, -1)


class ProgressiveNorm(nn.Module):
    """Layer norm and batch-norm, mixed in training; the counter is a buffer, so that a resumed training goes on."""

    fallen: Tensor

    def __init__(self, layer: nn.Module, eta: float, steps: int) -> None:
        super().__init__()
        old: Any = layer
        device, dtype = old.weight.device, old.weight.dtype
        norm = AnyBatchNorm(old.weight.numel(), device=device, dtype=dtype)
        self.layer_norm = layer
        self.batch_norm = norm if _channel(layer) == 1 else ChannelsLastNorm(norm)
        self.eta = nn.Parameter(torch.tensor(eta, device=device, dtype=dtype))
        self.steps = steps
        self.register_buffer("fallen", torch.tensor(0, device=device))
        with torch.no_grad():
            norm.weight.copy_(old.weight)
            if old.bias is not None:
                norm.bias.copy_(old.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Of the shape of ``x``."""
        new: Tensor = self.batch_norm(x) + self.eta * x
        if not self.training:
            return new
        share = (1 - self.fallen / self.steps).clamp(min=0)
        self.fallen += 1
        old: Tensor = self.layer_norm(x)
        return share * old + (1 - share) * new

    @torch.no_grad()
    def merged(self) -> nn.Module:
        """One batch-norm that gives what this does in eval mode."""
        merged = copy.deepcopy(self.batch_norm)
        norm: Any = merged.norm if isinstance(merged, ChannelsLastNorm) else merged
        norm.weight += self.eta * (norm.running_var + norm.eps).sqrt()
        norm.bias += self.eta * norm.running_mean
        return merged


@torch.no_grad()
def _calls(model: nn.Module, example: Tensor, layers: Sequence[str]) -> Counter[str]:
    """How often one pass in eval mode calls each layer; the network stays as it was.

    Raises:
        TraceError: the pass fails.
    """
    watched, calls = with_own_buffers(model), Counter[str]()
    for name in layers:
        watched.get_submodule(name).register_forward_pre_hook(lambda _, __, name=name: calls.update([name]))
    try:
        with evaluation_mode(watched):
            watched(like_weights(watched, example))
    except (RuntimeError, TypeError, ValueError) as error:
        msg = f"the network fails on images of shape {tuple(example.shape)} ({type(error).__name__}: {one_line(error)})"
        raise TraceError(msg) from error
    return calls


@torch.no_grad()
def _channel(module: nn.Module) -> int | None:
    """The dimension that a layer norm normalises over, 1 or -1; None for what is none, or has no weight."""
    if not isinstance(module, nn.LayerNorm) or module.weight is None or len(module.normalized_shape) != 1:
        return None
    if type(module).forward is nn.LayerNorm.forward:
        return -1
    # A subclass for (N, C, H, W), as torchvision's and timm's: what it does tells.
    size = module.normalized_shape[0]
    x = torch.linspace(-1, 2, 6 * size, device=module.weight.device, dtype=module.weight.dtype).sin()
    x = x.view(1, 2, 3, size).permute(0, 3, 1, 2)
    expected = functional.layer_norm(x.permute(0, 2, 3, 1), (size,), module.weight, module.bias, module.eps)
    try:
        made = module(x)
    except (RuntimeError, ValueError):
        return None
    return 1 if made.shape == x.shape and torch.allclose(made.permute(0, 2, 3, 1), expected, atol=1e-4) else None
