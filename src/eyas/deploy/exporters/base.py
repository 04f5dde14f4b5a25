"""The root of the exporters: what an exporter promises."""

import importlib.util
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import BeforeValidator, Field, SerializeAsAny

from eyas.component import Component
from eyas.deploy.runtimes import Runtime
from eyas.errors import DataError, ExportError, EyasError, MissingExtraError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from eyas.deploy.sensitivity import HeldOut


class Exporter(Component):
    """Writes a network as one file that its runtime loads without our code."""

    suffix: ClassVar[str] = ".onnx"
    """Ends the file's name: ``model<suffix>``."""
    requires: ClassVar[tuple[str, ...]] = ()
    """Packages beside torch that it cannot do without."""
    extra: ClassVar[str] = "pipeline"
    """Of eyas, which brings them."""
    runtime: ClassVar[str] = "onnx"
    """Kind of the runtime that opens its files."""
    calibrates: ClassVar[bool] = False
    """Whether it takes ranges of activations from images."""

    def check(self) -> None:
        """Refuse what can be told without a network.

        Raises:
            MissingExtraError: a package is not installed.
        """
        missing = [package for package in self.requires if importlib.util.find_spec(package) is None]
        if missing:
            msg = f"{', '.join(missing)} not installed: pip install 'eyas[{self.extra}]'"
            raise MissingExtraError(msg)

    def __call__(self, model: "nn.Module", example_NCHW: "Tensor", path: Path) -> Path:
        """Write ``model`` (on the CPU, as it computes in eval mode) to ``path``; the batch size stays free.

        Of several outputs the judged one is called ``logits``: see :class:`eyas.deploy.named_outputs.NamedOutputs`.
        ``example_NCHW`` holds real images; a format with statistics of its own takes them from there.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how it exports")

    def write(self, model: "nn.Module", ranges_NCHW: "Tensor", held_out: "HeldOut", path: Path) -> Path:
        """The same, with calibration images that no range is taken from, for a format that chooses by accuracy."""
        del held_out
        return self(model, ranges_NCHW, path)

    def surely_takes(self, operators: frozenset[str]) -> bool:
        """Whether every network of these ATen operators can be written, so that none has to be tried."""
        del operators
        return False

    def try_on(self, model: "nn.Module", images_NCHW: "Tensor") -> None:
        """Write ``model`` to a scratch file and run that, whatever its weights are.

        Raises:
            ExportError: it cannot be written, or the file cannot be run.
        """
        with tempfile.TemporaryDirectory() as scratch:
            try:
                self.run(self(model, images_NCHW, Path(scratch) / f"model{self.suffix}"), images_NCHW)
            except EyasError:
                raise
            except Exception as error:  # exporters, quantisers and runtimes each raise their own
                reason = (str(error).strip().splitlines() or [""])[0]
                msg = (
                    f"exporter {self.kind} does not take {type(model).__name__} ({type(error).__name__}: {reason}): "
                    "leave it out of `exporters`, or change the forward code"
                )
                raise ExportError(msg) from error

    def run(self, path: Path, images_NCHW: "Tensor") -> "Tensor":
        """What the written file computes on ``images_NCHW`` in its own runtime, one thread: logits ``(N, K)``."""
        return Runtime.parse(self.runtime).open(path).logits(images_NCHW)

    def outputs(self, path: Path, images_NCHW: "Tensor") -> "dict[str, Tensor]":
        """All outputs of the written file by name, the logits first."""
        return Runtime.parse(self.runtime).open(path).outputs(images_NCHW)

    def files(self, path: Path) -> tuple[Path, ...]:
        """All files that the runtime reads of what was written to ``path``, which is the first."""
        return (path,)

    def report(self, path: Path) -> Path:
        """Where a format that keeps layers in float says which: a :class:`eyas.deploy.sensitivity.Sensitivity`."""
        return path.with_suffix(".layers.json")

    def limits(self, max_difference: float, min_agreement: float) -> tuple[float | None, float]:
        """Largest difference (None: any) and smallest top-1 agreement with PyTorch that this format may have.

        A format in float32 has what the user allows; one with fewer bits says what its own are.
        """
        return max_difference, min_agreement


class QuantisingExporter(Exporter):
    """A format of fewer bits, which takes the ranges of activations from images: its logits may differ by anything."""

    calibrates: ClassVar[bool] = True
    min_agreement: Annotated[float, Field(ge=0, le=1)] = 0.9
    """Smallest share of equal top-1 answers with PyTorch in float32 that passes; differences may be any."""

    def limits(self, max_difference: float, min_agreement: float) -> tuple[float | None, float]:
        """Any difference, and this format's own agreement."""
        del max_difference
        return None, min(self.min_agreement, min_agreement)


def require_images(images_NCHW: "Tensor", purpose: str = "to take ranges of activations from") -> None:
    """Refuse to calibrate on nothing.

    Raises:
        DataError: there are no images.
    """
    if not len(images_NCHW):
        msg = f"there are no calibration images {purpose}: raise `calibration_fraction`"
        raise DataError(msg)


AnyExporter = Annotated[SerializeAsAny[Exporter], BeforeValidator(Exporter.validated)]
