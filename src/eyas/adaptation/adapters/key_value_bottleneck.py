"""A few labels change what a frozen network answers, and only to images like the labelled ones.

Shapes: N images, F features, C codebooks, M keys in each, D dimensions of a key, K classes.
"""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from eyas.adaptation.adapters.adaptation import Adaptation
from eyas.adaptation.adapters.base import Adapter, Rate
from eyas.adaptation.adapters.prepared_network import working_precision
from eyas.adaptation.adapters.readout import last_linear
from eyas.errors import DataError

_BATCH, _KEPT, _EPOCHS = 64, 0.9, 10
"""How keys are fitted: images at once, what their moving averages keep, epochs."""


class KeyValueBottleneck(Adapter):
    r"""Experimental. The discrete key-value bottleneck as a head (Träuble et al. 2023, arXiv:2207.11240).

    What the last linear layer reads is projected at random, once per codebook, to ``size`` dimensions, and snapped to
    the nearest of M keys; the answer is the mean of the logits that these keys hold. Keys are fitted to images of the
    training by vector quantisation with moving averages, and stay; each begins with the mean of the network's own
    logits for the images that hit it. Images with labels take ``steps`` steps of plain gradient descent of the
    cross-entropy, closed form: only keys that they hit change.

    Use it to try the method, in the library and by ``observe(images, labels)`` alone, as its head is not the network's:
    what is learnt of one kind of image leaves others as they are, and it needs no gradients. Under corruption 512
    labels gain a third of what ``ada_bn`` gains without any.
    """

    kind: Literal["key_value_bottleneck"] = "key_value_bottleneck"
    needs_labels: ClassVar[bool] = True
    needs_source: ClassVar[bool] = True
    foldable: ClassVar[bool] = False
    assumes_iid: ClassVar[bool] = False
    codebooks: Annotated[int, Field(ge=1, le=4096)] = 256
    """The C, each with a projection, keys and values of its own."""
    keys: Annotated[int, Field(ge=1, le=4096)] = 64
    """The M per codebook."""
    size: Annotated[int, Field(ge=1, le=4096)] = 8
    """Dimensions of a key."""
    rate: Rate = 0.3
    """Of the descent, per image and codebook."""
    steps: Annotated[int, Field(ge=1, le=10_000)] = 10
    """Of the descent, per batch."""

    @property
    def reads_scores(self) -> bool:
        """The network's own logits are what it begins with."""
        return True

    def start(self, model: nn.Module, source: Tensor | None) -> Adaptation:
        """See the base for the promise."""
        assert source is not None
        return _Bottleneck(self, model, source)


