"""Training with frozen batch-norm statistics in less memory: batch-norm goes into the weights, step by step."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from eyas.calibration.folded_weights import folded_weights
from eyas.errors import ParameterError
from eyas.pruning.tracing.normalised_convolutions import normalised_convolutions


@contextmanager
def tune_mode(model: nn.Module, example: Tensor) -> Iterator[int]:
    """Within it batch-norm in eval mode is computed in the weights of the convolution before it, in every forward.

    Answers and gradients, those of batch-norm's own weights too, are those of eval mode, and so are the names in the
    state dict. Of each pair the folded weight is kept for the backward pass, and not what the convolution makes
    (arXiv:2305.11624, section 3): less where images are many or large. Batch-norm in train mode works as always. Hooks
    on batch-norm see its output as its input.

    Args:
        model: a network that ``torch.export`` captures; put its batch-norm into eval mode, after each ``train()``.
        example: images ``(N, C, H, W)``; only their shape matters.

    Yields:
        the number of pairs; convolutions that are transposed, shared or read by others stay as they are.

    Raises:
        ParameterError: there is no pair.
        TraceError: the network cannot be captured.
    """
    pairs = tunable_pairs(model, example)
    if not pairs:
        raise ParameterError(
            "the network has no batch-norm with running statistics right behind a convolution of its own"
        )
    with folded_forwards(pairs):
        yield len(pairs)


def tunable_pairs(model: nn.Module, example: Tensor) -> list[tuple[Any, Any]]:
    """Each convolution with the batch-norm that goes into its weights; ``example`` as for :func:`tune_mode`.

    Raises:
        TraceError: the network cannot be captured.
    """
    pairs: list[tuple[Any, Any]] = [
        (model.get_submodule(item.layer), model.get_submodule(item.batch_norm))
        for item in normalised_convolutions(model, example)
        if item.batch_norm is not None
    ]
    return [(conv, norm) for conv, norm in pairs if _can_tune(conv, norm)]


@contextmanager
def folded_forwards(pairs: list[tuple[Any, Any]]) -> Iterator[None]:
    """Within it each pair of :func:`tunable_pairs` computes as :func:`tune_mode` says."""
    try:
        for conv, norm in pairs:
            conv.forward, norm.forward = _Convolved(conv, norm), _Passed(norm)
        yield
    finally:
        for layer in (layer for pair in pairs for layer in pair):
            layer.__dict__.pop("forward", None)


class _Convolved:
    """Forward of a convolution that takes the batch-norm behind it along."""

    def __init__(self, conv: Any, norm: Any) -> None:
        self.conv, self.norm, self.plain = conv, norm, conv.forward

    def __call__(self, x: Tensor) -> Tensor:
        if self.norm.training:
            return self.plain(x)  # type: ignore[no-any-return]
        return self.conv._conv_forward(x, *folded_weights(self.conv, self.norm))  # type: ignore[no-any-return]


class _Passed:
    """Forward of a batch-norm that was computed before."""

    def __init__(self, norm: Any) -> None:
        self.norm, self.plain = norm, norm.forward

    def __call__(self, x: Tensor) -> Tensor:
        return self.plain(x) if self.norm.training else x


def _can_tune(conv: Any, norm: Any) -> bool:
    plain = "forward" not in conv.__dict__ and "forward" not in norm.__dict__
    return plain and not isinstance(conv, _ConvTransposeNd) and norm.running_mean is not None
