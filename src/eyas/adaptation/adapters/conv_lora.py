"""Low-rank changes of the convolutions, learnt from a teacher that follows."""

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from eyas.adaptation.adapters.adaptation import Adaptation
from eyas.adaptation.adapters.affine_descent import affine_parameters
from eyas.adaptation.adapters.base import Adapter, Rate
from eyas.adaptation.adapters.self_training import SelfTraining
from eyas.calibration.batchnorm import named_batch_norms


class ConvLora(Adapter):
    r"""Low-rank deltas and statistics of the field by self-training (Aleem et al. 2024, arXiv:2402.04964).

    The weights of each convolution become :math:`W + BA / r`: A a convolution to r channels (Kaiming-uniform), B from
    these to all outputs (zero), as PEFT has it; convolutions of groups stay, and those whose weights are computed
    (``torch.nn.utils.parametrizations``). A, B and the affine parameters of batch-norm learn, on noisy images, the
    answers of a teacher that averages them, weighted by the share of answers above ``confidence``: it stands for the
    early head of the paper, which needs masks. The end is merged: no parameter and no operation is added.

    Use it on thousands of images of a field where ``alpha_bn`` already answers most of them; on few it is ``ada_bn``.
    """

    kind: Literal["conv_lora"] = "conv_lora"
    needs_backward: ClassVar[bool] = True
    min_batch: ClassVar[int] = 2
    rank: Annotated[int, Field(ge=1, le=1024)] = 2
    """The r of the deltas."""
    rate: Rate = 1e-3
    """Of Adam."""
    confidence: Annotated[float, Field(ge=0, lt=1)] = 0.968
    """Probability from which an answer of the teacher is sure."""
    noise: Annotated[float, Field(ge=0)] = 0.1
    """Standard deviation of the noise on images for the student, as they are normalised."""

    def start(self, model: nn.Module, source: Tensor | None) -> Adaptation:
        """See the base for the promise."""
        convolutions = plain_convolutions(model)
        learnt: dict[str, Tensor] = {}
        for name, layer in convolutions.items():
            down = layer.weight.new_empty((self.rank, *layer.weight.shape[1:]))
            nn.init.kaiming_uniform_(down, a=math.sqrt(5))
            learnt |= {f"{name}.down": down, f"{name}.up": layer.weight.new_zeros((layer.out_channels, self.rank))}
        return _LowRank(self, model, learnt | affine_parameters(named_batch_norms(model)), [*convolutions])


def plain_convolutions(model: nn.Module) -> dict[str, nn.Conv2d]:
    """Convolutions of one group whose weights are parameters, by name; of those that share them the first."""
    by_weight: dict[nn.Parameter, tuple[str, nn.Conv2d]] = {}
    for name, layer in model.named_modules():
        weight = dict(layer.named_parameters(recurse=False)).get("weight")
        if isinstance(layer, nn.Conv2d) and layer.groups == 1 and weight is not None:
            by_weight.setdefault(weight, (name, layer))
    return dict(by_weight.values())


class _LowRank(SelfTraining):
    adapter: ConvLora

    def __init__(self, adapter: ConvLora, model: nn.Module, learnt: dict[str, Tensor], names: list[str]) -> None:
        super().__init__(adapter, model, learnt, rate=adapter.rate, confidence=adapter.confidence)
        self.bases = {name: model.get_parameter(f"{name}.weight").detach().clone() for name in names}
        self.memory |= {f"base.{name}": tensor for name, tensor in self.bases.items()}

    def weights(self, learnt: Mapping[str, Tensor]) -> dict[str, Tensor]:
        merged = {name: tensor for name, tensor in learnt.items() if not name.endswith((".down", ".up"))}
        for name, base in self.bases.items():
            delta = torch.einsum("or,rihw->oihw", learnt[f"{name}.up"], learnt[f"{name}.down"])
            merged[f"{name}.weight"] = base + delta / self.adapter.rank
        return merged

    def loss(self, images: Tensor, labels_N: Tensor, sure: float, generator: torch.Generator) -> Tensor:
        noise = torch.randn(images.shape, generator=generator).to(images)
        return sure * functional.cross_entropy(self.answer(images + self.adapter.noise * noise), labels_N)
