"""ONNX in float32, by PyTorch's graph exporter; one self-contained file with a free batch size."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from eyas.deploy.exporters.base import Exporter
from eyas.errors import ExportError, ParameterError

if TYPE_CHECKING:
    from torch import Tensor, fx, nn

USUAL = frozenset(
    {
        "add", "addmm", "avg_pool2d", "cat", "clone", "constant_pad_nd", "convolution", "detach", "div", "empty",
        "hardtanh", "max_pool2d_with_indices", "mean", "mul", "native_batch_norm", "permute", "relu", "sigmoid",
        "slice", "sub", "t", "transpose", "unsqueeze", "view", "zeros",
    }
)  # fmt: skip
"""ATen operators that both of PyTorch's exporters write in whatever form a network of images uses them."""
NEWEST = 23
"""Opset up to which both do."""


class Onnx(Exporter):
    """ONNX (opset 20 unless set), batch-norm folded into the convolutions before it.

    Equal weights give equal bytes: what the exporter leaves of source paths in the file is removed.
    """

    kind: Literal["onnx"] = "onnx"
    requires: ClassVar[tuple[str, ...]] = ("onnx", "onnxscript", "onnxruntime")
    opset: Annotated[int, Field(ge=18)] = 20
    """Version of the operator set; lower it for an older runtime on the device."""

    def check(self) -> None:
        """Refuse what can be told without a network.

        Raises:
            MissingExtraError: a package is not installed.
            ParameterError: the installed ONNX does not know the operator set.
        """
        super().check()
        import onnx

        newest = onnx.defs.onnx_opset_version()
        if self.opset > newest:
            msg = f"opset {self.opset} is not known to onnx {onnx.__version__}: 18 to {newest} are"
            raise ParameterError(msg)

    def __call__(self, model: "nn.Module", example_NCHW: "Tensor", path: Path) -> Path:
        """Write ``model`` to ``path``; only the shape of ``example_NCHW`` matters.

        Raises:
            MissingExtraError: onnx or onnxscript is not installed.
            ExportError: neither of PyTorch's exporters takes the network at this opset; names operator and layer.
        """
        from eyas.deploy.onnx_writing import onnx_proto, ready_to_export, strip

        with ready_to_export(model, example_NCHW) as (ready, pair_NCHW):
            proto = onnx_proto(ready, pair_NCHW, path, self.opset)
        written = [entry.version for entry in proto.opset_import if not entry.domain]
        if written != [self.opset]:
            msg = f"opset {self.opset} is asked for, PyTorch wrote {written}: choose one of them by `exporters`"
            raise ExportError(msg)
        strip(proto)
        path.write_bytes(proto.SerializeToString(deterministic=True))
        return path

    def surely_takes(self, operators: frozenset[str]) -> bool:
        """Whether there are but the operators of usual classifiers, which have an ONNX form in every opset."""
        return operators <= USUAL and self.opset <= NEWEST

    def unfolded(self, model: "nn.Module", example_NCHW: "Tensor") -> Any:
        """What a file would hold in which batch-norm is a node of its own, and tensors have the network's names.

        Raises:
            ExportError: the graph exporter does not take the network.
        """
        from onnxscript.optimizer import fold_constants, remove_unused_nodes
        from torch.onnx import OnnxExporterError

        from eyas.deploy.export_failure import innermost_reason
        from eyas.deploy.onnx_writing import onnx_program, ready_to_export, strip

        with ready_to_export(model, example_NCHW) as (ready, pair_NCHW):
            try:
                proto = onnx_program(ready, pair_NCHW, self.opset, optimize=False).model_proto
            except OnnxExporterError as error:
                msg = f"the ONNX graph exporter does not take the network ({innermost_reason(error)})"
                raise ExportError(msg) from error
        fold_constants(proto)
        remove_unused_nodes(proto)
        strip(proto)
        return proto

    def graph(self, model: "nn.Module", example_NCHW: "Tensor") -> "fx.GraphModule":
        """The graph that the file was written from: a value of the file has the name of the node that makes it.

        Raises:
            OnnxExporterError: the graph exporter does not take the network; the tracing one wrote the file.
        """
        from eyas.deploy.onnx_writing import onnx_program, ready_to_export

        with ready_to_export(model, example_NCHW) as (ready, pair_NCHW):
            program = onnx_program(ready, pair_NCHW, self.opset).exported_program
        assert program is not None
        graph: fx.GraphModule = program.module()
        return graph
