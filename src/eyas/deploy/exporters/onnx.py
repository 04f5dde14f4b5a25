"""ONNX in float32, by PyTorch's graph exporter; one self-contained file with a free batch size."""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, fx, nn

from eyas.calibration.batchnorm import evaluation_mode
from eyas.deploy.export_failure import describe_failure, innermost_reason
from eyas.deploy.exporters.base import Exporter
from eyas.deploy.named_outputs import flattened, output_names
from eyas.errors import ExportError, MissingExtraError, ParameterError

log = logging.getLogger(__name__)
TALKERS = ("torch.onnx", "onnxscript", "onnx_ir")
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

    def __call__(self, model: nn.Module, example_NCHW: Tensor, path: Path) -> Path:
        """Write ``model`` to ``path``; only the shape of ``example_NCHW`` matters.

        Raises:
            MissingExtraError: onnx or onnxscript is not installed.
            ExportError: neither of PyTorch's exporters takes the network at this opset; names operator and layer.
        """
        # Two images: one alone would be traced as a fixed batch of one.
        pair_NCHW = example_NCHW[:1].expand(2, *example_NCHW.shape[1:]).contiguous()
        model = flattened(model, pair_NCHW)
        with evaluation_mode(model), quiet(*TALKERS):
            proto = self._proto(model, pair_NCHW, path)
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

    def unfolded(self, model: nn.Module, example_NCHW: Tensor) -> Any:
        """What a file would hold in which batch-norm is a node of its own, and tensors have the network's names.

        Raises:
            ExportError: the graph exporter does not take the network.
        """
        from onnxscript.optimizer import fold_constants, remove_unused_nodes

        pair_NCHW = example_NCHW[:1].expand(2, *example_NCHW.shape[1:]).contiguous()
        with evaluation_mode(model), quiet(*TALKERS):
            try:
                proto = self._program(flattened(model, pair_NCHW), pair_NCHW, optimize=False).model_proto
            except torch.onnx.OnnxExporterError as error:
                msg = f"the ONNX graph exporter does not take the network ({innermost_reason(error)})"
                raise ExportError(msg) from error
        fold_constants(proto)
        remove_unused_nodes(proto)
        strip(proto)
        return proto

    def graph(self, model: nn.Module, example_NCHW: Tensor) -> fx.GraphModule:
        """The graph that the file was written from: a value of the file has the name of the node that makes it.

        Raises:
            OnnxExporterError: the graph exporter does not take the network; the tracing one wrote the file.
        """
        pair_NCHW = example_NCHW[:1].expand(2, *example_NCHW.shape[1:]).contiguous()
        with evaluation_mode(model), quiet(*TALKERS):
            program = self._program(flattened(model, pair_NCHW), pair_NCHW).exported_program
        assert program is not None
        graph: fx.GraphModule = program.module()
        return graph

    def _program(self, model: nn.Module, pair_NCHW: Tensor, *, optimize: bool = True) -> torch.onnx.ONNXProgram:
        shapes = ({0: torch.export.Dim("batch")},)
        graph: dict[str, Any] = {"dynamo": True, "dynamic_shapes": shapes, "optimize": optimize, **_names(model)}
        program = torch.onnx.export(model, (pair_NCHW,), opset_version=self.opset, **graph)
        assert program is not None
        return program

    def _proto(self, model: nn.Module, pair_NCHW: Tensor, path: Path) -> Any:
        """The file's content, by the graph exporter, or by the tracing one where that fails."""
        try:
            import onnx
            import onnxscript  # noqa: F401  the exporter needs it, and says so less clearly
        except ImportError as error:
            msg = f"{error.name} is not installed: pip install 'eyas[pipeline]'"
            raise MissingExtraError(msg) from error
        try:
            return self._program(model, pair_NCHW).model_proto
        except torch.onnx.OnnxExporterError as error:
            first = error
            log.warning("the ONNX graph exporter failed (%s); using the tracing one", innermost_reason(error))
        names = _names(model)
        sizes = {name: {0: "batch"} for name in (*names["input_names"], *names["output_names"])}
        traced: dict[str, Any] = {"dynamo": False, "dynamic_axes": sizes, **names}
        try:
            torch.onnx.export(model, (pair_NCHW,), str(path), opset_version=self.opset, **traced)
        except Exception as error:  # the tracing exporter raises nearly anything
            raise ExportError(describe_failure(model, pair_NCHW, (error, first), self.opset)) from error
        return onnx.load(str(path))


def _names(model: nn.Module) -> dict[str, Any]:
    return {"input_names": ["images"], "output_names": list(output_names(model)), "verbose": False}


@contextlib.contextmanager
def quiet(*names: str) -> Iterator[None]:
    """Hold back warnings, and what the loggers of these names say below an error."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    printing = torch._C._jit_onnx_log
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # The tracing exporter prints the graph that it fails on, and turns its own switch for that on (torch 2.13).
        torch._C._jit_onnx_log = lambda *_: None
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            torch._C._jit_onnx_log = printing
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def strip(proto: Any) -> None:
    """Remove source paths, stack traces, the build's local version and operator sets that no node needs."""
    proto.producer_version = torch.__version__.split("+")[0]
    proto.doc_string = ""
    graph = proto.graph
    graph.doc_string = ""
    used = {"", *(node.domain for part in (graph, *proto.functions) for node in part.node)}
    for entry in [entry for entry in proto.opset_import if entry.domain not in used]:
        proto.opset_import.remove(entry)
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.ClearField("metadata_props")
        part.doc_string = ""
    for function in proto.functions:
        for part in (function, *function.node):
            part.ClearField("metadata_props")
            part.doc_string = ""
