"""OpenVINO."""

import re
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from eyas.deploy.runtimes.base import Array, Runtime, Session


class OpenvinoRuntime(Runtime):
    """OpenVINO's CPU plug-in, of a model in its own form (``.xml`` with its ``.bin``)."""

    kind: Literal["openvino"] = "openvino"
    suffixes: ClassVar[tuple[str, ...]] = (".xml",)
    package: ClassVar[str] = "openvino"
    extra: ClassVar[str] = "openvino"
    missing_operator: ClassVar[tuple[str, ...]] = (
        r"doesn't contain the operation with type: (?P<operator>\w+)",
        r"No conversion rule found for operations: (?P<operator>[\w.:-]+)",
    )
    precision: Literal["f32", "default"] = "f32"
    """``default`` computes in bfloat16 on processors that have it: faster, and logits differ in the second digit."""

    def alternatives(self) -> dict[str, Runtime]:
        """In its default precision."""
        return {"default precision": OpenvinoRuntime(precision="default")} if self.precision == "f32" else {}

    def settings(self, threads: int) -> dict[str, Any]:
        """What OpenVINO is told when it compiles a model."""
        settings: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
        return settings | ({"INFERENCE_PRECISION_HINT": "f32"} if self.precision == "f32" else {})

    def _session(self, path: Path, threads: int) -> Session:
        import openvino

        core = openvino.Core()
        return OpenvinoSession(core.compile_model(core.read_model(path), "CPU", self.settings(threads)))

    def _layer(self, path: Path, operator: str, node: str | None) -> str | None:
        """The first layer of that type in the model's XML."""
        layers = re.findall(r'<layer id="\d+" name="([^"]+)" type="([^"]+)"', path.read_text(errors="replace"))
        return next((name for name, kind in layers if kind == operator), node)


class OpenvinoSession(Session):
    """A model that OpenVINO compiled."""

    def __init__(self, compiled: Any) -> None:
        self._request = compiled.create_infer_request()
        (image,) = compiled.inputs
        self.input_shape = tuple(size.get_length() if size.is_static else None for size in image.partial_shape)
        self.input_dtype = np.dtype(image.element_type.to_dtype())
        self.output_names = tuple(output.get_any_name() for output in compiled.outputs)

    def run(self, images: Array) -> list[Array]:
        """All outputs for one batch, copied out of the runtime's memory."""
        return [np.array(array) for array in self._request.infer([images]).to_tuple()]
