"""How many classes a checkpoint's network tells apart, where nothing but its weights says so."""

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from eyas.errors import ParameterError

_TRIED = (7, 11)
"""Numbers of classes to build with: the sizes that differ are those that follow the number."""


def classes_of_weights(weights: Mapping[str, Tensor], build: Callable[[int], nn.Module]) -> int:
    """The size in ``weights`` of what grows with the number of classes that a network is built for.

    Args:
        weights: a state dict; its names may have a prefix.
        build: makes the network for a number of classes.

    Raises:
        ParameterError: no tensor tells it, or the number is none of the factory's business.
    """
    small, large = (build(count).state_dict() for count in _TRIED)
    for name, tensor in small.items():
        sizes = enumerate(zip(tensor.shape, large[name].shape if name in large else (), strict=False))
        grown = [dim for dim, pair in sizes if pair == _TRIED]
        saved = [value for key, value in weights.items() if f".{key}".endswith(f".{name}")]
        saved = [weights[name]] if name in weights else saved
        if grown and len(saved) == 1 and saved[0].ndim == tensor.ndim:
            return int(saved[0].shape[grown[0]])
    raise ParameterError("how many classes the network tells apart is not known: give `num_classes`, or their names")
