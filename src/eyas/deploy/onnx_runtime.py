"""ONNX Runtime sessions, opened the same way everywhere: for parity, for latency, for evaluation."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from eyas.errors import MissingExtraError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


def session(path: Path, threads: int = 1) -> "InferenceSession":
    """A CPU session with ``threads`` intra-op threads; one thread sums in one order.

    Raises:
        MissingExtraError: ONNX Runtime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        msg = "ONNX Runtime is not installed: pip install 'eyas[pipeline]'"
        raise MissingExtraError(msg) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def logits(opened: "InferenceSession", images_NCHW: Tensor, batch_size: int = 256) -> Tensor:
    """First output of the network on ``images_NCHW``, batch by batch: ``(N, K)``."""
    import numpy as np
    import torch

    name = opened.get_inputs()[0].name
    batches = torch.split(images_NCHW, batch_size)
    parts: list[Any] = [opened.run(None, {name: part.numpy()})[0] for part in batches]
    return torch.from_numpy(np.concatenate(parts))
