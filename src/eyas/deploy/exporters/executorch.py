"""ExecuTorch with XNNPACK's kernels, for phones and small boards."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn
from torch.export import ExportedProgram

from eyas.deploy.exporters.base import Exporter
from eyas.deploy.exporters.pt2 import exported_program
from eyas.deploy.runtimes.executorch_runtime import quiet
from eyas.errors import ExportError


class Executorch(Exporter):
    """ExecuTorch in float32; layers that XNNPACK lacks are run by the portable kernels."""

    kind: Literal["executorch"] = "executorch"
    suffix: ClassVar[str] = ".pte"
    requires: ClassVar[tuple[str, ...]] = ("executorch",)
    extra: ClassVar[str] = "executorch"
    runtime: ClassVar[str] = "executorch"
    batch: Annotated[int, Field(ge=1)] = 1
    """Images per run: the file's memory is planned for so many."""

    def __call__(self, model: nn.Module, example_NCHW: Tensor, path: Path) -> Path:
        """Write ``model`` to ``path``; only the shape of ``example_NCHW`` matters.

        Raises:
            MissingExtraError: executorch is not installed.
            ExportError: ``torch.export`` cannot capture the network, or ExecuTorch lacks an operator.
        """
        self.check()
        path.write_bytes(lowered(exported_program(model, example_NCHW, self.batch)))
        return path


def lowered(program: ExportedProgram) -> bytes:
    """The program in ExecuTorch's form, its layers given to XNNPACK as far as that takes them.

    Raises:
        ExportError: an operator has no form in ExecuTorch.
    """
    with quiet():
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        try:
            edge = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
            return bytes(edge.to_executorch().buffer)
        except Exception as error:  # each of its passes raises its own
            msg = f"ExecuTorch does not take the network ({type(error).__name__}: {' '.join(str(error).split()):.300})"
            raise ExportError(msg) from error
