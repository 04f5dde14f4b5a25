"""ONNX in 8 bits: weights and activations quantised statically, as pairs of quantise and dequantise (QDQ)."""

import contextlib
import io
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from eyas.deploy.exporters.base import QuantisingExporter, require_images
from eyas.deploy.exporters.onnx import Onnx
from eyas.deploy.runtimes.onnx_runtime import OnnxRuntime, layer_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from eyas.deploy.sensitivity import HeldOut

_METHODS = {"minmax": "MinMax", "percentile": "Percentile", "entropy": "Entropy"}
_FOLLOW = frozenset({"Clip", "Flatten", "MaxPool", "Relu", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
"""Operators that are in 8 bits where their neighbours are: they compute nothing that could lose."""


class OnnxInt8(QuantisingExporter):
    """Signed 8-bit weights and activations (one scale per tensor), with ranges from real images.

    Both signed (S8S8): on x86 without VNNI the unsigned kind adds up pairs that overflow 16 bits. Where the accuracy
    on held-out calibration images drops by more than ``max_accuracy_drop``, the costliest layers stay in float.
    """

    kind: Literal["onnx_int8"] = "onnx_int8"
    suffix: ClassVar[str] = ".int8.onnx"
    requires: ClassVar[tuple[str, ...]] = Onnx.requires
    per_channel: bool = True
    """Whether weights have a scale per output channel, or one per layer."""
    calibration: Literal["minmax", "percentile", "entropy"] = "minmax"
    """What the range of an activation is: all that was seen, all but its outermost values, or what keeps most
    information of its distribution."""
    percentile: Annotated[float, Field(gt=50, le=100)] = 99.99
    """Of the absolute values, which ``calibration: percentile`` keeps."""
    max_accuracy_drop: Annotated[float, Field(ge=0, le=1)] | None = 0.01
    """Largest loss of accuracy on held-out calibration images before layers are kept in float; null keeps none."""

    def __call__(
        self, model: "nn.Module", example_NCHW: "Tensor", path: Path, held_out: "HeldOut | None" = None
    ) -> Path:
        """Write ``model`` to ``path``; the ranges of activations are those seen on ``example_NCHW``.

        With ``held_out`` images, layers are kept in float as ``max_accuracy_drop`` says; which, and what each costs,
        is written beside the file: see :meth:`report`.

        Raises:
            MissingExtraError: onnx, onnxscript or onnxruntime is not installed.
            DataError: there are no images, or none of them is held out where they choose layers.
        """
        from eyas.deploy.onnx_writing import strip
        from eyas.deploy.sensitivity import find_layers_to_keep

        self.check()
        require_images(example_NCHW)
        if held_out is not None and self.max_accuracy_drop is not None:
            require_images(held_out.images, "left to choose layers by that stay in float (max_accuracy_drop)")
        with tempfile.TemporaryDirectory() as scratch:
            single = Onnx()(model, example_NCHW, Path(scratch) / "float32.onnx")
            quantiser = _Quantiser(self, single, example_NCHW)
            kept: Sequence[str] = ()
            if held_out is not None and self.max_accuracy_drop is not None:
                expected_NK = OnnxRuntime().open(single).logits(held_out.images)
                result = find_layers_to_keep(
                    list(quantiser.layers), quantiser.answering, expected_NK, held_out, self.max_accuracy_drop
                )
                kept = result.kept
                self.report(path).write_text(json.dumps(result.as_dict(), indent=2) + "\n")
            proto = quantiser(kept)
        strip(proto)
        proto.ClearField("metadata_props")
        path.write_bytes(proto.SerializeToString(deterministic=True))
        return path

    def write(self, model: "nn.Module", ranges_NCHW: "Tensor", held_out: "HeldOut", path: Path) -> Path:
        """Write ``model``, with layers kept in float as ``max_accuracy_drop`` says."""
        return self(model, ranges_NCHW, path, held_out)

    def calibration_options(self) -> dict[str, Any]:
        """What ONNX Runtime's calibrator is told; as many bins as it comes with leave entropy nothing to choose."""
        options: dict[str, dict[str, Any]] = {
            "percentile": {"percentile": self.percentile},
            "entropy": {"num_bins": 512},
        }
        return options.get(self.calibration, {})

    def surely_takes(self, operators: frozenset[str]) -> bool:
        """What float32 takes: the quantiser leaves alone what it does not know."""
        return Onnx().surely_takes(operators)


class _Quantiser:
    """Quantises one network with one set of ranges, again and again; the files lie beside the float one."""

    def __init__(self, settings: OnnxInt8, single: Path, images_NCHW: "Tensor") -> None:
        import onnx
        from onnxruntime.quantization import CalibrationMethod
        from onnxruntime.quantization.calibrate import create_calibrator, save_tensors_data
        from onnxruntime.quantization.registry import QDQRegistry
        from onnxruntime.quantization.shape_inference import quant_pre_process

        self._per_channel, self._method = settings.per_channel, CalibrationMethod[_METHODS[settings.calibration]]
        self._prepared, self._ranges = single.with_name("prepared.onnx"), single.with_name("ranges.json")
        with _silent():
            quant_pre_process(str(single), str(self._prepared))  # infers shapes and fuses what is fused anyway
            graph = onnx.load(str(self._prepared)).graph
            calibrator = create_calibrator(
                self._prepared,
                augmented_model_path=single.with_name("augmented.onnx"),
                calibrate_method=self._method,
                extra_options=settings.calibration_options(),
            )
            calibrator.collect_data(_Images(graph.input[0].name, images_NCHW))
            save_tensors_data(calibrator.compute_data(), self._ranges)
        weights = {tensor.name for tensor in graph.initializer}
        nodes = [node for node in graph.node if node.op_type in QDQRegistry and node.op_type not in _FOLLOW]
        self.layers = {layer_of(node, weights): node.name for node in nodes}
        """Node by layer."""

    def __call__(self, kept: Sequence[str] = ()) -> Any:
        """The network in 8 bits but for the layers ``kept``."""
        import onnx

        return onnx.load(str(self._write(kept)))

    def answering(self, kept: Sequence[str]) -> "Callable[[Tensor], Tensor]":
        """The same, opened."""
        return OnnxRuntime().open(self._write(kept)).logits

    def _write(self, kept: Sequence[str]) -> Path:
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

        path = self._prepared.with_name("int8.onnx")
        with _silent():
            quantize_static(
                str(self._prepared), str(path), quant_format=QuantFormat.QDQ, per_channel=self._per_channel,
                activation_type=QuantType.QInt8, weight_type=QuantType.QInt8, calibrate_method=self._method,
                calibration_cache_path=self._ranges, nodes_to_exclude=[self.layers[layer] for layer in kept],
            )  # fmt: skip
        return path


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Without what ONNX Runtime advises in the root logger and counts on the standard output."""
    from eyas.deploy.onnx_writing import quiet

    with quiet("root"), contextlib.redirect_stdout(io.StringIO()):
        yield


class _Images:
    """Batches in the form ONNX Runtime's calibration asks for: one ``{input: array}`` per call, then None.

    All of one size, for its histograms take no others.
    """

    def __init__(self, name: str, images_NCHW: "Tensor", most: int = 32) -> None:
        import torch

        size = max(size for size in range(1, most + 1) if len(images_NCHW) % size == 0)
        self._feeds: Iterator[dict[str, Any]] = ({name: part.numpy()} for part in torch.split(images_NCHW, size))

    def get_next(self) -> dict[str, Any] | None:
        """The next batch."""
        return next(self._feeds, None)
