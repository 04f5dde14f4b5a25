"""ONNX in 8 bits: weights and activations quantised statically, as pairs of quantise and dequantise (QDQ)."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from eyas.deploy.exporters.base import Exporter
from eyas.deploy.exporters.onnx import Onnx, quiet, strip
from eyas.deploy.runtimes.onnx_runtime import inference_session


class OnnxInt8(Exporter):
    """Signed 8-bit weights (one scale per output channel) and activations (one scale per tensor), from real images.

    Both signed (S8S8): on x86 without VNNI the unsigned kind adds up pairs that overflow 16 bits.
    """

    kind: Literal["onnx_int8"] = "onnx_int8"
    suffix: ClassVar[str] = ".int8.onnx"
    requires: ClassVar[tuple[str, ...]] = Onnx.requires
    min_agreement: Annotated[float, Field(ge=0, le=1)] = 0.9
    """Smallest share of equal top-1 answers with PyTorch in float32 that passes; differences may be any."""

    def __call__(self, model: nn.Module, example_NCHW: Tensor, path: Path) -> Path:
        """Write ``model`` to ``path``; the ranges of activations are those seen on ``example_NCHW``.

        Raises:
            MissingExtraError: onnx, onnxscript or onnxruntime is not installed.
        """
        with tempfile.TemporaryDirectory() as scratch:
            single = Onnx()(model, example_NCHW, Path(scratch) / "float32.onnx")
            opened = inference_session(single)
            proto = _quantise(single, Path(scratch), opened.get_inputs()[0].name, example_NCHW)
        strip(proto)
        path.write_bytes(proto.SerializeToString(deterministic=True))
        return path

    def surely_takes(self, operators: frozenset[str]) -> bool:
        """What float32 takes: the quantiser leaves alone what it does not know."""
        return Onnx().surely_takes(operators)

    def limits(self, max_difference: float, min_agreement: float) -> tuple[float | None, float]:
        """Any difference, and this format's own agreement."""
        return None, min(self.min_agreement, min_agreement)


def _quantise(single: Path, scratch: Path, name: str, images_NCHW: Tensor) -> Any:
    """The quantised network; the pre-processing step infers shapes and fuses what is fused anyway."""
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared, quantised = scratch / "prepared.onnx", scratch / "int8.onnx"
    with quiet("root"):  # ONNX Runtime logs its advice there
        quant_pre_process(str(single), str(prepared))
        quantize_static(
            str(prepared), str(quantised), _Images(name, images_NCHW), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QInt8, weight_type=QuantType.QInt8, calibrate_method=CalibrationMethod.MinMax,
        )  # fmt: skip
    return onnx.load(str(quantised))


class _Images:
    """Batches in the form ONNX Runtime's calibration asks for: one ``{input: array}`` per call, then None."""

    def __init__(self, name: str, images_NCHW: Tensor, batch_size: int = 32) -> None:
        self._feeds: Iterator[dict[str, Any]] = ({name: part.numpy()} for part in torch.split(images_NCHW, batch_size))

    def get_next(self) -> dict[str, Any] | None:
        """The next batch."""
        return next(self._feeds, None)
