"""Optimisers for large batches: each layer's step in proportion to the norm of its weights.

Torch has none of the two. They take its parameter groups, and a group without weight decay (biases, batch-norm) is
stepped without the proportion, as published code does.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT


class _LayerWise(torch.optim.Optimizer):
    """Steps parameter by parameter."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; ``closure``, where there is one, computes loss and gradients first."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step(parameter, parameter.grad, self.state[parameter], group)
        return loss

    def _step(self, weight: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        raise NotImplementedError(f"{type(self).__name__} does not say how it steps")


class Lars(_LayerWise):
    r"""Layer-wise adaptive rate scaling (You et al. 2017, arXiv:1708.03888, algorithm 1).

    .. math:: u = \eta \frac{\|w\|}{\|g\| + \beta \|w\| + \epsilon} (g + \beta w),
        \quad m \leftarrow \mu m + u, \quad w \leftarrow w - \gamma m

    The learning rate :math:`\gamma` is outside of the momentum, as in PyTorch's SGD. Where a norm is zero, or
    :math:`\beta` is, the proportion is 1.

    Args:
        params: parameters, or groups of them.
        lr: gamma, of groups without weight decay as well.
        momentum: mu.
        weight_decay: beta.
        trust_coefficient: eta.
        eps: epsilon.
    """

    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 1.0,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        trust_coefficient: float = 1e-3,
        eps: float = 1e-8,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(params, defaults | {"trust_coefficient": trust_coefficient, "eps": eps})

    def _step(self, weight: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        decay = group["weight_decay"]
        update = gradient + decay * weight
        if decay:
            norm, slope = weight.norm(), gradient.norm()
            trust = group["trust_coefficient"] * norm / (slope + decay * norm + group["eps"])
            update = update * torch.where((norm > 0) & (slope > 0), trust, 1.0)
        if group["momentum"]:
            state.setdefault("momentum_buffer", torch.zeros_like(weight)).mul_(group["momentum"]).add_(update)
            update = state["momentum_buffer"]
        weight.sub_(group["lr"] * update)


class Lamb(_LayerWise):
    r"""Adam with layer-wise proportions (You et al. 2020, arXiv:1904.00962, algorithm 2).

    .. math:: r = \frac{\hat m}{\sqrt{\hat v} + \epsilon} + \lambda w,
        \quad w \leftarrow w - \gamma \frac{\|w\|}{\|r\|} r

    Where a norm is zero, or :math:`\lambda` is, the proportion is 1. Clipping of all gradients together, to 1 in the
    published runs, is the recipe's ``clip_norm``.

    Args:
        params: parameters, or groups of them.
        lr: gamma.
        betas: of the moments m and v, whose bias is corrected.
        eps: epsilon.
        weight_decay: lambda.
    """

    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def _step(self, weight: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if not state:
            state |= {"step": 0, "exp_avg": torch.zeros_like(weight), "exp_avg_sq": torch.zeros_like(weight)}
        state["step"] += 1
        for name, beta, value in zip(
            ("exp_avg", "exp_avg_sq"), group["betas"], (gradient, gradient.square()), strict=True
        ):
            state[name].lerp_(value, 1 - beta)
        mean, square = (
            state[name] / (1 - beta ** state["step"])
            for name, beta in zip(("exp_avg", "exp_avg_sq"), group["betas"], strict=True)
        )
        update = mean / (square.sqrt() + group["eps"]) + group["weight_decay"] * weight
        if group["weight_decay"]:
            norm, length = weight.norm(), update.norm()
            update = update * torch.where((norm > 0) & (length > 0), norm / length, 1.0)
        weight.sub_(group["lr"] * update)
