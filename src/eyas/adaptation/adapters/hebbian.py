"""Filters of the first convolution that follow what they see, and batch-norm behind them that makes answers surer."""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.grad import conv2d_weight

from eyas.adaptation.adapters.adaptation import Adaptation
from eyas.adaptation.adapters.affine_descent import AffineAdaptation, entropy
from eyas.adaptation.adapters.base import Adapter, Rate
from eyas.calibration.batchnorm import named_batch_norms
from eyas.errors import ParameterError


class Hebbian(Adapter):
    r"""Experimental. Neuro-modulated Hebbian learning (Tang et al. 2023, arXiv:2303.00914).

    Per batch the filters :math:`W_k` of the first convolution learn by a softly competitive rule of Oja: of each patch
    x with :math:`u = Wx` and :math:`y = \mathrm{softmax}(u / T)`, :math:`\Delta W_k = \eta\, \overline{y_k (x - u_k
    W_k)}`, whose fixed point has norm 1. Then weights and biases of the batch-norm behind them, which stand for the
    paper's modulation, take a step of Adam down the entropy of the answers. Statistics are the field's, as in
    ``ada_bn``.

    Use it to try the method: no field is known where it is to be preferred. It answers as ``ada_bn`` does where
    ``learning`` is small, and loses on clean images and fog where it is not.
    """

    kind: Literal["hebbian"] = "hebbian"
    needs_backward: ClassVar[bool] = True
    min_batch: ClassVar[int] = 2
    learning: Annotated[float, Field(ge=0)] = 1e-3
    """The eta of the filters; 0: they stay, as in ``tent`` with ``loss: entropy`` on that batch-norm alone."""
    temperature: Annotated[float, Field(ge=1e-6)] = 1.0
    """The T of the competition."""
    rate: Rate = 1e-3
    """Of Adam."""

    def start(self, model: nn.Module, source: Tensor | None) -> Adaptation:
        """See the base for the promise."""
        return _Hebbian(self, model)


class _Hebbian(AffineAdaptation):
    adapter: Hebbian

    def __init__(self, adapter: Hebbian, model: nn.Module) -> None:
        convolution, name = first_layers(model)
        super().__init__(adapter, model, adapter.rate, only={name})
        self.convolution, self.norm = convolution, self.layers[name]

    def loss(self, logits_NK: Tensor) -> Tensor:
        return entropy(logits_NK)

    def step(self, images: Tensor) -> Tensor:
        if self.image_shape is None:
            self._require_order(images[: self.adapter.min_batch])
        with torch.no_grad():
            change = hebbian_change(self.convolution, images, self.adapter.temperature)
            self.convolution.weight += self.adapter.learning * change
        return super().step(images)

    @torch.no_grad()
    def _require_order(self, images: Tensor) -> None:
        """See that the convolution reads the images, and the batch-norm what it makes."""
        seen: list[Tensor] = []
        hooks = [
            self.convolution.register_forward_hook(lambda _layer, inputs, output: seen.extend((inputs[0], output))),
            self.norm.register_forward_pre_hook(lambda _layer, inputs: seen.append(inputs[0])),
        ]
        try:
            self.model(images)
        finally:
            for hook in hooks:
                hook.remove()
        if len(seen) != 3 or seen[0] is not images or seen[1] is not seen[2]:
            raise ParameterError(_NO_FIRST_LAYERS)


_NO_FIRST_LAYERS = (
    "`model` does not begin with a convolution of the images and its batch-norm: hebbian changes these two; take "
    "alpha_bn"
)


def first_layers(model: nn.Module) -> tuple[nn.Conv2d, str]:
    """The first convolution, and the name of the batch-norm with weights that comes next, as modules are listed.

    Raises:
        ParameterError: there are none, or they do not fit.
    """
    convolution = next((layer for layer in model.modules() if isinstance(layer, nn.Conv2d)), None)
    name, norm = next(iter(named_batch_norms(model).items()))
    if convolution is None or not norm.affine or norm.num_features != convolution.out_channels:
        raise ParameterError(_NO_FIRST_LAYERS)
    return convolution, name


def hebbian_change(convolution: nn.Conv2d, images: Tensor, temperature: float) -> Tensor:
    r""":math:`\overline{y_k (x - u_k W_k)}` over all patches, of the shape of the weights.

    Args:
        convolution: whose weights are the :math:`W_k`; its bias has no part in it.
        images: that it reads, ``(N, C, H, W)``.
        temperature: of the softmax over the filters.
    """
    weight, around = convolution.weight, convolution._reversed_padding_repeated_twice
    mode = "constant" if convolution.padding_mode == "zeros" else convolution.padding_mode
    padded = functional.pad(images, around, mode)
    stride, dilation, groups = convolution.stride, convolution.dilation, convolution.groups
    potential = functional.conv2d(padded, weight, None, stride, 0, dilation, groups)
    response = (potential / temperature).softmax(1)
    patches = potential.numel() / len(weight)
    drawn_in = conv2d_weight(  # type: ignore[no-untyped-call]  # the sum of y_k x
        padded, weight.shape, response, stride, 0, dilation, groups
    )
    held_back = (response * potential).sum((0, 2, 3)).reshape(-1, 1, 1, 1) * weight
    change: Tensor = (drawn_in - held_back) / patches
    return change
