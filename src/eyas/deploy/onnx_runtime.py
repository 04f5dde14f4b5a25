"""ONNX Runtime sessions, opened the same way everywhere: for parity, for latency, for evaluation."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from eyas.errors import MissingExtraError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

LOGITS = "logits"
"""Name of the judged output in an exported file."""


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
    """The network's ``logits`` (its first output where none is called so) on ``images_NCHW``: ``(N, K)``."""
    names = [output.name for output in opened.get_outputs()]
    name = LOGITS if LOGITS in names else names[0]
    return outputs(opened, images_NCHW, batch_size, names=[name])[name]


def outputs(
    opened: "InferenceSession", images_NCHW: Tensor, batch_size: int = 256, *, names: Sequence[str] | None = None
) -> dict[str, Tensor]:
    """Outputs of the network by name (all of them without ``names``), batch by batch."""
    import torch

    image = opened.get_inputs()[0].name
    names = names or [output.name for output in opened.get_outputs()]
    batches = [opened.run(list(names), {image: part.numpy()}) for part in torch.split(images_NCHW, batch_size)]
    columns = zip(*batches, strict=True)
    return {name: joined(list(map(torch.as_tensor, parts))) for name, parts in zip(names, columns, strict=True)}


def joined(parts: Sequence[Tensor]) -> Tensor:
    """What batches answered as one tensor; numbers that no image has for itself as one each."""
    import torch

    return torch.cat(list(parts)) if parts[0].ndim else torch.stack(list(parts))
