"""Widths that were learned for one budget, at several points of their training.

Shapes: T points, G channel groups in the order of ``space.groups``.
"""

import hashlib
import json
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from eyas.errors import DataError

if TYPE_CHECKING:
    from eyas.sampling.placement import Placement, Positions

_Width = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class WidthTrajectory:
    """Widths that the training of :mod:`eyas.sampling.threshold_gates` went through."""

    dense: tuple[_Width, ...]
    """Channels of each group, ``(G,)``."""
    widths: Annotated[tuple[tuple[_Width, ...], ...], Field(min_length=1)]
    """Channels that stay, ``(T, G)``: the last point of the training first, and back from there."""

    @property
    def digest(self) -> str:
        """sha256 of all numbers."""
        return hashlib.sha256(json.dumps(self.to_json()).encode()).hexdigest()

    def shares(self, placement: "Placement", floor: "Positions") -> NDArray[np.float64]:
        """How far each width lies from a floor to all channels, among those that are legal, 0 to 1, ``(T, G)``.

        Raises:
            DataError: the widths are of another search space.
        """
        if list(self.dense) != [int(legal[-1]) for legal in placement.legal]:
            msg = "the learned widths belong to another search space: learn them again"
            raise DataError(msg)
        columns = [
            np.interp(column, legal, np.arange(len(legal)))
            for column, legal in zip(np.array(self.widths).T, placement.legal, strict=True)
        ]
        shares_TG: NDArray[np.float64] = (np.stack(columns, 1) - floor) / np.maximum(placement.top - floor, 1)
        return shares_TG.clip(0, 1)

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {"dense": self.dense, "widths": self.widths}

    @classmethod
    def from_json(cls, content: object) -> "WidthTrajectory":
        """What :meth:`to_json` gave, or its text.

        Raises:
            DataError: it is nothing of the kind.
        """
        try:
            read = TypeAdapter(cls)
            learned = (
                read.validate_json(content) if isinstance(content, (str, bytes)) else read.validate_python(content)
            )
        except ValidationError as error:
            msg = f"no learned widths: {error.errors()[0]['msg']}; learn them again"
            raise DataError(msg) from error
        if any(len(widths) != len(learned.dense) for widths in learned.widths):
            msg = "no learned widths: points differ in their number of groups; learn them again"
            raise DataError(msg)
        return learned
