"""The root of the calibrators: what a calibrator promises."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator, SerializeAsAny

from eyas.component import Component

if TYPE_CHECKING:
    from torch import Tensor, nn


class Calibrator(Component):
    """Re-estimates batch-norm statistics, and changes nothing else."""

    def __call__(self, model: "nn.Module", batches: "Iterable[Tensor]") -> int:
        """Run ``batches`` (each ``(N, C, H, W)``) through the model and write the new statistics.

        Only batch-norm buffers change: parameters, train/eval flags and momenta come back bit for bit,
        also after an error. Returns the number of images seen.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how it calibrates")


AnyCalibrator = Annotated[SerializeAsAny[Calibrator], BeforeValidator(Calibrator.validated)]
