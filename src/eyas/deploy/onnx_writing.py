"""A network as ONNX, by PyTorch's graph exporter or, where that fails, its tracing one."""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eyas.calibration.batchnorm import evaluation_mode
from eyas.deploy.export_failure import describe_failure, innermost_reason
from eyas.deploy.named_outputs import flattened, output_names
from eyas.errors import ExportError, MissingExtraError

log = logging.getLogger(__name__)
TALKERS = ("torch.onnx", "onnxscript", "onnx_ir")
"""Loggers of those who write ONNX."""


@contextlib.contextmanager
def ready_to_export(model: nn.Module, example_NCHW: Tensor) -> Iterator[tuple[nn.Module, Tensor]]:
    """The network in eval mode with named outputs, and its first image twice; the exporters are quiet meanwhile.

    One image alone would be traced as a fixed batch of one.
    """
    pair_NCHW = example_NCHW[:1].expand(2, *example_NCHW.shape[1:]).contiguous()
    model = flattened(model, pair_NCHW)
    with evaluation_mode(model), quiet(*TALKERS):
        yield model, pair_NCHW


def onnx_program(model: nn.Module, pair_NCHW: Tensor, opset: int, *, optimize: bool = True) -> torch.onnx.ONNXProgram:
    """What PyTorch's graph exporter makes of a network and two images, ``(2, C, H, W)``.

    Raises:
        OnnxExporterError: it does not take the network.
    """
    shapes = ({0: torch.export.Dim("batch")},)
    graph: dict[str, Any] = {"dynamo": True, "dynamic_shapes": shapes, "optimize": optimize, **_names(model)}
    program = torch.onnx.export(model, (pair_NCHW,), opset_version=opset, **graph)
    assert program is not None
    return program


def onnx_proto(model: nn.Module, pair_NCHW: Tensor, path: Path, opset: int) -> Any:
    """The file's content, by the graph exporter, or by the tracing one, which writes to ``path``, where that fails.

    Raises:
        MissingExtraError: onnx or onnxscript is not installed.
        ExportError: neither takes the network; names operator and layer.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401  the exporter needs it, and says so less clearly
    except ImportError as error:
        msg = f"{error.name} is not installed: pip install 'eyas[pipeline]'"
        raise MissingExtraError(msg) from error
    try:
        return onnx_program(model, pair_NCHW, opset).model_proto
    except torch.onnx.OnnxExporterError as error:
        first = error
        log.warning("the ONNX graph exporter failed (%s); using the tracing one", innermost_reason(error))
    names = _names(model)
    sizes = {name: {0: "batch"} for name in (*names["input_names"], *names["output_names"])}
    traced: dict[str, Any] = {"dynamo": False, "dynamic_axes": sizes, **names}
    try:
        torch.onnx.export(model, (pair_NCHW,), str(path), opset_version=opset, **traced)
    except Exception as error:  # the tracing exporter raises nearly anything
        raise ExportError(describe_failure(model, pair_NCHW, (error, first), opset)) from error
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
