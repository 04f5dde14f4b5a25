"""Copies among images: a copy is no further evidence, so each image counts once wherever their number decides.

Shapes: N images, D of them that differ, C channels.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from eyas.errors import DataError


@dataclass(frozen=True)
class DistinctImages:
    """Images that differ, of equal ones the first, in their order."""

    whole: Tensor
    """All, ``(N, C, H, W)``."""

    @classmethod
    def of(cls, images: Tensor, at_least: int = 1) -> "DistinctImages":
        """See that enough of some images differ.

        Raises:
            DataError: too few do.
        """
        distinct = cls(images)
        if len(distinct.positions) < at_least:
            msg = f"`images` holds {len(images)}, of which {len(distinct.positions)} differ: give at least {at_least}"
            raise DataError(msg)
        return distinct

    @cached_property
    def first(self) -> Tensor:
        """For each image the position of the first that is equal to it, ``(N,)``."""
        bytes_NB = self.whole.detach().cpu().contiguous().flatten(1).view(torch.uint8).numpy()
        first: dict[bytes, int] = {}
        return torch.tensor([first.setdefault(hashlib.sha256(row).digest(), at) for at, row in enumerate(bytes_NB)])

    @cached_property
    def positions(self) -> Tensor:
        """Of the images that differ, ``(D,)``."""
        return torch.tensor(sorted(set(self.first.tolist())))

    @property
    def images(self) -> Tensor:
        """That differ, ``(D, C, H, W)``."""
        return self.whole[self.positions] if self.copies else self.whole

    @property
    def copies(self) -> int:
        """How many repeat another."""
        return len(self.whole) - len(self.positions)

    def labels(self, labels_N: Tensor, unknown: int) -> Tensor:
        """Of the images that differ, ``(D,)``: unknown where no copy has a label, or copies have different ones."""
        if not self.copies:
            return labels_N
        told: dict[int, set[int]] = {}
        for first, label in zip(self.first.tolist(), labels_N.tolist(), strict=True):
            told.setdefault(first, set()).update({label} - {unknown})
        return torch.tensor([min(known) if len(known) == 1 else unknown for _, known in sorted(told.items())])


def copies_left_out(copies: int) -> str:
    """As in `` (340 copies left out)``; empty without any."""
    return f" ({copies} {'copies' if copies > 1 else 'copy'} left out)" if copies else ""
