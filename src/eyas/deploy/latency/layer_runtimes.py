"""The runtimes that layers can be measured in: each opens an ONNX model and says its version."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from eyas.deploy.latency.eyas_profile import Opener, Run, onnx_version, open_onnx
from eyas.deploy.runtimes import Runtime
from eyas.deploy.runtimes.openvino_runtime import OpenvinoRuntime
from eyas.errors import MissingExtraError, ParameterError


@dataclass(frozen=True)
class LayerRuntime:
    """How one runtime is asked."""

    package: str
    extra: str
    """Of eyas, which brings the package."""
    open_model: Opener
    version: Callable[[], str]


def open_openvino(model: bytes | str, threads: int, batch: int) -> Run:
    """The same as :func:`open_onnx` in OpenVINO on the CPU, in float32; it reads ONNX models itself."""
    import openvino

    core = openvino.Core()
    network = core.read_model(model)
    noise = np.random.default_rng(0)
    shapes = {
        entry.get_any_name(): [batch if size.is_dynamic else size.get_length() for size in entry.partial_shape]
        for entry in network.inputs
    }
    network.reshape(shapes)
    request = core.compile_model(network, "CPU", OpenvinoRuntime().settings(threads)).create_infer_request()
    feed = {name: noise.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}
    return lambda: request.infer(feed)


_RUNTIMES = {
    "onnx": LayerRuntime("onnxruntime", "pipeline", open_onnx, onnx_version),
    "openvino": LayerRuntime("openvino", "openvino", open_openvino, OpenvinoRuntime.version),
}


def layer_runtime(kind: str) -> LayerRuntime:
    """The runtime of a kind.

    Raises:
        ParameterError: layers cannot be measured in it.
        MissingExtraError: it is not installed.
    """
    if kind not in _RUNTIMES:
        whole = f"; whole files of {kind} by eyas bench" if kind in Runtime.members() else ""
        msg = f"`runtime` {kind!r}: layers can be measured in {', '.join(_RUNTIMES)}{whole}"
        raise ParameterError(msg)
    runtime = _RUNTIMES[kind]
    if importlib.util.find_spec(runtime.package) is None:
        msg = f"{runtime.package} is not installed: pip install 'eyas[{runtime.extra}]'"
        raise MissingExtraError(msg)
    return runtime
