"""PyTorch's exported program: one file that torch alone loads, without the code of the network."""

import io
import re
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

from eyas.calibration.batchnorm import evaluation_mode
from eyas.deploy.exporters.base import Exporter
from eyas.deploy.named_outputs import flattened
from eyas.errors import ExportError

_NO_SOURCES = ("stack_trace", "from_node", "source_fn_stack")
"""What nodes hold of the lines of code that made them."""


class Pt2(Exporter):
    """``torch.export`` in float32, with a free batch size; for devices that run PyTorch, and for its compilers."""

    kind: Literal["pt2"] = "pt2"
    suffix: ClassVar[str] = ".pt2"
    runtime: ClassVar[str] = "pt2"

    def __call__(self, model: nn.Module, example_NCHW: Tensor, path: Path) -> Path:
        """Write ``model`` to ``path``; only the shape of ``example_NCHW`` matters.

        Raises:
            ExportError: ``torch.export`` cannot capture the network.
        """
        buffer = io.BytesIO()  # a file would give its own name to the archive
        torch.export.save(exported_program(model, example_NCHW), buffer)
        path.write_bytes(buffer.getvalue())
        return path


def exported_program(model: nn.Module, example_NCHW: Tensor, batch: int | None = None) -> ExportedProgram:
    """The network in eval mode as a graph that names no source file; ``batch`` images at once, any number without.

    Raises:
        ExportError: ``torch.export`` cannot capture it; its own message is passed on.
    """
    shape = (batch or 2, *example_NCHW.shape[1:])  # one alone would be traced as a fixed batch of one
    images_NCHW = example_NCHW[:1].expand(*shape).contiguous()
    network = flattened(model, images_NCHW)
    sizes = None if batch else ({0: torch.export.Dim("batch")},)
    with evaluation_mode(network), torch.no_grad():
        try:
            program = torch.export.export(network, (images_NCHW,), dynamic_shapes=sizes)
        except Exception as error:  # capturing raises nearly anything
            reason = re.split(r"\n|\. ", str(error).strip() or type(error).__name__)[0]
            msg = f"torch.export cannot capture {type(model).__name__}: {reason}: leave this format out of `exporters`"
            raise ExportError(msg) from error
    for graph in filter(lambda part: isinstance(part, fx.GraphModule), program.graph_module.modules()):
        for node in graph.graph.nodes:
            for name in _NO_SOURCES:
                node.meta.pop(name, None)
    return program
