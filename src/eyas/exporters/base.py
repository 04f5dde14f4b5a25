"""The root of the exporters: what an exporter promises."""

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, SerializeAsAny
from torch import Tensor, nn

from eyas.component import Component


class Exporter(Component):
    """Writes a network as one file that its runtime loads without our code."""

    def __call__(self, model: nn.Module, example_NCHW: Tensor, path: Path) -> Path:
        """Write ``model`` (in eval mode, on the CPU) to ``path``; the batch size stays free."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it exports")

    def run(self, path: Path, images_NCHW: Tensor) -> Tensor:
        """What the written file computes on ``images_NCHW`` in its own runtime: logits ``(N, K)``."""
        raise NotImplementedError(f"{type(self).__name__} does not say how its files are run")


AnyExporter = Annotated[SerializeAsAny[Exporter], BeforeValidator(Exporter.parse)]
