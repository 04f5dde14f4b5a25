"""The network's own statistics mixed with those of the field."""

import copy
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from eyas.adaptation.adapters.base import Adaptation, Adapter
from eyas.adaptation.adapters.layer_statistics import PooledAdaptation


class AlphaBn(Adapter):
    r"""Source and field mixed in every batch-norm layer (You et al. 2021, arXiv:2110.04065).

    :math:`\mu = s\mu_s + (1-s)\mu_t`, :math:`v = s v_s + (1-s) v_t`; s is ``source_weight``: a number from 0 (as
    ``ada_bn``) to 1 (as ``none``); ``by_size`` :math:`s = N_0 / (N_0 + N)` after N images, ``source_images`` being
    :math:`N_0` (Schneider et al. 2020, arXiv:2006.16971); or ``chosen`` without labels: of ``weights`` the one whose
    answers to all images so far tell most of them, :math:`H(\bar p) - \overline{H(p)}`, sure of each image and of many
    classes together (Bridle et al. 1991).

    Use it first: no gradients, the result folds, and what the network knew stays in. ``chosen`` costs a pass for each
    weight, and takes a stream of one class for a change of the images.
    """

    kind: Literal["alpha_bn"] = "alpha_bn"
    min_batch: ClassVar[int] = 2
    source_weight: Annotated[float, Field(ge=0, le=1)] | Literal["by_size", "chosen"] = "by_size"
    """The s of the mixture, or the rule that makes it."""
    source_images: Annotated[int, Field(ge=1)] = 64
    """As many images as the network's own statistics count for (``by_size``)."""
    weights: Annotated[tuple[Annotated[float, Field(ge=0, le=1)], ...], Field(min_length=1)] = (
        0,
        0.25,
        0.5,
        0.75,
        0.9,
        1,
    )
    """What is chosen from (``chosen``)."""

    @property
    def reads_scores(self) -> bool:
        """Where the weight is chosen."""
        return self.source_weight == "chosen"

    def start(self, model: nn.Module, source: Tensor | None) -> Adaptation:
        """See the base for the promise."""
        return _Chosen(self, model) if self.source_weight == "chosen" else _Mixture(self, model)


class _Mixture(PooledAdaptation):
    """One weight, fixed or by the number of images."""

    adapter: AlphaBn

    @property
    def source_weight(self) -> float:
        weight = self.adapter.source_weight
        if isinstance(weight, str):
            return self.adapter.source_images / (self.adapter.source_images + float(self.memory["images"]))
        return weight


class _Chosen(Adaptation):
    """A mixture per weight W, over shared parameters; the most informative one answers."""

    sized_by_images: ClassVar[frozenset[str]] = frozenset({"probability_WK"})
    adapter: AlphaBn

    def __init__(self, adapter: AlphaBn, model: nn.Module) -> None:
        super().__init__(adapter, model)
        shared = {id(parameter): parameter for parameter in model.parameters()}
        members = [adapter.model_copy(update={"source_weight": weight}) for weight in adapter.weights]
        self.mixtures = [_Mixture(member, copy.deepcopy(model, dict(shared))) for member in members]
        parameters = {f"model.{name}" for name, _ in model.named_parameters()}
        for number, mixture in enumerate(self.mixtures):
            own = {name: tensor for name, tensor in mixture.state().items() if name not in parameters}
            self.memory |= {f"{number}.{name}": tensor for name, tensor in own.items()}
        device = next(iter(self.memory.values())).device
        self.memory["entropy_W"] = torch.zeros(len(members), dtype=torch.float64, device=device)
        self.memory["probability_WK"] = torch.zeros((len(members), 0), dtype=torch.float64, device=device)

    @torch.no_grad()
    def step(self, images: Tensor) -> Tensor:
        logits_WNK = torch.stack([mixture.step(images) for mixture in self.mixtures])
        probability_WNK = logits_WNK.double().softmax(2)
        sums = self.memory["probability_WK"]
        if not sums.numel():
            sums.resize_(probability_WNK[:, 0].shape).zero_()
        sums += probability_WNK.sum(1)
        self.memory["entropy_W"] += torch.special.entr(probability_WNK).sum((1, 2))
        return logits_WNK[self._best()]

    def _best(self) -> int:
        """Of which weight the answers tell most of the images."""
        count = max(float(self.memory["0.memory.images"]), 1.0)
        marginal = torch.special.entr(self.memory["probability_WK"] / count).sum(1)
        return int((marginal - self.memory["entropy_W"] / count).argmax())

    def finalise(self) -> nn.Module:
        """The network with the chosen mixture."""
        return self.plain(self.mixtures[self._best()].model)
