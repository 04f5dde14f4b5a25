"""OpenVINO in 8 bits, quantised by NNCF."""

import contextlib
import io
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from eyas.deploy.exporters.base import QuantisingExporter, require_images
from eyas.deploy.exporters.onnx import Onnx
from eyas.deploy.exporters.openvino import Openvino, converted, save
from eyas.deploy.onnx_writing import quiet

BATCH = 32


class OpenvinoInt8(QuantisingExporter):
    """8-bit weights (one scale per output channel) and activations, with NNCF's correction of biases."""

    kind: Literal["openvino_int8"] = "openvino_int8"
    suffix: ClassVar[str] = ".int8.xml"
    requires: ClassVar[tuple[str, ...]] = ("openvino", "nncf", *Onnx.requires)
    extra: ClassVar[str] = Openvino.extra
    runtime: ClassVar[str] = Openvino.runtime

    def __call__(self, model: nn.Module, example_NCHW: Tensor, path: Path) -> Path:
        """Write ``model`` to ``path`` and its weights beside it; ranges are those seen on ``example_NCHW``.

        Raises:
            MissingExtraError: openvino, nncf, or a package of the ONNX exporter, is not installed.
            DataError: there are no images.
            ExportError: it cannot be written as ONNX, or OpenVINO lacks one of its operators.
        """
        self.check()
        require_images(example_NCHW)
        return save(_quantised(converted(model, example_NCHW), example_NCHW), path)

    def surely_takes(self, operators: frozenset[str]) -> bool:
        """What float32 takes: the quantiser leaves alone what it does not know."""
        return Openvino().surely_takes(operators)

    def files(self, path: Path) -> tuple[Path, ...]:
        """The graph and its weights."""
        return Openvino().files(path)


def _quantised(float_model: Any, images_NCHW: Tensor) -> Any:
    with quiet("nncf"), contextlib.redirect_stdout(io.StringIO()):  # where NNCF draws its bars
        import nncf

        batches = [part.numpy() for part in torch.split(images_NCHW, BATCH)]
        return nncf.quantize(float_model, nncf.Dataset(batches), subset_size=len(batches))
