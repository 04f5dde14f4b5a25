"""Random importance: the baseline every criterion has to beat."""

import hashlib
from typing import TYPE_CHECKING, Any, Literal

from eyas.pruning.criteria.base import Criterion
from eyas.pruning.groups import ChannelGroup

if TYPE_CHECKING:
    from torch import Tensor, nn


class Random(Criterion):
    """Uniform random numbers, one per channel, from the seed and the group's name alone.

    Use it as what any other has to beat.
    """

    kind: Literal["random"] = "random"
    seed: int = 0
    """Another one, another ranking."""

    def __call__(self, group: ChannelGroup, model: "nn.Module", data: Any = None) -> "Tensor":
        """Importance of each channel, shape ``(group.channels,)``."""
        import torch

        digest = hashlib.sha256(f"{self.seed}:{group.name}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
        return torch.rand(group.channels, generator=generator, dtype=torch.float64)
