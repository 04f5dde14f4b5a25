"""Each image normalised by a mixture that stands for the classes that the stream does not show.

Shapes: N images, K components, C channels.
"""

import math
from functools import partial
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from eyas.adaptation.adapters.adaptation import Adaptation
from eyas.adaptation.adapters.base import Adapter
from eyas.adaptation.adapters.prepared_network import working_precision
from eyas.calibration.batchnorm import named_batch_norms
from eyas.errors import DataError, ParameterError


class UnmixTns(Adapter):
    r"""Un-mixing test-time normalisation statistics (Tomar et al. 2024, arXiv:2401.08328).

    A layer keeps K components (means :math:`M_k`, variances :math:`V_k`), drawn around its own statistics so that their
    mixture has them. An image with mean :math:`\mu_i` and variance :math:`v_i` belongs to each by
    :math:`p_{ik} = \mathrm{softmax}_k(\cos(\mu_i, M_k) / T)`; it is normalised by the mixture of the
    :math:`(1 - p_{ik}) M_k + p_{ik}\mu_i` and :math:`(1 - p_{ik}) V_k + p_{ik} v_i`. Then
    :math:`M_k \leftarrow M_k + \eta\,\overline{p_{ik}(\mu_i - M_k)}`, :math:`V_k` alike, with
    :math:`\eta = 1 - (1 - m)^{N / N_{\max}}`. Layers of one value per channel keep their statistics.

    Use it on the device for streams that show one class after the other, and for single images: sorted images cost a
    ResNet-20 nothing, where ``ada_bn`` lost 22 points; strong noise it follows less far. It looks at each image while
    it answers, and so folds into no network; it takes 2 K C numbers per layer.
    """

    kind: Literal["unmix_tns"] = "unmix_tns"
    foldable: ClassVar[bool] = False
    assumes_iid: ClassVar[bool] = False
    components: Annotated[int, Field(ge=1, le=4096)] = 16
    """The K of the mixture; 128 where several fields are mixed."""
    momentum: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """The m of the update."""
    full_batch: Annotated[int, Field(ge=1)] = 64
    """Images for which the momentum counts whole, the N_max of the update."""
    temperature: Annotated[float, Field(ge=1e-6)] = 0.07
    """The T of the softmax."""
    between: bool = False
    """Add p (1 - p) (mean of the image - mean of the component)^2 to the variances, as a mixture has it."""

    def start(self, model: nn.Module, source: Tensor | None) -> Adaptation:
        """See the base for the promise."""
        return _Unmixed(self, model)


class _Unmixed(Adaptation):
    adapter: UnmixTns

    def __init__(self, adapter: UnmixTns, model: nn.Module) -> None:
        super().__init__(adapter, model)
        layers = named_batch_norms(model).items()
        self.layers = {name: layer for name, layer in layers if not isinstance(layer, nn.BatchNorm1d)}
        self.skipped += [name for name, _ in layers if name not in self.layers]
        if not self.layers:
            raise ParameterError(f"`model` has batch-norm of single values alone: {adapter.kind} needs images in it")
        for name, layer in self.layers.items():
            assert layer.running_mean is not None
            assert layer.running_var is not None
            wide = working_precision(layer.running_mean)
            held = layer.running_mean.to(wide), layer.running_var.to(wide)
            means, variances = initial_components(*held, adapter.components)
            self.memory |= {f"{name}.means": means, f"{name}.variances": variances}

    @torch.no_grad()
    def step(self, images: Tensor) -> Tensor:
        hooks = [
            layer.register_forward_hook(partial(self._normalise, name=name)) for name, layer in self.layers.items()
        ]
        try:
            logits: Tensor = self.model(images)
        finally:
            for hook in hooks:
                hook.remove()
        if not all(map(_can_be_kept, self.memory.values())):
            msg = "`images` hold values that no layer can work with: look at how they are decoded and normalised"
            raise DataError(msg)
        return logits

    def _normalise(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor, *, name: str) -> Tensor:
        """What the layer makes of its input, each image by its own statistics."""
        assert isinstance(layer, _BatchNorm)
        activations = inputs[0].to(working_precision(inputs[0]))
        variance_NC, mean_NC = torch.var_mean(activations, tuple(range(2, activations.ndim)), correction=0)
        mean, variance = self.mixture(name, mean_NC, variance_NC)
        shape = (*mean.shape, *(1 for _ in range(2, activations.ndim)))
        normalised = (activations - mean.reshape(shape)) * (variance + layer.eps).rsqrt().reshape(shape)
        if layer.affine:
            normalised = normalised * layer.weight.reshape(shape[1:]) + layer.bias.reshape(shape[1:])
        return normalised.to(output.dtype)

    def mixture(self, name: str, mean_NC: Tensor, variance_NC: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance ``(N, C)`` that the images are normalised by; the components follow the images."""
        means_KC, variances_KC = self.memory[f"{name}.means"], self.memory[f"{name}.variances"]
        alike_NK = functional.normalize(mean_NC, dim=1) @ functional.normalize(means_KC, dim=1).T
        share_NK1 = (alike_NK / self.adapter.temperature).softmax(1)[..., None]
        to_mean_NKC, to_variance_NKC = mean_NC[:, None] - means_KC, variance_NC[:, None] - variances_KC
        mean_NKC, variance_NKC = means_KC + share_NK1 * to_mean_NKC, variances_KC + share_NK1 * to_variance_NKC
        if self.adapter.between:
            variance_NKC = variance_NKC + share_NK1 * (1 - share_NK1) * to_mean_NKC**2
        step = 1 - (1 - self.adapter.momentum) ** (len(mean_NC) / self.adapter.full_batch)
        means_KC += step * (share_NK1 * to_mean_NKC).mean(0)
        variances_KC += step * (share_NK1 * to_variance_NKC).mean(0)
        return mean_NKC.mean(1), variance_NKC.mean(1) + mean_NKC.var(1, correction=0)


def _can_be_kept(components_KC: Tensor) -> bool:
    """Whether means squared, and variances summed, stay finite."""
    return float(components_KC.abs().max()) <= math.pow(torch.finfo(components_KC.dtype).max, 0.4)


def initial_components(mean_C: Tensor, variance_C: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Means and variances ``(K, C)`` whose mixture has the mean and the variance of a layer.

    The draws are standardised over the components. As published they are not, and 16 of them shift each mean by a fifth
    of the deviation.
    """
    noise_KC = torch.randn(count, len(mean_C), dtype=mean_C.dtype).to(mean_C.device)
    if count == 1:
        return mean_C.expand_as(noise_KC).clone(), variance_C.expand_as(noise_KC).clone()
    deviation_C, noise_mean_C = torch.std_mean(noise_KC, 0, correction=0)
    noise_KC = (noise_KC - noise_mean_C) / deviation_C
    return mean_C + (variance_C / 2).sqrt() * noise_KC, (variance_C / 2).expand_as(noise_KC).clone()
