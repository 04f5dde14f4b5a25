"""Images of the training without labels: the network's own answers stand for these, and classes are drawn evenly."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class SourceImages:
    """Images ``(N, C, H, W)`` and what the network answers to them, ``(N,)``."""

    images: Tensor
    labels: Tensor

    @classmethod
    @torch.no_grad()
    def answered(cls, model: nn.Module, images: Tensor, batch_size: int = 128) -> "SourceImages":
        """With the answers of ``model``, on its device."""
        device = next(iter(model.state_dict().values())).device
        images = images.to(device)
        batches = torch.split(images, batch_size)
        return cls(images, torch.cat([model(batch).argmax(1) for batch in batches]))

    def class_shares(self, temperature: float) -> tuple[Tensor, Tensor]:
        r"""Classes that occur, and how often each is drawn: :math:`P(c) \propto e^{(1 - f_c) / T}` by its share f."""
        classes_M, counts_M = torch.unique(self.labels.cpu(), return_counts=True)
        return classes_M, ((1 - counts_M / counts_M.sum()) / temperature).softmax(0)

    def draw(self, count: int, temperature: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """So many images with their answers: a class first, then one of its images."""
        classes_M, shares_M = self.class_shares(temperature)
        drawn_N = classes_M[torch.multinomial(shares_M, count, replacement=True, generator=generator)]
        belongs_NS = drawn_N[:, None] == self.labels.cpu()
        rows = torch.multinomial(belongs_NS.float(), 1, generator=generator)[:, 0].to(self.images.device)
        return self.images[rows], self.labels[rows]
