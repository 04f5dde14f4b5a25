"""Statistics moved gradually, weights and biases held where a channel carries over."""

import math
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from eyas.adaptation.adapters.adaptation import Adaptation
from eyas.adaptation.adapters.affine_descent import AffineAdaptation, entropy
from eyas.adaptation.adapters.base import Adapter, Rate


class Osuda(Adapter):
    r"""Off-the-shelf source-free adaptation of batch-norm (Liu et al. 2021, arXiv:2106.12497).

    After t batches the statistics are :math:`e^{-\tau t}` the network's own and for the rest the field's. Weights and
    biases minimise the entropy of the answers plus
    :math:`\lambda \sum_c (1 + a_c)(|\gamma_c - \gamma_c^s| + |\beta_c - \beta_c^s|)`, where
    :math:`a_c \propto 1 / (1 + d_c)`, 1 on average in a layer, and
    :math:`d_c = |\mu_s / \sqrt{v_s + \epsilon} - \mu_t / \sqrt{v_t + \epsilon}|`: what carries over stays. The sum is
    minimised by a proximal step behind each step of Adam, so that a large :math:`\lambda` keeps both bit for bit.

    Use it between ``alpha_bn`` and ``tent``: it moves slowly, and less where the field is like the training.
    """

    kind: Literal["osuda"] = "osuda"
    needs_backward: ClassVar[bool] = True
    min_batch: ClassVar[int] = 2
    tau: Annotated[float, Field(ge=0)] = 0.5
    """How fast the network's own statistics are left, per batch; 0: never."""
    strength: Annotated[float, Field(ge=0)] = 0.1
    """The lambda that holds weights and biases."""
    rate: Rate = 1e-3
    """Of Adam."""

    def start(self, model: nn.Module, source: Tensor | None) -> Adaptation:
        """See the base for the promise."""
        return _Gradual(self, model)


class _Gradual(AffineAdaptation):
    adapter: Osuda

    def __init__(self, adapter: Osuda, model: nn.Module) -> None:
        super().__init__(adapter, model, adapter.rate)
        self.memory["batches"] = torch.zeros(())
        self.memory |= {f"source.{name}": parameter.detach().clone() for name, parameter in self.affine.items()}

    @property
    def source_weight(self) -> float:
        return math.exp(-self.adapter.tau * float(self.memory["batches"]))

    def loss(self, logits_NK: Tensor) -> Tensor:
        return entropy(logits_NK)

    def step(self, images: Tensor) -> Tensor:
        self.memory["batches"] += 1
        logits = super().step(images)
        self._hold()
        return logits

    @torch.no_grad()
    def _hold(self) -> None:
        """The proximal step of the penalty: the change shrinks by a threshold, to 0 at the least."""
        for name, parameter in self.affine.items():
            source = self.memory[f"source.{name}"]
            strength = self.adapter.strength * (1 + self.transferability(name.rpartition(".")[0]))
            change = parameter - source
            shrunk = (change.abs() - self.adapter.rate * strength.to(change.dtype)).clamp(min=0)
            parameter.copy_(source + change.sign() * shrunk)

    def transferability(self, name: str) -> Tensor:
        """The :math:`a_c` of a layer, ``(C,)``: 1 on average, more where source and field are alike."""
        eps = self.layers[name].eps
        source = self.memory[f"{name}.source_mean"] / (self.memory[f"{name}.source_var"] + eps).sqrt()
        field = self.memory[f"{name}.mean"] / (self.memory[f"{name}.var"] + eps).sqrt()
        alike_C = 1 / (1 + (source - field).abs())
        return alike_C / alike_C.mean()