class _Bottleneck(Adaptation):
    adapter: KeyValueBottleneck

    @torch.no_grad()
    def __init__(self, adapter: KeyValueBottleneck, model: nn.Module, source: Tensor) -> None:
        super().__init__(adapter, model)
        device = next(iter(model.state_dict().values())).device
        source = source.to(device)
        self.readout = last_linear(model, source[:1])
        features: list[Tensor] = []
        hook = self.readout.register_forward_pre_hook(lambda _layer, inputs: features.append(inputs[0]))
        try:
            logits_NK = torch.cat([model(batch) for batch in torch.split(source, _BATCH)])
        finally:
            hook.remove()
        features_NF = torch.cat(features)
        features_NF = features_NF.to(working_precision(features_NF))
        projections_CFD = torch.randn(adapter.codebooks, features_NF.shape[1], adapter.size).to(device)
        self.memory["projections"] = projections_CFD.to(features_NF.dtype) / features_NF.shape[1] ** 0.5
        projected_CND = features_NF @ self.memory["projections"]
        self.memory["keys"] = fitted_keys(projected_CND, adapter.keys)
        hits_CN = nearest(projected_CND, self.memory["keys"])
        self.memory["values"] = mean_by_key(
            logits_NK.to(features_NF).expand(adapter.codebooks, -1, -1), hits_CN, adapter.keys
        )

    def step(self, images: Tensor) -> Tensor:
        """Answer; without labels there is nothing to learn."""
        return self._answer(images)[0]

    def teach(self, images: Tensor, labels_N: Tensor) -> Tensor:
        """Answer, then learn the labels."""
        classes = self.memory["values"].shape[2]
        if int(labels_N.max()) >= classes:
            raise DataError(f"`labels` name class {int(labels_N.max())}: the network has {classes}, from 0")
        logits_NK, hits_CN = self._answer(images)
        self.learn(hits_CN, labels_N)
        return logits_NK

    @torch.no_grad()
    def _answer(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits, and the keys that were hit."""
        hits: list[Tensor] = []

        def read_values(_layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            projections = self.memory["projections"]
            hits.append(nearest(inputs[0].to(projections.dtype) @ projections, self.memory["keys"]))
            return self.read(hits[-1]).to(output.dtype)

        hook = self.readout.register_forward_hook(read_values)
        try:
            logits_NK: Tensor = self.model(images)
        finally:
            hook.remove()
        return logits_NK, hits[-1]

    def read(self, hits_CN: Tensor) -> Tensor:
        """Logits ``(N, K)`` that these keys hold, averaged over the codebooks."""
        values_CMK = self.memory["values"]
        return values_CMK[torch.arange(len(hits_CN), device=hits_CN.device)[:, None], hits_CN].mean(0)

    @torch.no_grad()
    def learn(self, hits_CN: Tensor, labels_N: Tensor) -> None:
        """Descend the cross-entropy of these keys' values; its gradient is the probabilities less the labels."""
        values_CMK = self.memory["values"]
        codebooks = torch.arange(len(hits_CN), device=hits_CN.device)[:, None].expand_as(hits_CN)
        for _ in range(self.adapter.steps):
            gradient_NK = self.read(hits_CN).softmax(1)
            gradient_NK[torch.arange(len(labels_N), device=labels_N.device), labels_N.long()] -= 1
            change_CNK = (-self.adapter.rate * gradient_NK).expand(len(hits_CN), -1, -1)
            values_CMK.index_put_((codebooks, hits_CN), change_CNK, accumulate=True)


def nearest(projected_CND: Tensor, keys_CMD: Tensor) -> Tensor:
    """The nearest key of each codebook to each image, ``(C, N)``."""
    return torch.cdist(projected_CND, keys_CMD).argmin(2)


def mean_by_key(values_CNX: Tensor, hits_CN: Tensor, keys: int) -> Tensor:
    """The mean of what belongs to each key, ``(C, M, X)``; 0 where nothing does."""
    hit_CMN = (hits_CN[:, None] == torch.arange(keys, device=hits_CN.device)[:, None]).to(values_CNX.dtype)
    return hit_CMN @ values_CNX / hit_CMN.sum(2, keepdim=True).clamp(min=1)


def fitted_keys(projected_CND: Tensor, keys: int) -> Tensor:
    """Keys ``(C, M, D)`` by vector quantisation: each follows the moving average of what is nearest to it.

    They begin at images drawn at random; a key that nothing hits stays.
    """
    codebooks, images, size = projected_CND.shape
    drawn_CM = torch.randint(images, (codebooks, keys)).to(projected_CND.device)
    keys_CMD = projected_CND.gather(1, drawn_CM[..., None].expand(-1, -1, size))
    counts_CM1, sums_CMD = torch.ones_like(keys_CMD[..., :1]), keys_CMD.clone()
    for _ in range(_EPOCHS):
        order = torch.randperm(images).to(projected_CND.device)
        for batch_CND in torch.split(projected_CND[:, order], _BATCH, 1):
            hits_CN = nearest(batch_CND, keys_CMD)
            hit_CMN = (hits_CN[:, None] == torch.arange(keys, device=hits_CN.device)[:, None]).to(batch_CND.dtype)
            counts_CM1.mul_(_KEPT).add_(hit_CMN.sum(2, keepdim=True), alpha=1 - _KEPT)
            sums_CMD.mul_(_KEPT).add_(hit_CMN @ batch_CND, alpha=1 - _KEPT)
            keys_CMD = sums_CMD / counts_CM1
    return keys_CMD
