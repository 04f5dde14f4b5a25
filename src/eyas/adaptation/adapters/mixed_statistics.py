"""A network's own statistics mixed with those of the field, by one weight or by one that is chosen."""

import copy
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from eyas.adaptation.adapters.adaptation import Adaptation
from eyas.adaptation.adapters.layer_statistics import PooledAdaptation

if TYPE_CHECKING:
    from eyas.adaptation.adapters.alpha_bn import AlphaBn


class Mixture(PooledAdaptation):
    """One weight, fixed or by the number of images."""

    adapter: "AlphaBn"

    @property
    def source_weight(self) -> float:
        """The adapter's, or by the number of images."""
        weight = self.adapter.source_weight
        if isinstance(weight, str):
            return self.adapter.source_images / (self.adapter.source_images + float(self.memory["images"]))
        return weight

    @property
    def exact(self) -> bool:
        """As the adapter says."""
        return self.adapter.exact


class ChosenMixture(Adaptation):
    """A mixture per weight W, over shared parameters; the most informative one answers."""

    sized_by_images: ClassVar[frozenset[str]] = frozenset({"probability_WK"})
    adapter: "AlphaBn"

    def __init__(self, adapter: "AlphaBn", model: nn.Module) -> None:
        super().__init__(adapter, model)
        shared = {id(parameter): parameter for parameter in model.parameters()}
        members = [adapter.model_copy(update={"source_weight": weight}) for weight in adapter.weights]
        self.mixtures = [Mixture(member, copy.deepcopy(model, dict(shared))) for member in members]
        parameters = {f"model.{name}" for name, _ in model.named_parameters()}
        for number, mixture in enumerate(self.mixtures):
            own = {name: tensor for name, tensor in mixture.state().items() if name not in parameters}
            self.memory |= {f"{number}.{name}": tensor for name, tensor in own.items()}
        device = next(iter(self.memory.values())).device
        self.memory["entropy_W"] = torch.zeros(len(members), dtype=torch.float64, device=device)
        self.memory["probability_WK"] = torch.zeros((len(members), 0), dtype=torch.float64, device=device)

    @torch.no_grad()
    def step(self, images: Tensor) -> Tensor:
        """Every mixture looks at the images; the answer is the most informative one's."""
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
