"""What the criteria share that look at calibration images."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from eyas.errors import DataError
from eyas.pruning.calibration_set import CalibrationSet
from eyas.pruning.criteria.base import Criterion

if TYPE_CHECKING:
    from torch import nn


class ImageCriterion(Criterion):
    """Rates channels by what the dense network does on calibration images."""

    images: Annotated[int, Field(ge=1)] = 512
    """At most so many calibration images."""

    def prepare(self, model: "nn.Module", data: Any) -> dict[Any, Any]:
        """What all groups need of the images, by parameter; what was made before is returned as it is.

        Raises:
            DataError: there are no images, or no labels where these are read.
        """
        return self._prepared(data, partial(self.observe, model))

    def _prepared(self, data: Any, observe: Callable[[CalibrationSet], dict[Any, Any]]) -> dict[Any, Any]:
        from eyas.pruning.activations import require_images

        if isinstance(data, dict):
            return data
        if data is None:
            return self.without_images()
        seen = data if isinstance(data, CalibrationSet) else CalibrationSet(require_images(data))
        if self.reads_labels and seen.labels is None:
            msg = f"criterion {self.kind} with labels: true has none of the calibration images: leave labels: true out"
            raise DataError(msg)
        return observe(seen.first(self.images))

    def without_images(self) -> dict[Any, Any]:
        """What stands in where there are no images.

        Raises:
            DataError: nothing does.
        """
        msg = f"criterion {self.kind} rates channels on calibration images, and has none: give some, or take l1_norm"
        raise DataError(msg)

    def observe(self, model: "nn.Module", data: CalibrationSet) -> dict[Any, Any]:
        """Look at the images, in one pass or more; the network stays as it was."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it sees in images")
