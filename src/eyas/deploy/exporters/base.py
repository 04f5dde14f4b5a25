"""The root of the exporters: what an exporter promises."""

import importlib.util
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, SerializeAsAny
from torch import Tensor, nn

from eyas.component import Component
from eyas.errors import MissingExtraError


class Exporter(Component):
    """Writes a network as one file that its runtime loads without our code."""

    suffix: ClassVar[str] = ".onnx"
    """Ends the file's name: ``model<suffix>``."""
    requires: ClassVar[tuple[str, ...]] = ()
    """Packages beside torch that it cannot do without."""

    def check(self) -> None:
        """Refuse what can be told without a network.

        Raises:
            MissingExtraError: a package is not installed.
        """
        missing = [package for package in self.requires if importlib.util.find_spec(package) is None]
        if missing:
            msg = f"{', '.join(missing)} not installed: pip install 'eyas[pipeline]'"
            raise MissingExtraError(msg)

    def __call__(self, model: nn.Module, example_NCHW: Tensor, path: Path) -> Path:
        """Write ``model`` (on the CPU, as it computes in eval mode) to ``path``; the batch size stays free.

        ``example_NCHW`` holds real images; a format with statistics of its own takes them from there.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how it exports")

    def run(self, path: Path, images_NCHW: Tensor) -> Tensor:
        """What the written file computes on ``images_NCHW`` in its own runtime: logits ``(N, K)``."""
        raise NotImplementedError(f"{type(self).__name__} does not say how its files are run")

    def limits(self, max_difference: float, min_agreement: float) -> tuple[float | None, float]:
        """Largest difference (None: any) and smallest top-1 agreement with PyTorch that this format may have.

        A format in float32 has what the user allows; one with fewer bits says what its own are.
        """
        return max_difference, min_agreement


AnyExporter = Annotated[SerializeAsAny[Exporter], BeforeValidator(Exporter.parse)]
