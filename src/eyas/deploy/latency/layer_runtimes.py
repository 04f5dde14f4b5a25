"""The runtimes that layers can be measured in: each opens an ONNX model and says its version."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

from eyas.deploy.latency.eyas_profile import Opener, onnx_version, open_onnx
from eyas.errors import MissingExtraError, ParameterError


@dataclass(frozen=True)
class LayerRuntime:
    """How one runtime is asked."""

    package: str
    extra: str
    """Of eyas, which brings the package."""
    open_model: Opener
    version: Callable[[], str]


_RUNTIMES = {"onnx": LayerRuntime("onnxruntime", "pipeline", open_onnx, onnx_version)}


def layer_runtime(kind: str) -> LayerRuntime:
    """The runtime of a kind.

    Raises:
        ParameterError: layers cannot be measured in it.
        MissingExtraError: it is not installed.
    """
    if kind not in _RUNTIMES:
        msg = f"`runtime` {kind!r}: layers can be measured in {', '.join(_RUNTIMES)}"
        raise ParameterError(msg)
    runtime = _RUNTIMES[kind]
    if importlib.util.find_spec(runtime.package) is None:
        msg = f"{runtime.package} is not installed: pip install 'eyas[{runtime.extra}]'"
        raise MissingExtraError(msg)
    return runtime
