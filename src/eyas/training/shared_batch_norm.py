"""Batch-norm of a batch that several processes share: every process normalises by the statistics of the whole batch.

PyTorch's ``SyncBatchNorm`` does the same on GPUs alone. C channels; a channel has n values in all shares together.
"""

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from eyas.training.data_parallel import Processes

_SIGNATURE = inspect.signature(functional.batch_norm)


class WholeBatchStatistics(TorchFunctionMode):
    r"""Inside, ``torch.nn.functional.batch_norm`` in train mode takes mean and variance over all shares of a batch.

    Gradients are those of the whole batch, too: with :math:`\hat x = (x - \mu) / \sigma`

    .. math:: \partial x = \frac{\gamma}{\sigma} \Big(\partial y - \frac{1}{n} \sum \partial y
        - \frac{\hat x}{n} \sum \hat x \, \partial y\Big)

    (Ioffe and Szegedy 2015, arXiv:1502.03167, section 3), both sums over all processes. Statistics are added in
    float64. Layers that compute statistics of a batch in another way see their process's share alone.
    """

    def __init__(self, processes: Processes) -> None:
        super().__init__()
        self._processes = processes

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Every call of torch; all but one go on as they are."""
        if func is functional.batch_norm:
            call = _SIGNATURE.bind(*args, **(kwargs or {}))
            call.apply_defaults()
            return _batch_norm(self._processes, call.arguments)
        return func(*args, **(kwargs or {}))


@dataclass(frozen=True)
class _Whole:
    """Statistics of a batch, over all processes, in float64."""

    processes: Processes
    eps: float
    mean: Tensor
    """``(C,)``."""
    variance: Tensor
    """``(C,)``, biased."""
    count: Tensor
    """n, ``(1,)``."""

    @classmethod
    def of(cls, processes: Processes, eps: float, x: Tensor) -> "_Whole":
        variance_C, mean_C = torch.var_mean(_precise(x), _reduced(x), correction=0)
        count = torch.tensor([x.numel() // x.shape[1]], dtype=torch.float64, device=x.device)
        mean_C, square_C = mean_C.double() * count, (variance_C.double() + mean_C.double().square()) * count
        processes.sum([mean_C, square_C, count])
        mean_C = mean_C / count
        return cls(processes, eps, mean_C, (square_C / count - mean_C.square()).clamp(min=0), count)


def _batch_norm(processes: Processes, call: dict[str, Any]) -> Tensor:
    """What ``torch.nn.functional.batch_norm`` makes of these arguments where there is one process."""
    if not call["training"]:
        return functional.batch_norm(**call)
    whole = _Whole.of(processes, call["eps"], call["input"].detach())
    mean, variance = call["running_mean"], call["running_var"]
    if mean is not None:
        unbiased_C = whole.variance * (whole.count / (whole.count - 1).clamp(min=1))
        mean.lerp_(whole.mean.to(mean.dtype), call["momentum"])
        variance.lerp_(unbiased_C.to(variance.dtype), call["momentum"])
    output: Tensor = _Normalised.apply(call["input"], call["weight"], call["bias"], whole)  # type: ignore[no-untyped-call]
    return output


class _Normalised(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_C: Tensor | None, bias_C: Tensor | None, whole: _Whole) -> Tensor:
        kind = _precise(x).dtype if weight_C is None else weight_C.dtype
        mean_C, variance_C = whole.mean.to(kind), whole.variance.to(kind)
        ctx.save_for_backward(x, weight_C, mean_C, (variance_C + whole.eps).rsqrt())
        ctx.whole, ctx.has_bias = whole, bias_C is not None
        return functional.batch_norm(x, mean_C, variance_C, weight_C, bias_C, training=False, eps=whole.eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight_C, mean_C, inverse_C = ctx.saved_tensors
        slope, axes, inverse = _precise(gradients[0]), _reduced(x), _per_channel(inverse_C, x)
        normalised = (_precise(x) - _per_channel(mean_C, x)) * inverse
        bias_slope_C, weight_slope_C = slope.sum(axes), (slope * normalised).sum(axes)
        sums = [bias_slope_C.double(), weight_slope_C.double()]
        ctx.whole.processes.sum(sums)
        level, tilt = (_per_channel((total / ctx.whole.count).to(slope.dtype), x) for total in sums)
        inward = (slope - level - normalised * tilt) * inverse
        if weight_C is not None:
            inward = inward * _per_channel(weight_C, x)
        own = weight_slope_C if weight_C is not None else None
        return inward.to(x.dtype), own, bias_slope_C if ctx.has_bias else None, None


def _precise(x: Tensor) -> Tensor:
    """In float32 at least."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _reduced(x: Tensor) -> list[int]:
    """All dimensions but that of the channels."""
    return [0, *range(2, x.ndim)]


def _per_channel(values_C: Tensor, x: Tensor) -> Tensor:
    return values_C.view(1, -1, *[1] * (x.ndim - 2))
