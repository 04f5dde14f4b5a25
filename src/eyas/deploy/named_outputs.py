"""A network of several outputs as runtimes know it: a flat list of tensors with names, the judged one first."""

import torch
from torch import Tensor, nn

from eyas.calibration.batchnorm import evaluation_mode
from eyas.deploy.runtimes.base import LOGITS, joined
from eyas.pruning.output_paths import named_outputs, primary_output


class NamedOutputs(nn.Module):
    """Answers with all tensors of a network's outputs, the judged one first.

    Args:
        network: answers with a tensor, or with a structure of them.
        images: two or more, to see which.
        output: the judged one of several, as in :func:`eyas.score`.
    """

    def __init__(self, network: nn.Module, images: Tensor, output: int | str | None = None) -> None:
        super().__init__()
        with evaluation_mode(network), torch.no_grad():
            answer = network(images)
        outputs, judged = named_outputs(answer), primary_output(answer, output)
        chosen = next(path for path, tensor in outputs.items() if tensor is judged)
        self.network = network
        self.paths = (chosen, *(path for path in outputs if path != chosen))

    @property
    def names(self) -> tuple[str, ...]:
        """``logits``, then ``output_`` and the path of each other one, which the path alone would not tell from it."""
        return LOGITS, *(f"output_{path}" if path[0].isdigit() or path == LOGITS else path for path in self.paths[1:])

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The tensors in the order of :attr:`names`."""
        outputs = named_outputs(self.network(images))
        return tuple(outputs[path] for path in self.paths)


def flattened(network: nn.Module, images: Tensor, output: int | str | None = None) -> nn.Module:
    """The network itself where it answers with one tensor, else its :class:`NamedOutputs`."""
    if isinstance(network, NamedOutputs):
        return network
    named = NamedOutputs(network, images[:2], output)
    return network if named.paths == ("",) else named


def output_names(network: nn.Module) -> tuple[str, ...]:
    """Names of what :func:`flattened` gave answers with."""
    return network.names if isinstance(network, NamedOutputs) else (LOGITS,)


@torch.inference_mode()
def outputs_of(network: nn.Module, images: Tensor, batch_size: int = 256) -> dict[str, Tensor]:
    """What PyTorch computes by name, batches joined; ``network`` is what :func:`flattened` gave."""
    with evaluation_mode(network):
        answers = [network(part) for part in torch.split(images, batch_size)]
    columns = zip(*answers, strict=True) if isinstance(network, NamedOutputs) else [answers]
    return {name: joined(parts) for name, parts in zip(output_names(network), columns, strict=True)}
