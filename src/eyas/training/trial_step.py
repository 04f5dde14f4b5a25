"""One step on random images before the first real one: does the network learn at all.

N images, C channels, H x W pixels, K classes.
"""

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from eyas.errors import ParameterError, one_line
from eyas.pruning.output_paths import primary_output, trained_output


def check_learns(model: nn.Module, image_shape: tuple[int, int, int], output: int | str | None = None) -> None:
    """Refuse a network that fails in train mode, answers otherwise there, or passes no gradient to its parameters.

    Its weights, statistics and gradients stay as they are, and so do torch's generators.

    Args:
        model: a network that has been seen to answer in eval mode.
        image_shape: (C, H, W).
        output: which of several outputs is the logits.

    Raises:
        ParameterError: says what the network did.
    """
    mode, device = model.training, next((tensor.device for tensor in model.parameters()), torch.device("cpu"))
    copies = {name: value.detach().clone().requires_grad_(value.requires_grad) for name, value in _tensors(model)}
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        images_NCHW = torch.rand(2, *image_shape, device=device)
        try:
            with torch.inference_mode():
                shape = primary_output(model.eval()(images_NCHW), output).shape
            logits_NK = trained_output(functional_call(model.train(), copies, (images_NCHW,)), output, shape[1])
            _check_answer(logits_NK, tuple(shape), copies)
            labels = torch.zeros(2, *shape[2:], dtype=torch.long, device=device)
            cross_entropy(logits_NK.float(), labels).backward()  # type: ignore[no-untyped-call]
        except (ParameterError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            msg = (
                f"the network cannot be trained: in train mode it fails with {type(error).__name__}: {one_line(error)}"
            )
            raise ParameterError(msg) from error
        finally:
            model.train(mode)
    if not any(value.grad is not None for value in copies.values()):
        raise ParameterError("the network cannot be trained: no gradient reaches any of its parameters")


def _tensors(model: nn.Module) -> list[tuple[str, Tensor]]:
    return [*model.named_parameters(), *model.named_buffers()]


def _check_answer(logits_NK: Tensor, expected: tuple[int, ...], copies: dict[str, Tensor]) -> None:
    """As many logits as in eval mode, which depend on something that learns."""
    if tuple(logits_NK.shape) != expected:
        msg = (
            f"the network answers two images with {tuple(logits_NK.shape)} in train mode, and with {expected} "
            "in eval mode: both must be the logits of the same classes"
        )
        raise ParameterError(msg)
    if not any(value.requires_grad for value in copies.values()):
        raise ParameterError("the network cannot be trained: all its parameters are frozen (requires_grad is False)")
    if not logits_NK.requires_grad:
        raise ParameterError("the network cannot be trained: its forward turns gradients off (no_grad, detach)")
