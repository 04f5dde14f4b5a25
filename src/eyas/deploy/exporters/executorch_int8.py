"""ExecuTorch in 8 bits: quantised by PyTorch's graph quantiser for XNNPACK."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from eyas.deploy.exporters.base import QuantisingExporter, require_images
from eyas.deploy.exporters.executorch import Executorch, lowered
from eyas.deploy.exporters.pt2 import exported_program
from eyas.deploy.runtimes.executorch_runtime import quiet


class ExecutorchInt8(QuantisingExporter):
    """Signed 8-bit weights (one scale per output channel) and activations (one scale per tensor) for XNNPACK."""

    kind: Literal["executorch_int8"] = "executorch_int8"
    suffix: ClassVar[str] = ".int8.pte"
    requires: ClassVar[tuple[str, ...]] = ("executorch", "torchao")
    extra: ClassVar[str] = Executorch.extra
    runtime: ClassVar[str] = Executorch.runtime
    batch: Annotated[int, Field(ge=1)] = 1
    """Images per run: the file's memory is planned for so many."""

    def __call__(self, model: nn.Module, example_NCHW: Tensor, path: Path) -> Path:
        """Write ``model`` to ``path``; the ranges of activations are those seen on ``example_NCHW``.

        Raises:
            MissingExtraError: executorch or torchao is not installed.
            DataError: there are no images.
            ExportError: the network cannot be captured, or ExecuTorch lacks an operator.
        """
        self.check()
        require_images(example_NCHW)
        batches = torch.split(example_NCHW, self.batch)
        quantised = _quantised(exported_program(model, example_NCHW, self.batch).module(), batches, self.batch)
        path.write_bytes(lowered(exported_program(quantised, example_NCHW, self.batch)))
        return path


def _quantised(graph: Any, batches: tuple[Tensor, ...], batch: int) -> nn.Module:
    """The graph with pairs of quantise and dequantise; batch-norm is folded on the way."""
    with quiet():
        from executorch.backends.xnnpack.quantizer import xnnpack_quantizer as xnnpack
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

        quantiser = xnnpack.XNNPACKQuantizer()
        quantiser.set_global(xnnpack.get_symmetric_quantization_config(is_per_channel=True))
        prepared = prepare_pt2e(graph, quantiser)
        with torch.inference_mode():
            for images_NCHW in batches:
                if len(images_NCHW) == batch:
                    prepared(images_NCHW)
        converted: nn.Module = convert_pt2e(prepared)
        return converted
